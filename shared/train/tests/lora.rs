//! Training an adapter: AdamW steps against PEFT with torch (recipe: scripts/golden/lora.py), memory, threads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use r1_kernels::threads;
use r1_model::lora::Saved;
use r1_model::{LoadOptions, Policy, Precision};
use r1_train::optimizer::{AdamW, Hyper};
use r1_train::update::{Limits, Row, Scored, Trainer};
use safetensors::SafeTensors;
use serde_json::Value;

const CASES: [&str; 4] = ["llama", "qwen2-rslora", "deepseek-v3", "deepseek-v3-plain"];

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn json(file: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// A trainer of the golden adapter, and the sequences.
fn begin(name: &str, micro_tokens: usize) -> (Trainer, Vec<Vec<u32>>, Value) {
    let adapter = goldens().join("lora").join(name);
    let golden = json(adapter.join("golden.json"));
    let base = goldens().join("checkpoints").join(golden["checkpoint"].as_str().unwrap());
    let mut policy = Policy::load(&base, LoadOptions::adapted(Some(Precision::F32))).unwrap();
    Saved::open(&adapter, &policy.config).unwrap().attach(&mut policy).unwrap();
    let number = |key: &str| golden["adamw"][key].as_f64().unwrap();
    let hyper = Hyper {
        beta1: golden["adamw"]["betas"][0].as_f64().unwrap(),
        beta2: golden["adamw"]["betas"][1].as_f64().unwrap(),
        eps: number("eps"),
        weight_decay: number("weight_decay"),
        freeze_router: false,
    };
    let optimizer = AdamW::fresh(&policy, hyper);
    let sequences = json(base.join("golden.json"))["sequences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| serde_json::from_value(s["input_ids"].clone()).unwrap())
        .collect();
    let limits = Limits { micro_tokens, clip_norm: 0.0, router_bias_rate: 0.001 };
    (Trainer::new(policy, optimizer, limits).unwrap(), sequences, golden)
}

fn steps(trainer: &mut Trainer, sequences: &[Vec<u32>], golden: &Value) -> Vec<f64> {
    let rows: Vec<Row> = sequences
        .iter()
        .map(|s| Row { prompt: &s[..1], completion: &s[1..], inv_temperature: 1.0, gradient: true })
        .collect();
    let tokens: usize = rows.iter().map(|r| r.completion.len()).sum();
    let lr = golden["adamw"]["lr"].as_f64().unwrap();
    let step = |_| {
        let mut loss = 0.0;
        let mut of = |_: usize, scored: Scored, d: &mut [f32]| {
            loss -= scored.logprobs.iter().map(|&x| f64::from(x)).sum::<f64>() / tokens as f64;
            d.fill(-1.0 / tokens as f32);
        };
        trainer.accumulate(&rows, false, &mut of).unwrap();
        trainer.apply(&rows, lr).unwrap();
        loss
    };
    (0..golden["adamw"]["steps"].as_u64().unwrap()).map(step).collect()
}

#[test]
fn steps_are_those_of_peft_and_torch() {
    for name in CASES {
        let (mut trainer, sequences, golden) = begin(name, 4096);
        let losses = steps(&mut trainer, &sequences, &golden);
        for (ours, theirs) in losses.iter().zip(golden["nll"].as_array().unwrap()) {
            let theirs = theirs.as_f64().unwrap();
            assert!((ours - theirs).abs() < 1e-4, "{name}: NLL {ours}, PEFT {theirs}");
        }
        let bytes = std::fs::read(goldens().join("lora").join(name).join("golden.safetensors")).unwrap();
        let expected: BTreeMap<String, Vec<f32>> = SafeTensors::deserialize(&bytes)
            .unwrap()
            .iter()
            .filter_map(|(k, t)| {
                let values = t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                Some((k.strip_prefix("stepped.")?.to_string(), values.collect()))
            })
            .collect();
        let mut seen = 0;
        for parameter in trainer.policy.parameters() {
            for piece in &parameter.pieces {
                for (a, b) in parameter.value[piece.range()].iter().zip(&expected[&piece.name]) {
                    // AdamW's first steps are ± lr whatever the gradient's size: where it is all rounding, so is the sign.
                    assert!((a - b).abs() < 2e-4, "{name}: {}: {a}, torch {b}", piece.name);
                }
                seen += 1;
            }
        }
        assert_eq!(seen, expected.len(), "{name}: tensors compared");
    }
}

#[test]
fn gradients_and_moments_are_the_adapters_alone() {
    for name in CASES {
        let (mut trainer, sequences, golden) = begin(name, 4096);
        let own: usize = trainer.policy.parameters().iter().map(|p| p.len).sum();
        assert_eq!(trainer.optimizer.bytes(), 8 * own, "{name}");
        assert_eq!(trainer.gradients().values.iter().map(Vec::len).sum::<usize>(), own, "{name}");
        let before = trainer.policy.parameters().iter().map(|p| p.value.clone()).collect::<Vec<_>>();
        steps(&mut trainer, &sequences, &golden);
        for (p, before) in trainer.policy.parameters().iter().zip(before) {
            assert!(p.value != before, "{name}: {} did not move", p.pieces[0].name);
        }
        // What lies under it did not: switched off, it computes what the checkpoint computes.
        trainer.policy.switch_adapter(false);
        let base = goldens().join("checkpoints").join(golden["checkpoint"].as_str().unwrap());
        let plain = Policy::load(&base, LoadOptions::frozen(Some(Precision::F32))).unwrap();
        let mut batch = r1_model::Packed::default();
        batch.push(None, &sequences[2]);
        batch.target_rows = (0..sequences[2].len() as u32).collect();
        batch.target_tokens = sequences[2].clone();
        let inv = vec![1.0; sequences[2].len()];
        assert_eq!(
            trainer.policy.logprobs(&batch, &inv, false).unwrap(),
            plain.logprobs(&batch, &inv, false).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn threads_change_no_bit_and_the_cut_only_rounding() {
    for name in CASES {
        let values = |count: usize, micro_tokens: usize| {
            threads::set(count);
            let (mut trainer, sequences, golden) = begin(name, micro_tokens);
            steps(&mut trainer, &sequences, &golden);
            trainer.policy.parameters().iter().flat_map(|p| p.value.clone()).collect::<Vec<f32>>()
        };
        let one = values(1, 20);
        for count in [2, 5] {
            assert!(one == values(count, 20), "{name}: {count} threads");
        }
        let off = one.iter().zip(values(2, 4096)).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(off < 5e-4, "{name}: another cut moves by {off}");
    }
}
