//! Tiny random checkpoints of every architecture against transformers (recipe: scripts/golden/checkpoints.py), and the
//! engine against the packed pass, bit for bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use r1_model::batch::Sequence;
use r1_model::engine::{Engine, Limits, Request};
use r1_model::network::{Attend, Gradients, Recompute};
use r1_model::sample::Sampling;
use r1_model::{LoadOptions, Packed, Policy, Precision};
use safetensors::SafeTensors;

const ARCHITECTURES: [&str; 11] = [
    "llama",
    "llama3-rope",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3-moe",
    "deepseek-v2",
    "deepseek-v2-groups",
    "deepseek-v3",
    "deepseek-v3-plain",
    "llama-bf16-sharded",
];

struct Golden {
    dir: PathBuf,
    json: serde_json::Value,
    tensors: BTreeMap<String, Vec<f32>>,
}

impl Golden {
    fn read(name: &str) -> Golden {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints").join(name);
        let json = serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap();
        let bytes = std::fs::read(dir.join("golden.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes)
            .unwrap()
            .iter()
            .filter(|(_, t)| t.dtype() == safetensors::Dtype::F32)
            .map(|(k, t)| {
                let values = t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                (k.to_string(), values.collect())
            })
            .collect();
        Golden { dir, json, tensors }
    }

    fn sequences(&self) -> Vec<Vec<u32>> {
        self.json["sequences"].as_array().unwrap().iter().map(|s| ids(&s["input_ids"])).collect()
    }

    fn policy(&self, precision: Precision) -> Policy {
        Policy::load(&self.dir, LoadOptions::trainable(Some(precision))).unwrap()
    }
}

fn ids(v: &serde_json::Value) -> Vec<u32> {
    v.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// All sequences in one batch; every token but the first is a target.
fn packed(sequences: &[Vec<u32>]) -> Packed {
    let cut: Vec<Sequence> =
        sequences.iter().map(|s| Sequence { prompt: &s[..1], completion: &s[1..] }).collect();
    Packed::pack(&cut)
}

fn sequence_logits(policy: &Policy, ids: &[u32]) -> Vec<f32> {
    let mut batch = Packed::default();
    batch.push(None, ids);
    let rows: Vec<u32> = (0..ids.len() as u32).collect();
    let mut out = Vec::new();
    policy.logits(&batch.tokens, &batch.positions, Attend::Packed(&batch.segments), &rows, &mut out).unwrap();
    out
}

#[test]
fn logits_agree_with_transformers() {
    for name in ARCHITECTURES {
        let golden = Golden::read(name);
        let policy = golden.policy(Precision::F32);
        let mut widest = 0f32;
        for (i, ids) in golden.sequences().iter().enumerate() {
            let d = max_difference(&sequence_logits(&policy, ids), &golden.tensors[&format!("logits.{i}")]);
            assert!(d <= 1e-4, "{name}: sequence {i}: logits differ by {d:e}");
            widest = widest.max(d);
        }
        println!("{name}: logits differ by {widest:.1e}");
    }
}

/// What a frozen policy computes (packed from the file, a bf16 embedding kept as it is) has the bits of a trainable one, and
/// so has what is saved in f32 and read again.
#[test]
fn loading_to_sample_and_saving_change_no_bit() {
    let scratch = std::env::temp_dir().join(format!("r1-parity-{}", std::process::id()));
    for name in ARCHITECTURES {
        let golden = Golden::read(name);
        for precision in [Precision::F32, Precision::Bf16] {
            if r1_kernels::supports(precision).is_err() {
                continue;
            }
            let trained = golden.policy(precision);
            let _ = std::fs::remove_dir_all(&scratch);
            std::fs::create_dir_all(&scratch).unwrap();
            for file in ["config.json", "generation_config.json"] {
                std::fs::copy(golden.dir.join(file), scratch.join(file)).unwrap();
            }
            trained.save_weights(&scratch, r1_model::checkpoint::SaveDtype::F32).unwrap();
            let frozen = Policy::load(&golden.dir, LoadOptions::frozen(Some(precision))).unwrap();
            let again = Policy::load(&scratch, LoadOptions::frozen(Some(precision))).unwrap();
            for ids in golden.sequences() {
                let bits =
                    |p: &Policy| sequence_logits(p, &ids).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                let wanted = bits(&trained);
                assert!(bits(&frozen) == wanted, "{name} {precision:?}: loaded to sample");
                assert!(bits(&again) == wanted, "{name} {precision:?}: saved and loaded");
            }
        }
    }
    std::fs::remove_dir_all(scratch).unwrap();
}

/// bf16 rounds the products' operands, keys and values: logits stay within 2 percent of transformers' in f32 (root mean square);
/// within 8 where a router, which sees rounded hidden states, can send a token to another expert.
#[test]
fn bf16_stays_near_transformers_in_f32() {
    if let Err(fact) = r1_kernels::supports(Precision::Bf16) {
        println!("skipped: {fact}");
        return;
    }
    for name in ARCHITECTURES {
        let golden = Golden::read(name);
        let policy = golden.policy(Precision::Bf16);
        let (mut off, mut all) = (0f64, 0f64);
        for (i, ids) in golden.sequences().iter().enumerate() {
            for (x, y) in sequence_logits(&policy, ids).iter().zip(&golden.tensors[&format!("logits.{i}")]) {
                off += f64::from(x - y).powi(2);
                all += f64::from(*y).powi(2);
            }
        }
        let share = (off / all).sqrt();
        println!("{name}: {:.2} % off", 100.0 * share);
        let most = if policy.config.moe.is_some() { 0.08 } else { 0.02 };
        assert!(share > 1e-4 && share < most, "{name}: bf16 logits are {:.2} % off", 100.0 * share);
    }
}

#[test]
fn logprobs_and_entropies_agree_with_transformers() {
    for name in ARCHITECTURES {
        let golden = Golden::read(name);
        let policy = golden.policy(Precision::F32);
        let batch = packed(&golden.sequences());
        let t = golden.json["temperature"].as_f64().unwrap() as f32;
        let out = policy.logprobs(&batch, &vec![1.0 / t; batch.target_rows.len()], true).unwrap();
        let joined = |key: &str| -> Vec<f32> {
            (0..golden.sequences().len())
                .flat_map(|i| golden.tensors[&format!("{key}.{i}")].clone())
                .collect()
        };
        let (a, b) = (
            max_difference(&out.logprobs, &joined("logprobs")),
            max_difference(&out.entropy, &joined("entropy")),
        );
        assert!(a <= 1e-4 && b <= 1e-4, "{name}: logprobs differ by {a:e}, entropies by {b:e}");
    }
}

#[test]
fn gradients_of_a_mean_nll_agree_with_transformers() {
    for name in ARCHITECTURES {
        let golden = Golden::read(name);
        let policy = golden.policy(Precision::F32);
        let batch = packed(&golden.sequences());
        let n = batch.target_rows.len();
        let inv = vec![1.0; n];
        for recompute in [Recompute::None, Recompute::Layers] {
            let (out, tape) = policy.forward(&batch, &inv, false, recompute).unwrap();
            let nll = -out.logprobs.iter().map(|&l| f64::from(l)).sum::<f64>() / n as f64;
            let expected = golden.json["mean_nll"].as_f64().unwrap();
            assert!((nll - expected).abs() < 1e-5, "{name}: mean NLL {nll}, transformers {expected}");
            let mut grads = Gradients::zeros(&policy).unwrap();
            policy.backward(&batch, &inv, &out, tape, &vec![-1.0 / n as f32; n], None, &mut grads).unwrap();
            let (mut seen, mut widest) = (0, 0f32);
            for (parameter, gradient) in policy.parameters().iter().zip(&grads.values) {
                for piece in &parameter.pieces {
                    // The selection bias has no gradient.
                    let Some(want) = golden.tensors.get(&format!("gradient.{}", piece.name)) else {
                        assert!(
                            piece.name.ends_with("e_score_correction_bias"),
                            "{name}: no golden {}",
                            piece.name
                        );
                        continue;
                    };
                    let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
                    let d = max_difference(&gradient[piece.range()], want);
                    assert!(d <= 1e-3 * scale, "{name}: {}: differs by {d:e} of {scale:e}", piece.name);
                    widest = widest.max(d / scale.max(f32::MIN_POSITIVE));
                    seen += 1;
                }
            }
            println!("{name}: gradients differ by {widest:.1e} of their largest");
            let total = golden.tensors.keys().filter(|k| k.starts_with("gradient.")).count();
            assert_eq!(seen, total, "{name}: gradients compared");
        }
    }
}

fn limits(max_tokens: usize, sequences: usize) -> Limits {
    Limits {
        max_tokens,
        min_tokens: 0,
        max_sequences: sequences,
        prefill_tokens: 16,
        kv_bytes: 4 << 20,
        latents: false,
        longest_first: false,
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        seed: 11,
    }
}

#[test]
fn greedy_continuations_are_those_of_transformers() {
    for name in ARCHITECTURES {
        let golden = Golden::read(name);
        let mut policy = golden.policy(Precision::F32);
        policy.config.eos_token_ids.clear();
        let requests: Vec<Request> = golden
            .sequences()
            .into_iter()
            .enumerate()
            .map(|(i, prompt)| Request { prompt, key: i as u64, samples: 1 })
            .collect();
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        // In one batch, though their lengths differ.
        let mut engine = Engine::plan(&policy, None, greedy, limits(64, 3)).unwrap();
        let mut compared = Vec::new();
        engine
            .run(&requests, |i, completions| {
                // The golden ends before a near-tie, where there is one.
                let wanted = ids(&golden.json["sequences"][i]["greedy"]);
                assert!(wanted.len() >= 24);
                compared.push(wanted.len());
                assert_eq!(completions[0].ids[..wanted.len()], wanted, "{name}: sequence {i}");
                Ok(())
            })
            .unwrap();
        println!("{name}: greedy tokens equal: {compared:?}");
    }
}

/// Draws with one engine setting and returns (ids, logprob bits) per group and sample.
fn draw(
    policy: &Policy,
    requests: &[Request],
    sequences: usize,
    prefill: usize,
) -> Vec<Vec<(Vec<u32>, Vec<u32>)>> {
    let sampling = Sampling { temperature: 0.9, ..Sampling::default() };
    let limits = Limits { prefill_tokens: prefill, ..limits(70, sequences) };
    let mut engine = Engine::plan(policy, None, sampling, limits).unwrap();
    let mut out = Vec::new();
    engine
        .run(requests, |i, completions| {
            assert_eq!(i, out.len(), "groups come in order");
            out.push(
                completions
                    .into_iter()
                    .map(|c| (c.ids, c.logprobs.iter().map(|l| l.to_bits()).collect()))
                    .collect(),
            );
            Ok(())
        })
        .unwrap();
    out
}

#[test]
fn sampling_and_training_share_every_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        if let Err(fact) = r1_kernels::supports(precision) {
            println!("skipped: {fact}");
            continue;
        }
        for name in ARCHITECTURES {
            let golden = Golden::read(name);
            let mut policy = golden.policy(precision);
            policy.config.eos_token_ids = vec![3];
            let header: Vec<u32> = (0..37).map(|i| (i * 7 + 5) % 120).collect();
            let requests: Vec<Request> = golden
                .sequences()
                .into_iter()
                .enumerate()
                .map(|(i, own)| {
                    let prompt = if i == 2 { own } else { [header.clone(), own].concat() };
                    Request { prompt, key: 100 + i as u64, samples: 3 }
                })
                .collect();
            let drawn = draw(&policy, &requests, 64, 4096);
            // Any batch size, any prefill budget: the same tokens and the same bits.
            assert!(drawn == draw(&policy, &requests, 1, 1), "{name}: one sequence at a time");
            assert!(drawn == draw(&policy, &requests, 5, 50), "{name}: five sequences at a time");
            // Recomputed in one packed training pass, in another order, they are the same bits too.
            let mut sequences = Vec::new();
            for (r, group) in requests.iter().zip(&drawn).rev() {
                sequences
                    .extend(group.iter().map(|(ids, _)| Sequence { prompt: &r.prompt, completion: ids }));
            }
            let want: Vec<u32> = drawn.iter().rev().flatten().flat_map(|(_, bits)| bits.clone()).collect();
            let batch = Packed::pack(&sequences);
            let inv = vec![1.0 / 0.9f32; batch.target_rows.len()];
            let got = policy.logprobs(&batch, &inv, false).unwrap().logprobs;
            let got: Vec<u32> = got.iter().map(|l| l.to_bits()).collect();
            assert!(got == want, "{name} {precision:?}: recomputed logprobs differ from the sampled ones");
        }
    }
}
/// The policy gradient's kind of loss: any weight on each logprob, at the sampling temperature.
#[test]
fn gradients_of_weighted_logprobs_agree_with_transformers() {
    for name in ARCHITECTURES {
        let golden = Golden::read(name);
        let policy = golden.policy(Precision::F32);
        let sequences = golden.sequences();
        let batch = packed(&sequences);
        let weights: Vec<f32> =
            (0..sequences.len()).flat_map(|i| golden.tensors[&format!("weights.{i}")].clone()).collect();
        let t = golden.json["temperature"].as_f64().unwrap() as f32;
        let inv = vec![1.0 / t; weights.len()];
        let (out, tape) = policy.forward(&batch, &inv, false, Recompute::None).unwrap();
        let sum: f64 = out.logprobs.iter().zip(&weights).map(|(l, w)| f64::from(*l) * f64::from(*w)).sum();
        let expected = golden.json["weighted_logprob"].as_f64().unwrap();
        assert!(
            (sum - expected).abs() < 1e-4 * expected.abs().max(1.0),
            "{name}: {sum}, transformers {expected}"
        );
        let mut grads = Gradients::zeros(&policy).unwrap();
        policy.backward(&batch, &inv, &out, tape, &weights, None, &mut grads).unwrap();
        let mut seen = 0;
        for (parameter, gradient) in policy.parameters().iter().zip(&grads.values) {
            for piece in &parameter.pieces {
                let Some(want) = golden.tensors.get(&format!("gradient_logprob.{}", piece.name)) else {
                    continue;
                };
                let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
                let d = max_difference(&gradient[piece.range()], want);
                assert!(d <= 1e-3 * scale, "{name}: {}: differs by {d:e} of {scale:e}", piece.name);
                seen += 1;
            }
        }
        assert_eq!(seen, 4, "{name}: gradients compared");
    }
}

/// Checkpoints in the words of transformers 4 (rope_theta, rope_scaling, torch_dtype) mean what those of 5 mean.
#[test]
fn both_spellings_of_a_config_mean_the_same() {
    for name in ARCHITECTURES {
        let dir = Golden::read(name).dir;
        let read = |file: &str| -> r1_model::Config {
            let raw = serde_json::from_slice(&std::fs::read(dir.join(file)).unwrap()).unwrap();
            let mut config = r1_model::Config::parse(raw, None).unwrap();
            config.raw = serde_json::Value::Null;
            config
        };
        assert_eq!(
            format!("{:?}", read("config.json")),
            format!("{:?}", read("config.legacy.json")),
            "{name}: config.json and config.legacy.json are read differently"
        );
    }
}

/// SmolLM2-135M, imported from the GGUF file that golden.json names:
/// `r1-init --from-gguf SmolLM2-135M-Instruct.Q4_1.gguf -o DIR`, then `R1_SMOLLM2=DIR cargo test`.
#[test]
fn smollm2_logits_agree_with_transformers() {
    let Some(dir) = std::env::var_os("R1_SMOLLM2") else {
        println!("skipped: R1_SMOLLM2 names no policy directory");
        return;
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/smollm2/golden.json");
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let policy = Policy::load(Path::new(&dir), LoadOptions::frozen(Some(Precision::F32))).unwrap();
    let v = policy.config.vocab_size;
    let floats = |x: &serde_json::Value| -> Vec<f32> {
        x.as_array().unwrap().iter().map(|y| y.as_f64().unwrap() as f32).collect()
    };
    let mut widest = 0f32;
    for prompt in golden["prompts"].as_array().unwrap() {
        let logits = sequence_logits(&policy, &ids(&prompt["ids"]));
        for row in prompt["top"].as_array().unwrap() {
            let position = row["position"].as_u64().unwrap() as usize;
            for (id, want) in ids(&row["ids"]).into_iter().zip(floats(&row["logits"])) {
                widest = widest.max((logits[position * v + id as usize] - want).abs());
            }
        }
        let sampled = &prompt["sampled"];
        let places = ids(&sampled["positions"]).into_iter().zip(ids(&sampled["ids"]));
        for ((position, id), want) in places.zip(floats(&sampled["logits"])) {
            widest = widest.max((logits[position as usize * v + id as usize] - want).abs());
        }
    }
    assert!(widest <= 1e-3, "SmolLM2: logits differ by {widest:e}");
    println!("SmolLM2: logits differ by at most {widest:e}");
}
