//! A policy on a device against the same policy on the host, and against transformers' golden numbers: logits, packed and
//! paged, log-probabilities, gradients, and what the engine draws. The device is the emulated one, in several orders of its threads;
//! `R1_CUDA=card` takes a card instead.
#![cfg(feature = "cuda")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use r1_model::batch::Sequence;
use r1_model::checkpoint::SaveDtype;
use r1_model::device::Device;
use r1_model::engine::{Completion, Engine, Limits, Request, kv_bytes};
use r1_model::lora::Saved;
use r1_model::network::toward::{Teacher, Toward};
use r1_model::network::{Attend, Gradients, Recompute};
use r1_model::sample::Sampling;
use r1_model::{Config, LoadOptions, Packed, Policy, Precision};
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

/// Runs `test` on the emulated device, its threads in two orders; says so where there is none.
fn each_device(test: impl Fn(&Device)) {
    on_devices(&[0, 7], test);
}

fn on_devices(orders: &[u64], test: impl Fn(&Device)) {
    if std::env::var("R1_CUDA").is_ok_and(|how| how == "card") {
        test(&Device::card(0).expect("R1_CUDA=card asks for a card"));
        return;
    }
    for order in orders {
        match Device::emulated(*order) {
            Ok(device) => test(&device),
            Err(error) => return eprintln!("skipped: {error}"),
        }
    }
}

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints").join(name)
}

fn golden(name: &str) -> (serde_json::Value, BTreeMap<String, Vec<f32>>) {
    let json = serde_json::from_slice(&std::fs::read(dir(name).join("golden.json")).unwrap()).unwrap();
    let bytes = std::fs::read(dir(name).join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .filter(|(_, t)| t.dtype() == safetensors::Dtype::F32)
        .map(|(k, t)| {
            let values = t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            (k.to_string(), values.collect())
        })
        .collect();
    (json, tensors)
}

fn sequences(json: &serde_json::Value) -> Vec<Vec<u32>> {
    let ids = |v: &serde_json::Value| {
        v.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect::<Vec<u32>>()
    };
    json["sequences"].as_array().unwrap().iter().map(|s| ids(&s["input_ids"])).collect()
}

/// Trainable on the host in f32, and on `device`.
fn pair(name: &str, device: &Device, precision: Precision) -> (Policy, Policy) {
    let load = |options: LoadOptions| Policy::load(&dir(name), options).unwrap();
    let here = load(LoadOptions::trainable(Some(Precision::F32)).on(None));
    (here, load(LoadOptions::trainable(Some(precision)).on(Some(device.clone()))))
}

/// |a − b| over |b|, as vectors.
fn off(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |x: f64| x * x;
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    let whole: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    (apart / whole.max(1e-30)).sqrt()
}

/// Sequences with a common beginning, so that segments share rows.
fn packed(sequences: &[Vec<u32>]) -> Packed {
    let longest = sequences.iter().max_by_key(|s| s.len()).unwrap();
    let shared = &longest[..longest.len() / 2];
    let mut cut: Vec<Sequence> =
        sequences.iter().map(|s| Sequence { prompt: &s[..1], completion: &s[1..] }).collect();
    cut.extend(sequences.iter().map(|s| Sequence { prompt: shared, completion: s }));
    Packed::pack(&cut)
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
fn logits_agree_with_transformers() {
    each_device(|device| {
        for name in ARCHITECTURES {
            let (json, tensors) = golden(name);
            for (precision, most) in [(Precision::F32, 1e-5), (Precision::Bf16, 0.02)] {
                for options in [LoadOptions::trainable, LoadOptions::frozen] {
                    let options = options(Some(precision)).on(Some(device.clone()));
                    let policy = Policy::load(&dir(name), options).unwrap();
                    let mut widest = 0f64;
                    for (i, ids) in sequences(&json).iter().enumerate() {
                        widest = widest.max(off(&logits(&policy, ids), &tensors[&format!("logits.{i}")]));
                    }
                    println!("{name}, {precision:?}: logits {widest:.1e} off");
                    // A rounded score can flip which expert a token takes.
                    let most = if policy.config.moe.is_some() { 4.0 * most } else { most };
                    assert!(widest < most, "{name}, {precision:?}: logits {widest:e} off");
                }
            }
        }
    });
}

#[test]
fn logprobs_and_gradients_are_the_host_s() {
    each_device(|device| {
        for name in ARCHITECTURES {
            let batch = packed(&sequences(&golden(name).0));
            let n = batch.target_rows.len();
            let inv: Vec<f32> = (0..n).map(|i| 0.7 + 0.1 * (i % 5) as f32).collect();
            let d: Vec<f32> = (0..n).map(|i| ((i * 37) % 11) as f32 * 0.02 - 0.1).collect();
            let dentropy: Vec<f32> = (0..n).map(|i| ((i * 13) % 7) as f32 * 0.01 - 0.03).collect();
            for (precision, most) in [(Precision::F32, 2e-5), (Precision::Bf16, 0.06)] {
                let (here, there) = pair(name, device, precision);
                // A rounded score can flip which expert a token takes: gradients are then another function's.
                if here.config.moe.is_some() && precision == Precision::Bf16 {
                    continue;
                }
                let mut wanted = Gradients::zeros(&here).unwrap();
                let (want, tape) = here.forward(&batch, &inv, true, Recompute::None).unwrap();
                let load = tape.expert_load.clone();
                here.backward(&batch, &inv, &want, tape, &d, Some(&dentropy), &mut wanted).unwrap();
                let alone = there.logprobs(&batch, &inv, true).unwrap();
                for recompute in [Recompute::None, Recompute::Layers] {
                    let (out, tape) = there.forward(&batch, &inv, true, recompute).unwrap();
                    assert_eq!(out.logprobs, alone.logprobs, "{name}: scored and trained on");
                    assert_eq!(tape.expert_load, load, "{name}: tokens per expert");
                    assert!(off(&out.logprobs, &want.logprobs) < most, "{name}, {precision:?}: logprobs");
                    assert!(off(&out.entropy, &want.entropy) < most, "{name}, {precision:?}: entropies");
                    let mut found = Gradients::zeros(&there).unwrap();
                    there.backward(&batch, &inv, &out, tape, &d, Some(&dentropy), &mut found).unwrap();
                    let squares = found.squares().unwrap();
                    let found = found.to_host().unwrap();
                    let mut widest = 0f64;
                    for (i, parameter) in here.parameters().iter().enumerate() {
                        let name = &parameter.pieces[0].name;
                        // A key's bias moves all scores of a row alike: its gradient is nothing but rounding.
                        if name.ends_with("k_proj.bias") {
                            continue;
                        }
                        let apart = off(&found[i], &wanted.values[i]);
                        assert!(apart < most, "{name}, {precision:?}: gradient {apart:e} off");
                        let square: f64 = found[i].iter().map(|&x| f64::from(x) * f64::from(x)).sum();
                        assert!((squares[i] - square).abs() <= 1e-6 * square, "{name}: sum of squares");
                        widest = widest.max(apart);
                    }
                    println!("{name}, {precision:?}: gradients at most {widest:.1e} off");
                }
            }
        }
    });
}

fn limits(max_tokens: usize, pages: usize) -> Limits {
    Limits {
        max_tokens,
        min_tokens: 0,
        max_sequences: 5,
        prefill_tokens: 16,
        kv_bytes: pages << 10,
        latents: false,
        longest_first: false,
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        seed: 11,
    }
}

fn draw(policy: &Policy, sampling: &Sampling, requests: &[Request]) -> Vec<(Vec<u32>, Vec<f32>)> {
    // A tenth of the vocabulary ends a completion, and may not do so at once.
    let ends = (0..policy.config.vocab_size as u32).step_by(10).collect();
    let limits = Limits { min_tokens: 5, stop_tokens: ends, ..limits(16, 1000) };
    draw_within(policy, sampling, requests, limits)
}

fn draw_within(
    policy: &Policy,
    sampling: &Sampling,
    requests: &[Request],
    limits: Limits,
) -> Vec<(Vec<u32>, Vec<f32>)> {
    let mut engine = Engine::plan(policy, None, sampling.clone(), limits).unwrap();
    let mut drawn = Vec::new();
    engine
        .run(requests, |_, group| {
            drawn.extend(group.into_iter().map(|c| (c.ids, c.logprobs)));
            Ok(())
        })
        .unwrap();
    drawn
}

/// In f32 what the device computes differs by rounding only, so that it draws the host's tokens: but where the number drawn
/// falls on the border between two, or two change places at the end of the k most probable. Up to there all is equal.
#[test]
fn the_engine_draws_the_host_s_tokens() {
    on_devices(&[7], |device| {
        for name in ARCHITECTURES {
            let (mut here, mut there) = pair(name, device, Precision::F32);
            here.config.eos_token_ids.clear();
            there.config.eos_token_ids.clear();
            let all = sequences(&golden(name).0);
            let request = |(i, prompt): (usize, Vec<u32>)| Request { prompt, key: i as u64, samples: 3 };
            let requests: Vec<Request> = all.into_iter().enumerate().map(request).collect();
            let (mut parted, mut drawn) = (0, 0);
            for sampling in [
                Sampling { temperature: 0.0, ..Sampling::default() },
                Sampling::default(),
                Sampling { temperature: 0.8, top_k: 20, ..Sampling::default() },
                Sampling { temperature: 1.3, top_p: 0.9, min_p: 0.01, ..Sampling::default() },
                Sampling {
                    repetition_penalty: 1.3,
                    presence_penalty: 0.4,
                    frequency_penalty: 0.3,
                    forbidden: vec![vec![5], vec![7, 9]],
                    ..Sampling::default()
                },
                Sampling { repetition_penalty: 0.8, temperature: 0.0, ..Sampling::default() },
            ] {
                let (want, found) = (draw(&here, &sampling, &requests), draw(&there, &sampling, &requests));
                for (i, (want, found)) in want.iter().zip(&found).enumerate() {
                    let same = want.0.iter().zip(&found.0).take_while(|(a, b)| a == b).count();
                    let logprobs = want.1.iter().zip(&found.1).take(same);
                    let apart = logprobs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(apart < 1e-4, "{name}: log-probabilities of completion {i} are {apart:e} apart");
                    drawn += want.0.len();
                    parted += usize::from(same < want.0.len());
                }
            }
            assert!(parted * 500 <= drawn, "{name}: {parted} of {drawn} draws differ");
            println!("{name}: {parted} of {drawn} draws differ");
        }
    });
}

/// How the rows of a batch are cut, and which tiles they fall into, changes no bit. What training computes again has the same bits as
/// long as decoding and packed attention cut positions alike, which they do for short sequences; a long one is near, the test says how near.
#[test]
fn in_a_batch_invariant_device_no_row_depends_on_another() {
    on_devices(&[7], |device| {
        let device = &device.clone().batch_invariant(true);
        for (name, precision, most) in [
            ("qwen2", Precision::F32, 1e-5),
            ("qwen2", Precision::Bf16, 5e-2),
            ("deepseek-v3", Precision::Bf16, 5e-2),
        ] {
            let (_, mut there) = pair(name, device, precision);
            there.config.eos_token_ids.clear();
            let mut all = sequences(&golden(name).0);
            if there.config.max_position_embeddings > 310 {
                let long = all.concat().into_iter().cycle().take(300).collect();
                all.push(long);
            }
            let short = all.iter().filter(|ids| ids.len() < 100).count() * 2 * 6;
            let request = |(i, prompt): (usize, Vec<u32>)| Request { prompt, key: i as u64, samples: 2 };
            let requests: Vec<Request> = all.into_iter().enumerate().map(request).collect();
            let sampling = Sampling::default();
            let bounds = |sequences| Limits { max_sequences: sequences, ..limits(6, 1000) };
            let together = draw_within(&there, &sampling, &requests, bounds(40));
            let apart = requests
                .iter()
                .flat_map(|r| draw_within(&there, &sampling, std::slice::from_ref(r), bounds(1)));
            assert_eq!(apart.collect::<Vec<_>>(), together, "{name}");
            let prompts = requests.iter().flat_map(|r| [&r.prompt[..]; 2]);
            let drawn: Vec<Sequence> = prompts
                .zip(&together)
                .map(|(prompt, (ids, _))| Sequence { prompt, completion: ids })
                .collect();
            let batch = Packed::pack(&drawn);
            let ones = vec![1.0; batch.target_rows.len()];
            let again = there.logprobs(&batch, &ones, false).unwrap().logprobs;
            let sampled = together.iter().flat_map(|(_, logprobs)| logprobs);
            let gaps: Vec<f32> = again.iter().zip(sampled).map(|(a, b)| (a - b).abs()).collect();
            let (widest, equal) =
                (gaps.iter().fold(0f32, |m, g| m.max(*g)), gaps.iter().filter(|g| **g == 0.0));
            println!(
                "{name} in {precision:?}: {widest:e} at most, {} of {} equal",
                equal.count(),
                gaps.len()
            );
            assert!(widest < most, "{name} in {precision:?}: sampled and computed again {widest:e} apart");
            assert!(gaps[..short].iter().all(|gap| *gap == 0.0), "{name} in {precision:?}: of {short}");
        }
    });
}

#[test]
fn what_was_trained_there_is_saved_from_there() {
    each_device(|device| {
        let scratch = std::env::temp_dir().join(format!("r1-device-{}", std::process::id()));
        let (here, there) = pair("qwen2", device, Precision::Bf16);
        let saved = |policy: &Policy| {
            std::fs::create_dir_all(&scratch).unwrap();
            policy.save_weights(&scratch, SaveDtype::F32).unwrap();
            let bytes = std::fs::read(scratch.join("model.safetensors")).unwrap();
            std::fs::remove_dir_all(&scratch).unwrap();
            bytes
        };
        assert!(saved(&here) == saved(&there));
    });
}

/// A batch's places, each with a temperature and a slope of its own.
fn slopes(batch: &Packed) -> (Vec<f32>, Vec<f32>) {
    let n = batch.target_rows.len();
    let inv = (0..n).map(|i| 0.7 + 0.1 * (i % 5) as f32);
    (inv.collect(), (0..n).map(|i| ((i * 37) % 11) as f32 * 0.02 - 0.1).collect())
}

/// The widest gap between gradients, each of its norm; a key's bias moves all scores of a row alike and has nothing but rounding.
fn apart(policy: &Policy, found: &Gradients, wanted: &Gradients) -> f64 {
    let (found, wanted) = (found.to_host().unwrap(), wanted.to_host().unwrap());
    let each = policy.parameters().iter().zip(found.iter().zip(&wanted));
    let each = each.filter(|(p, _)| !p.pieces[0].name.ends_with("k_proj.bias"));
    each.map(|(_, (found, wanted))| off(found, wanted)).fold(0.0, f64::max)
}

#[test]
fn the_most_probable_tokens_are_the_host_s() {
    each_device(|device| {
        for name in ["llama", "qwen2"] {
            let batch = packed(&sequences(&golden(name).0));
            let (inv, _) = slopes(&batch);
            let (here, there) = pair(name, device, Precision::F32);
            for top in [1, 9] {
                let (want, wanted) = here.logprobs_with_top(&batch, &inv, top).unwrap();
                let (found, listed) = there.logprobs_with_top(&batch, &inv, top).unwrap();
                assert!(off(&found.logprobs, &want.logprobs) < 2e-5, "{name}");
                assert_eq!(listed.ids, wanted.ids, "{name}: the {top} most probable");
                assert!(off(&listed.logprobs, &wanted.logprobs) < 2e-5, "{name}");
            }
        }
    });
}

#[test]
fn teachers_pull_as_on_the_host() {
    each_device(|device| {
        for name in ["llama", "qwen2"] {
            let batch = packed(&sequences(&golden(name).0));
            let (inv, d) = slopes(&batch);
            let weights: Vec<f32> = d.iter().map(|d| 0.05 + d.abs()).collect();
            let (teacher, _) = pair(name, device, Precision::F32);
            let (ids, logprobs) = {
                let top = teacher.logprobs_with_top(&batch, &inv, 5).unwrap().1;
                (top.ids, top.logprobs)
            };
            let starts: Vec<usize> = (0..=inv.len()).map(|i| 5 * i).collect();
            for (precision, most) in [(Precision::F32, 2e-5), (Precision::Bf16, 0.08)] {
                let (mut here, mut there) = pair(name, device, precision);
                // The student is another than the teacher.
                for policy in [&mut here, &mut there] {
                    let values: Vec<f32> = policy.values(3).unwrap().iter().map(|w| 3.0 * w + 0.1).collect();
                    policy.set_values(3, &values).unwrap();
                }
                let (_, on_device) = pair(name, device, precision);
                for kind in 0..3 {
                    for (beta, d) in [(0.0, &d), (0.3, &vec![0.0; d.len()]), (1.0, &d)] {
                        let run = |student: &Policy, live: &Policy| {
                            let mut grads = Gradients::zeros(student).unwrap();
                            let (out, tape) = student.forward(&batch, &inv, false, Recompute::None).unwrap();
                            let teacher = match kind {
                                0 => Teacher::Live(live),
                                1 => Teacher::Listed { ids: &ids, logprobs: &logprobs, starts: &starts },
                                _ => Teacher::Uniform,
                            };
                            let toward = Toward { teacher, beta, inv_temperature: &inv, weights: &weights };
                            let found =
                                student.backward_toward(&batch, &inv, &out, tape, d, &toward, &mut grads);
                            (found.unwrap(), grads)
                        };
                        let ((want, wanted), (found, gradients)) =
                            (run(&here, &teacher), run(&there, &on_device));
                        let what = format!("{name}, {precision:?}, teacher {kind}, beta {beta}");
                        assert!(off(&found, &want) < most, "{what}: divergences");
                        let apart = apart(&here, &gradients, &wanted);
                        println!("{what}: gradients at most {apart:.1e} off");
                        assert!(apart < most, "{what}: gradients {apart:e} off");
                    }
                }
            }
        }
    });
}

#[test]
fn adapters_are_the_host_s() {
    each_device(|device| {
        for name in ["llama", "qwen2-rslora", "deepseek-v3", "deepseek-v3-plain"] {
            let saved = dir("").join("../lora").join(name);
            let json: serde_json::Value =
                serde_json::from_slice(&std::fs::read(saved.join("golden.json")).unwrap()).unwrap();
            let checkpoint = json["checkpoint"].as_str().unwrap();
            let batch = packed(&sequences(&golden(checkpoint).0));
            let (inv, d) = slopes(&batch);
            for (precision, most) in [(Precision::F32, 2e-5), (Precision::Bf16, 0.06)] {
                let load = |precision, device| {
                    let options = LoadOptions::adapted(Some(precision)).on(device);
                    let mut policy = Policy::load(&dir(checkpoint), options).unwrap();
                    Saved::open(&saved, &policy.config).unwrap().attach(&mut policy).unwrap();
                    policy
                };
                let (mut here, mut there) =
                    (load(Precision::F32, None), load(precision, Some(device.clone())));
                // A rounded score can flip which expert a token takes.
                if here.config.moe.is_some() && precision == Precision::Bf16 {
                    continue;
                }
                let (want, tape) = here.forward(&batch, &inv, false, Recompute::None).unwrap();
                let mut wanted = Gradients::zeros(&here).unwrap();
                here.backward(&batch, &inv, &want, tape, &d, None, &mut wanted).unwrap();
                let (out, tape) = there.forward(&batch, &inv, false, Recompute::Layers).unwrap();
                let mut found = Gradients::zeros(&there).unwrap();
                there.backward(&batch, &inv, &out, tape, &d, None, &mut found).unwrap();
                assert!(off(&out.logprobs, &want.logprobs) < most, "{name}, {precision:?}: logprobs");
                let apart = apart(&here, &found, &wanted);
                println!("{name}, {precision:?}: gradients at most {apart:.1e} off");
                assert!(apart < most, "{name}, {precision:?}: gradients {apart:e} off");
                [&mut here, &mut there].into_iter().for_each(|policy| policy.switch_adapter(false));
                let plain = |policy: &Policy| policy.logprobs(&batch, &inv, false).unwrap().logprobs;
                assert!(off(&plain(&there), &plain(&here)) < most, "{name}, {precision:?}: switched off");
                assert!(off(&plain(&here), &want.logprobs) > 1e-3, "{name}: an adapter that does something");
                [&mut here, &mut there].into_iter().for_each(|policy| policy.switch_adapter(true));
                let scratch = std::env::temp_dir().join(format!("r1-device-lora-{}", std::process::id()));
                let bytes = |policy: &Policy| {
                    std::fs::create_dir_all(&scratch).unwrap();
                    policy.save_adapter(&scratch, Path::new("base")).unwrap();
                    let bytes = std::fs::read(scratch.join("adapter_model.safetensors")).unwrap();
                    std::fs::remove_dir_all(&scratch).unwrap();
                    bytes
                };
                assert!(bytes(&here) == bytes(&there), "{name}: saved");
            }
        }
    });
}

/// What a file holds goes to the device as it is, in both types; a value that is not finite is found there and named.
#[test]
fn files_are_loaded_there_bit_for_bit() {
    on_devices(&[7], |device| {
        let scratch = std::env::temp_dir().join(format!("r1-device-load-{}", std::process::id()));
        let name = "qwen3-moe";
        let (here, _) = pair(name, device, Precision::F32);
        for dtype in [SaveDtype::F32, SaveDtype::Bf16] {
            std::fs::create_dir_all(&scratch).unwrap();
            std::fs::copy(dir(name).join("config.json"), scratch.join("config.json")).unwrap();
            here.save_weights(&scratch, dtype).unwrap();
            let load = |device: Option<&Device>| {
                let options = LoadOptions::trainable(Some(Precision::Bf16)).on(device.cloned());
                Policy::load(&scratch, options)
            };
            let (want, found) = (
                Policy::load(&scratch, LoadOptions::trainable(Some(Precision::F32)).on(None)).unwrap(),
                load(Some(device)).unwrap(),
            );
            for i in 0..want.parameters().len() {
                let bits = |policy: &Policy| {
                    policy.values(i).unwrap().iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
                };
                assert!(bits(&found) == bits(&want), "{}", want.parameters()[i].pieces[0].name);
            }
            // The last bytes of the file are the last value of a tensor.
            let file = scratch.join("model.safetensors");
            let mut bytes = std::fs::read(&file).unwrap();
            let end = bytes.len();
            bytes[end - 2..].copy_from_slice(&[0xc0, 0x7f]);
            std::fs::write(&file, &bytes).unwrap();
            let error = load(Some(device)).err().unwrap().to_string();
            assert!(error.contains("holds NaN") && error.contains("model.safetensors"), "{error}");
            std::fs::remove_dir_all(&scratch).unwrap();
        }
    });
}

#[test]
fn what_the_kernels_have_no_room_for_is_refused() {
    on_devices(&[0], |device| {
        let file = std::fs::read(dir("llama").join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&file).unwrap();
        config["head_dim"] = 264.into();
        let config = Config::parse(config, None).unwrap();
        let options = LoadOptions::frozen(None).on(Some(device.clone()));
        let error = Policy::initialize(config, 0, options).err().unwrap().to_string();
        assert!(error.contains("264 values a head") && error.contains("--device cpu"), "{error}");
    });
}

#[test]
fn memory_for_keys_and_values_is_what_the_device_has_left() {
    each_device(|device| {
        let options = LoadOptions::frozen(None).on(Some(device.clone()));
        let policy = Policy::load(&dir("qwen2"), options).unwrap();
        assert_eq!(kv_bytes(&policy, Some(3), 5, 16).unwrap(), 3 << 20);
        let (free, total) = device.memory().unwrap();
        let (few, many) =
            (kv_bytes(&policy, None, 5, 16).unwrap(), kv_bytes(&policy, None, 500, 16).unwrap());
        assert!(few > free / 2 && few <= free / 10 * 9 && many < few, "{few} and {many} of {free}");
        // Beside what is free less a step there is nothing left.
        assert_eq!(kv_bytes(&policy, None, total, 16).unwrap(), 0);
        let too_many = Limits { max_sequences: 1 << 30, kv_bytes: 4 * total, ..limits(40, 0) };
        let error = Engine::plan(&policy, None, Sampling::default(), too_many).err().unwrap();
        let error = format!("{error:#}");
        assert!(error.contains("lower --kv-memory") && error.contains("asks for"), "{error}");
    });
}

/// Steps by recordings are the same steps: buckets that change, sequences interrupted for want of pages, prompts that share pages.
#[test]
fn recorded_steps_draw_the_same_bits() {
    on_devices(&[3], |device| {
        for (name, precision) in [("qwen3-moe", Precision::Bf16), ("deepseek-v3", Precision::F32)] {
            let options = LoadOptions::frozen(Some(precision)).on(Some(device.clone()));
            let mut policy = Policy::load(&dir(name), options).unwrap();
            policy.config.eos_token_ids.clear();
            let all = sequences(&golden(name).0);
            let request =
                |(i, prompt): (usize, Vec<u32>)| Request { prompt, key: i as u64, samples: 1 + i % 3 };
            let requests: Vec<Request> = all.into_iter().enumerate().map(request).collect();
            for (sampling, pages) in [
                (Sampling { temperature: 0.9, top_k: 20, top_p: 0.95, ..Sampling::default() }, 12),
                (
                    Sampling {
                        repetition_penalty: 1.3,
                        forbidden: vec![vec![5], vec![7, 9]],
                        ..Sampling::default()
                    },
                    1000,
                ),
            ] {
                let run = |recorded: bool| {
                    let plan = |kv_bytes: usize| {
                        let limits = Limits { kv_bytes, ..limits(72, 0) };
                        Engine::plan(&policy, None, sampling.clone(), limits).unwrap()
                    };
                    let page = plan(64 << 20).progress().page_bytes;
                    let mut engine = plan(pages * page);
                    if !recorded {
                        engine.without_recordings();
                    }
                    let mut drawn = Vec::new();
                    let keep = |_: usize, group: Vec<Completion>| {
                        drawn.extend(group.into_iter().map(|c| (c.ids, c.logprobs)));
                        Ok(())
                    };
                    engine.run(&requests, keep).unwrap();
                    (drawn, engine.progress())
                };
                let ((want, before), (found, after)) = (run(false), run(true));
                assert_eq!(found, want, "{name}");
                assert_eq!((before.replayed, after.interrupted), (0, before.interrupted));
                assert_eq!(before.interrupted > 0, pages < 100, "{name}: {before:?}");
                println!("{name}: {} of {} steps replayed", after.replayed, after.steps);
                assert!(after.replayed * 2 > after.steps, "{name}: {} of {}", after.replayed, after.steps);
            }
        }
    });
}
