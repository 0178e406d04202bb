//! Adapters against PEFT (recipe: scripts/golden/lora.py), against finite differences, and the engine against the packed
//! pass, bit for bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use r1_model::batch::Sequence;
use r1_model::engine::{Engine, Limits, Request};
use r1_model::lora::{self, Saved, Settings};
use r1_model::network::{Attend, Gradients, Recompute};
use r1_model::random::{Stream, hash};
use r1_model::sample::Sampling;
use r1_model::{LoadOptions, Packed, Policy, Precision};
use safetensors::SafeTensors;

const CASES: [&str; 4] = ["llama", "qwen2-rslora", "deepseek-v3", "deepseek-v3-plain"];

struct Golden {
    adapter: PathBuf,
    base: PathBuf,
    json: serde_json::Value,
    tensors: BTreeMap<String, Vec<f32>>,
    sequences: Vec<Vec<u32>>,
}

impl Golden {
    fn read(name: &str) -> Golden {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
        let json_of = |file: PathBuf| -> serde_json::Value {
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
        };
        let adapter = goldens.join("lora").join(name);
        let json = json_of(adapter.join("golden.json"));
        let base = goldens.join("checkpoints").join(json["checkpoint"].as_str().unwrap());
        let bytes = std::fs::read(adapter.join("golden.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes)
            .unwrap()
            .iter()
            .map(|(k, t)| {
                let values = t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                (k.to_string(), values.collect())
            })
            .collect();
        let sequences = json_of(base.join("golden.json"))["sequences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| serde_json::from_value(s["input_ids"].clone()).unwrap())
            .collect();
        Golden { adapter, base, json, tensors, sequences }
    }

    fn plain(&self, options: LoadOptions) -> Policy {
        Policy::load(&self.base, options).unwrap()
    }

    fn adapted(&self, options: LoadOptions) -> Policy {
        let mut policy = self.plain(options);
        Saved::open(&self.adapter, &policy.config).unwrap().attach(&mut policy).unwrap();
        policy
    }

    /// All sequences in one batch; every token but the first is a target.
    fn packed(&self) -> Packed {
        let cut: Vec<Sequence> =
            self.sequences.iter().map(|s| Sequence { prompt: &s[..1], completion: &s[1..] }).collect();
        Packed::pack(&cut)
    }
}

fn f32_adapted() -> LoadOptions {
    LoadOptions::adapted(Some(Precision::F32))
}

fn max_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

fn logits(policy: &Policy, ids: &[u32]) -> Vec<f32> {
    let mut batch = Packed::default();
    batch.push(None, ids);
    let rows: Vec<u32> = (0..ids.len() as u32).collect();
    let mut out = Vec::new();
    policy.logits(&batch.tokens, &batch.positions, Attend::Packed(&batch.segments), &rows, &mut out).unwrap();
    out
}

#[test]
fn logits_and_gradients_agree_with_peft() {
    for name in CASES {
        let golden = Golden::read(name);
        let policy = golden.adapted(f32_adapted());
        for (i, ids) in golden.sequences.iter().enumerate() {
            let d = max_difference(&logits(&policy, ids), &golden.tensors[&format!("logits.{i}")]);
            assert!(d <= 1e-4, "{name}: sequence {i}: logits differ by {d:e}");
        }
        let batch = golden.packed();
        let n = batch.target_rows.len();
        let inv = vec![1.0; n];
        for recompute in [Recompute::None, Recompute::Layers] {
            let (out, tape) = policy.forward(&batch, &inv, false, recompute).unwrap();
            let nll = -out.logprobs.iter().map(|&l| f64::from(l)).sum::<f64>() / n as f64;
            let expected = golden.json["nll"][0].as_f64().unwrap();
            assert!((nll - expected).abs() < 1e-5, "{name}: mean NLL {nll}, PEFT {expected}");
            let mut grads = Gradients::zeros(&policy).unwrap();
            policy.backward(&batch, &inv, &out, tape, &vec![-1.0 / n as f32; n], None, &mut grads).unwrap();
            let mut seen = 0;
            for (parameter, gradient) in policy.parameters().iter().zip(&grads.values) {
                for piece in &parameter.pieces {
                    let want = &golden.tensors[&format!("gradient.{}", piece.name)];
                    let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
                    let d = max_difference(&gradient[piece.range()], want);
                    assert!(d <= 1e-3 * scale, "{name}: {}: differs by {d:e} of {scale:e}", piece.name);
                    seen += 1;
                }
            }
            let total = golden.tensors.keys().filter(|k| k.starts_with("gradient.")).count();
            assert_eq!(seen, total, "{name}: gradients compared");
        }
    }
}

#[test]
fn merged_weights_are_pefts_and_compute_the_same() {
    for name in CASES {
        let golden = Golden::read(name);
        let mut merged = golden.plain(LoadOptions::trainable(Some(Precision::F32)));
        let saved = Saved::open(&golden.adapter, &merged.config).unwrap();
        let mut compared = 0;
        for parameter in merged.parameters_mut() {
            for piece in parameter.pieces.clone() {
                let values = &mut parameter.value[piece.range()];
                saved.merge(&piece.name, &piece.shape, values).unwrap();
                if let Some(want) = golden.tensors.get(&format!("merged.{}", piece.name)) {
                    let d = max_difference(values, want);
                    assert!(d <= 1e-6, "{name}: {}: differs by {d:e}", piece.name);
                    compared += 1;
                }
            }
        }
        merged.repack();
        assert!(
            compared > 0 && golden.tensors.keys().filter(|k| k.starts_with("merged.")).count() == compared
        );
        let (adapted, plain) = (golden.adapted(f32_adapted()), golden.plain(f32_adapted()));
        for ids in &golden.sequences {
            let d = max_difference(&logits(&adapted, ids), &logits(&merged, ids));
            let moved = max_difference(&logits(&adapted, ids), &logits(&plain, ids));
            assert!(
                d <= 1e-4 && moved > 0.1,
                "{name}: merged logits differ by {d:e}, plain ones by {moved:e}"
            );
        }
    }
}

#[test]
fn what_peft_wrote_is_written_again_byte_for_byte() {
    for name in CASES {
        let golden = Golden::read(name);
        let policy = golden.adapted(f32_adapted());
        let dir = std::env::temp_dir().join(format!("r1-lora-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        policy.save_adapter(&dir, &golden.base).unwrap();
        let read = |dir: &Path, file: &str| std::fs::read(dir.join(file)).unwrap();
        assert!(
            read(&dir, lora::WEIGHTS) == read(&golden.adapter, lora::WEIGHTS),
            "{name}: {} differs from PEFT's",
            lora::WEIGHTS
        );
        let config = |dir: &Path| -> serde_json::Value {
            let mut config: serde_json::Value = serde_json::from_slice(&read(dir, lora::CONFIG)).unwrap();
            let mut targets: Vec<String> = serde_json::from_value(config["target_modules"].take()).unwrap();
            targets.sort();
            config["target_modules"] = targets.into();
            config["base_model_name_or_path"] = "".into();
            config
        };
        let (ours, theirs) = (config(&dir), config(&golden.adapter));
        for (field, value) in ours.as_object().unwrap() {
            assert_eq!(value, &theirs[field], "{name}: {field}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for name in CASES {
        let golden = Golden::read(name);
        let mut policy = golden.adapted(f32_adapted());
        let batch = golden.packed();
        let n = batch.target_tokens.len();
        let inv = vec![1.25f32; n];
        let stream = Stream::of(1, hash(name), 0);
        let weights: Vec<f32> = (0..n as u64).map(|i| (stream.at(i) - 0.4) as f32).collect();
        let (out, tape) = policy.forward(&batch, &inv, false, Recompute::None).unwrap();
        let mut grads = Gradients::zeros(&policy).unwrap();
        policy.backward(&batch, &inv, &out, tape, &weights, None, &mut grads).unwrap();
        for i in 0..policy.parameters().len() {
            let tensor = policy.parameters()[i].pieces[0].name.clone();
            let gradient = &grads.values[i];
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            assert!(norm > 1e-4, "{name}: {tensor} got no gradient");
            let stream = Stream::of(2, hash(&tensor), 1);
            let unit = 1.0 / (gradient.len() as f64).sqrt();
            let random =
                (0..gradient.len() as u64).map(|j| if stream.at(j) < 0.5 { unit } else { -unit }).collect();
            let along = gradient.iter().map(|g| f64::from(*g) / norm).collect();
            let start = policy.parameters()[i].value.clone();
            for direction in [along, random] as [Vec<f64>; 2] {
                let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
                let mut at = |h: f64| -> f64 {
                    let value = &mut policy.parameters_mut()[i].value;
                    for ((v, s), d) in value.iter_mut().zip(&start).zip(&direction) {
                        *v = (f64::from(*s) + h * d) as f32;
                    }
                    policy.repack();
                    let out = policy.logprobs(&batch, &inv, false).unwrap();
                    out.logprobs.iter().zip(&weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                };
                // A step may send a token to another expert, where the loss jumps: a shorter one need not.
                let numeric = [4e-3, 1e-3, 2.5e-4].map(|h| (at(h) - at(-h)) / (2.0 * h));
                assert!(
                    numeric.iter().any(|x| (x - expected).abs() < 3e-3 * norm.max(expected.abs()) + 2e-3),
                    "{name}: {tensor}: {numeric:?} by differences, {expected}"
                );
            }
            policy.parameters_mut()[i].value = start;
            policy.repack();
        }
    }
}

/// What one engine setting draws: ids and the bits of their logprobs, group after group.
type Drawn = Vec<Vec<(Vec<u32>, Vec<u32>)>>;

fn draw(policy: &Policy, requests: &[Request], sequences: usize, prefill: usize) -> Drawn {
    let sampling = Sampling { temperature: 0.9, ..Sampling::default() };
    let limits = Limits {
        max_tokens: 40,
        min_tokens: 0,
        max_sequences: sequences,
        prefill_tokens: prefill,
        kv_bytes: 4 << 20,
        latents: false,
        longest_first: false,
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        seed: 11,
    };
    let mut engine = Engine::plan(policy, None, sampling, limits).unwrap();
    let mut out = Vec::new();
    engine
        .run(requests, |_, group| {
            let bits = |l: Vec<f32>| l.iter().map(|x| x.to_bits()).collect();
            out.push(group.into_iter().map(|c| (c.ids, bits(c.logprobs))).collect());
            Ok(())
        })
        .unwrap();
    out
}

#[test]
fn sampling_and_training_share_every_bit_under_an_adapter() {
    for precision in [Precision::F32, Precision::Bf16] {
        if let Err(fact) = r1_kernels::supports(precision) {
            println!("skipped: {fact}");
            continue;
        }
        for name in CASES {
            let golden = Golden::read(name);
            // One loaded to sample draws, one loaded to be trained computes again.
            let mut sampler = golden.adapted(LoadOptions::frozen(Some(precision)));
            sampler.config.eos_token_ids = vec![3];
            let trained = golden.adapted(LoadOptions::adapted(Some(precision)));
            let requests: Vec<Request> = golden
                .sequences
                .iter()
                .enumerate()
                .map(|(i, own)| Request { prompt: own.clone(), key: 100 + i as u64, samples: 3 })
                .collect();
            let drawn = draw(&sampler, &requests, 64, 4096);
            assert!(drawn == draw(&sampler, &requests, 1, 1), "{name}: one sequence at a time");
            assert!(drawn == draw(&sampler, &requests, 5, 20), "{name}: five sequences at a time");
            let mut sequences = Vec::new();
            for (r, group) in requests.iter().zip(&drawn).rev() {
                sequences
                    .extend(group.iter().map(|(ids, _)| Sequence { prompt: &r.prompt, completion: ids }));
            }
            let want: Vec<u32> = drawn.iter().rev().flatten().flat_map(|(_, bits)| bits.clone()).collect();
            let batch = Packed::pack(&sequences);
            let inv = vec![1.0 / 0.9f32; batch.target_rows.len()];
            let got: Vec<u32> =
                trained.logprobs(&batch, &inv, false).unwrap().logprobs.iter().map(|l| l.to_bits()).collect();
            assert!(got == want, "{name} {precision:?}: recomputed logprobs differ from the sampled ones");
        }
    }
}

#[test]
fn a_fresh_adapter_and_one_switched_off_change_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        if let Err(fact) = r1_kernels::supports(precision) {
            println!("skipped: {fact}");
            continue;
        }
        for name in CASES {
            let golden = Golden::read(name);
            let options = LoadOptions::adapted(Some(precision));
            let ids = &golden.sequences[1];
            let bits = |policy: &Policy| logits(policy, ids).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let plain = bits(&golden.plain(options.clone()));
            let mut fresh = golden.plain(options.clone());
            let (modules, targets) = lora::choose(&fresh.config, None).unwrap();
            let settings = Settings { rank: 3, alpha: 5.0, rslora: false, targets, dropout: 0.0 };
            lora::initialize(&mut fresh, settings, &modules, 1).unwrap();
            assert!(bits(&fresh) == plain, "{name} {precision:?}: a B of zeros changes bits");
            let mut adapted = golden.adapted(options);
            let on = bits(&adapted);
            adapted.switch_adapter(false);
            assert!(bits(&adapted) == plain && on != plain, "{name} {precision:?}");
            adapted.switch_adapter(true);
            assert!(bits(&adapted) == on, "{name} {precision:?}");
        }
    }
}

#[test]
fn an_adapter_that_does_not_fit_is_refused() {
    let llama = Golden::read("llama");
    let moe = Golden::read("deepseek-v3").plain(f32_adapted()).config;
    let text = |e: anyhow::Error| format!("{e:#}");
    let fail =
        |dir: &Path, config: &r1_model::Config| text(Saved::open(dir, config).map(|_| ()).unwrap_err());
    let other = fail(&llama.adapter, &moe);
    assert!(other.contains("adapter_model.safetensors") && other.contains("experts and router"), "{other}");
    let qwen = Golden::read("qwen2-rslora").plain(f32_adapted()).config;
    let shape = fail(&llama.adapter, &qwen);
    assert!(shape.contains("has shape [4, 40], rank and policy ask for [4, 48]"), "{shape}");
    let none = fail(&llama.base, &llama.plain(f32_adapted()).config);
    assert!(none.contains("has no adapter_config.json"), "{none}");
    let alone = llama.plain(f32_adapted()).save_adapter(&llama.adapter, &llama.base).unwrap_err();
    assert!(text(alone).contains("without an adapter"));
    let adapted =
        llama.adapted(f32_adapted()).save_weights(&llama.adapter, r1_model::checkpoint::SaveDtype::F32);
    assert!(text(adapted.unwrap_err()).contains("cannot be saved"));
}
