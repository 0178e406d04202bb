//! Training on a device against training on the host: the same losses, the same norms of gradients, the same weights but for
//! rounding; and what is saved there goes on anywhere. The device is the emulated one (see `r1_kernels::cuda`).
#![cfg(feature = "cuda")]

mod groups;
mod policies;

use groups::{rows, sequences};
use policies::{configs, policy};
use r1_model::device::Device;
use r1_model::lora::Saved;
use r1_model::{Config, LoadOptions, Policy, Precision};
use r1_train::neftune::Noise;
use r1_train::optimizer::{AdamW, Hyper};
use r1_train::selftest;
use r1_train::update::{Limits, Pull, Row, Scored, Teacher, Trainer};
use serde_json::Value;
use std::path::Path;

const HYPER: Hyper = Hyper { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.01, freeze_router: false };

fn device() -> Option<Device> {
    if std::env::var("R1_CUDA").is_ok_and(|how| how == "card") {
        return Some(Device::card(0).expect("R1_CUDA=card asks for a card"));
    }
    match Device::emulated(7) {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// On the host in f32, or on a device.
fn trainer(config: &Value, there: Option<(Precision, &Device)>) -> Trainer {
    let policy = match there {
        None => policy(config, 3),
        Some((precision, device)) => {
            let options = LoadOptions::trainable(Some(precision)).on(Some(device.clone()));
            Policy::initialize(Config::parse(config.clone(), None).unwrap(), 3, options).unwrap()
        }
    };
    let optimizer = AdamW::fresh(&policy, HYPER);
    Trainer::new(policy, optimizer, Limits { micro_tokens: 64, clip_norm: 1.0, router_bias_rate: 0.001 })
        .unwrap()
}

/// One supervised update: the batch's mean loss and the gradient's norm.
fn imitate(trainer: &mut Trainer, rows: &[Row], step: u64) -> (f64, f64) {
    let tokens: usize = rows.iter().map(|r| r.completion.len()).sum();
    let mut loss = 0.0;
    let mut of = |_: usize, scored: Scored, d: &mut [f32]| {
        loss -= scored.logprobs.iter().map(|&x| f64::from(x)).sum::<f64>() / tokens as f64;
        d.fill(-1.0 / tokens as f32);
    };
    trainer.noise = (step == 2).then(|| Noise::of(5.0, 1, step));
    trainer.accumulate(rows, false, &mut of).unwrap();
    (loss, trainer.apply(rows, 0.01).unwrap().grad_norm)
}

/// |a − b| over |b| of all weights, as one vector.
fn off(a: &Policy, b: &Policy) -> f64 {
    let (mut apart, mut whole) = (0.0, 0.0);
    for i in 0..b.parameters().len() {
        for (x, y) in a.values(i).unwrap().iter().zip(b.values(i).unwrap().iter()) {
            apart += f64::from(x - y).powi(2);
            whole += f64::from(*y).powi(2);
        }
    }
    (apart / whole).sqrt()
}

#[test]
fn updates_there_are_updates_here() {
    let Some(device) = device() else { return };
    let sequences = sequences();
    for (name, config) in configs() {
        for (precision, most) in [(Precision::F32, 1e-4), (Precision::Bf16, 0.05)] {
            // A rounded score can flip which expert a token takes.
            if name == "deepseek-v3" && precision == Precision::Bf16 {
                continue;
            }
            let mut here = trainer(&config, None);
            let mut there = trainer(&config, Some((precision, &device)));
            let before = off(&there.policy, &here.policy);
            assert!(before == 0.0, "{name}: the masters are the same");
            for step in 0..4 {
                let (want, found) = (
                    imitate(&mut here, &rows(&sequences), step),
                    imitate(&mut there, &rows(&sequences), step),
                );
                for (want, found) in [(want.0, found.0), (want.1, found.1)] {
                    let apart = (found - want).abs() / want;
                    assert!(apart < most, "{name}, {precision:?}, step {step}: {found} for {want}");
                }
            }
            let apart = off(&there.policy, &here.policy);
            println!("{name}, {precision:?}: weights {apart:.1e} off after four updates");
            // An update moves every weight by about the rate, whichever side of 0 a tiny gradient falls on.
            assert!(apart < most, "{name}, {precision:?}: weights {apart:e} off");
        }
    }
}

/// The same bytes each time; and a run that is saved and loaded in the middle has those of one that is not.
#[test]
fn a_run_there_has_the_same_bits_again_and_goes_on() {
    let Some(device) = device() else { return };
    let sequences = sequences();
    let (name, config) = configs().remove(0);
    let bits = |trainer: &Trainer| -> Vec<u32> {
        let of =
            |i: usize| trainer.policy.values(i).unwrap().iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        (0..trainer.policy.parameters().len()).flat_map(of).collect()
    };
    let whole = || {
        let mut trainer = trainer(&config, Some((Precision::Bf16, &device)));
        (0..4).for_each(|step| {
            imitate(&mut trainer, &rows(&sequences), step);
        });
        bits(&trainer)
    };
    let wanted = whole();
    assert!(wanted == whole(), "{name}: again");

    let dir = tempfile::tempdir().unwrap();
    let mut first = trainer(&config, Some((Precision::Bf16, &device)));
    first.optimizer.save(&first.policy, dir.path()).unwrap();
    assert!(AdamW::load(&first.policy, dir.path(), HYPER).is_ok(), "{name}: moments before the first step");
    (0..2).for_each(|step| {
        imitate(&mut first, &rows(&sequences), step);
    });
    first.policy.save_weights(dir.path(), r1_model::checkpoint::SaveDtype::F32).unwrap();
    first.optimizer.save(&first.policy, dir.path()).unwrap();
    std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let options = LoadOptions::trainable(Some(Precision::Bf16)).on(Some(device.clone()));
    let policy = Policy::load(dir.path(), options).unwrap();
    let optimizer = AdamW::load(&policy, dir.path(), HYPER).unwrap();
    let mut second = Trainer::new(policy, optimizer, *first.limits()).unwrap();
    (2..4).for_each(|step| {
        imitate(&mut second, &rows(&sequences), step);
    });
    assert!(wanted == bits(&second), "{name}: gone on with");
}

/// The same update with smoothed labels, and toward a live teacher.
#[test]
fn smoothed_labels_and_teachers_move_the_weights_as_here() {
    let Some(device) = device() else { return };
    let sequences = sequences();
    let (name, config) = configs().remove(0);
    let rows = rows(&sequences);
    for (precision, most) in [(Precision::F32, 1e-4), (Precision::Bf16, 0.05)] {
        let (mut here, mut there) = (trainer(&config, None), trainer(&config, Some((precision, &device))));
        let teacher = |there: Option<(Precision, &Device)>| {
            let (precision, device) = there.map_or((Precision::F32, None), |(p, d)| (p, Some(d.clone())));
            let options = LoadOptions::frozen(Some(precision)).on(device);
            Policy::initialize(Config::parse(config.clone(), None).unwrap(), 5, options).unwrap()
        };
        let (live_here, live_there) = (teacher(None), teacher(Some((precision, &device))));
        let update = |trainer: &mut Trainer, live: Option<&Policy>| {
            let inv_temperature = vec![1.0; rows.len()];
            let mut divergence = 0.0;
            let mut pull = Pull {
                teacher: live.map_or(Teacher::Uniform, Teacher::Live),
                beta: if live.is_some() { 0.5 } else { 0.0 },
                inv_temperature: &inv_temperature,
                weight: 0.01,
                seen: &mut |_, own| divergence += own.iter().map(|&x| f64::from(x)).sum::<f64>(),
            };
            trainer.accumulate_toward(&rows, &mut pull, &mut |_, _, d| d.fill(-0.02)).unwrap();
            (divergence, trainer.apply(&rows, 0.01).unwrap().grad_norm)
        };
        for (live_here, live_there) in [(None, None), (Some(&live_here), Some(&live_there))] {
            let (want, found) = (update(&mut here, live_here), update(&mut there, live_there));
            for (want, found) in [(want.0, found.0), (want.1, found.1)] {
                assert!((found - want).abs() < most * want, "{name}, {precision:?}: {found} for {want}");
            }
        }
        let apart = off(&there.policy, &here.policy);
        assert!(apart < most, "{name}, {precision:?}: weights {apart:e} off");
    }
}

/// PEFT's golden adapters, some steps: the losses of a trainer on the host, and the same adapter at the end but for rounding.
#[test]
fn an_adapter_trains_there_as_here() {
    let Some(device) = device() else { return };
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let sequences = sequences();
    for (adapter, checkpoint) in [("qwen2-rslora", "qwen2"), ("deepseek-v3", "deepseek-v3")] {
        let begin = |device: Option<&Device>| {
            let options = LoadOptions::adapted(Some(Precision::F32)).on(device.cloned());
            let mut policy = Policy::load(&goldens.join("checkpoints").join(checkpoint), options).unwrap();
            Saved::open(&goldens.join("lora").join(adapter), &policy.config)
                .unwrap()
                .attach(&mut policy)
                .unwrap();
            let optimizer = AdamW::fresh(&policy, HYPER);
            let limits = Limits { micro_tokens: 64, clip_norm: 1.0, router_bias_rate: 0.0 };
            Trainer::new(policy, optimizer, limits).unwrap()
        };
        let (mut here, mut there) = (begin(None), begin(Some(&device)));
        for step in [0, 1, 3] {
            let want = imitate(&mut here, &rows(&sequences), step);
            let found = imitate(&mut there, &rows(&sequences), step);
            for (want, found) in [(want.0, found.0), (want.1, found.1)] {
                assert!((found - want).abs() < 1e-4 * want, "{adapter}, step {step}: {found} for {want}");
            }
        }
        let apart = off(&there.policy, &here.policy);
        println!("{adapter}: weights {apart:.1e} off after three updates");
        assert!(apart < 1e-4, "{adapter}: weights {apart:e} off");
        let dir = tempfile::tempdir().unwrap();
        there.optimizer.save(&there.policy, dir.path()).unwrap();
        assert!(
            AdamW::load(&there.policy, dir.path(), HYPER).is_ok(),
            "{adapter}: moments of what is trained"
        );
    }
}

#[test]
fn gradients_there_are_slopes() {
    let Some(device) = device() else { return };
    let sequences = sequences();
    for (name, config) in configs() {
        let mut trainer = trainer(&config, Some((Precision::F32, &device)));
        let before: Vec<Vec<f32>> = (0..trainer.policy.parameters().len())
            .map(|i| trainer.policy.values(i).unwrap().into_owned())
            .collect();
        let rows: Vec<Row> = rows(&sequences).into_iter().take(2).collect();
        let mut slope = |_: usize, _: Scored, d: &mut [f32], dentropy: &mut [f32]| {
            d.fill(-0.1);
            dentropy.fill(0.05);
        };
        let findings = selftest::measure(&mut trainer, &rows, &mut slope).unwrap();
        findings.settle().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(findings.slopes.len() > 5, "{name}");
        for (i, own) in before.iter().enumerate() {
            assert!(trainer.policy.values(i).unwrap()[..] == own[..], "{name}: left as it was");
        }
    }
}
