//! A policy on a device against the same policy on the host, and against transformers' golden numbers: logits, packed and
//! paged, log-probabilities, gradients, and what the engine draws. The device is the emulated one, in several orders of its threads;
//! `R1_CUDA=card` takes a card instead, `R1_CUDA=interpreted` the interpreted one.
#![cfg(feature = "cuda")]

mod engine;
mod learning;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use r1_model::batch::Sequence;
use r1_model::checkpoint::SaveDtype;
use r1_model::device::Device;
use r1_model::engine::{Completion, Engine, Limits, Progress, Request, kv_bytes};
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
    let how = std::env::var("R1_CUDA").unwrap_or_default();
    if how == "card" {
        test(&Device::card(0).expect("R1_CUDA=card asks for a card"));
        return;
    }
    for order in orders {
        let device = if how == "interpreted" { Device::interpreted } else { Device::emulated };
        match device(*order) {
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
