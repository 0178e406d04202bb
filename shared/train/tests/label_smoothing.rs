//! Label smoothing: against torch's `cross_entropy` through whole networks, values and gradients, and by finite differences.

mod policies;

use policies::{configs, ids, policy};
use r1_model::batch::{Packed, Sequence};
use r1_model::parameters::Kind;
use r1_model::{LoadOptions, Policy, Precision};
use r1_train::optimizer::{AdamW, Hyper};
use r1_train::supervised::{Imitation, Objective};
use r1_train::update::{Limits, Row, Trainer};
use serde_json::Value;
use std::path::Path;

const HYPER: Hyper = Hyper { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, freeze_router: false };

fn trainer(policy: Policy, micro_tokens: usize) -> Trainer {
    let optimizer = AdamW::fresh(&policy, HYPER);
    Trainer::new(policy, optimizer, Limits { micro_tokens, clip_norm: 0.0, router_bias_rate: 0.0 }).unwrap()
}

#[test]
fn loss_and_gradients_are_those_of_torch() {
    let golden: Value =
        serde_json::from_str(include_str!("../../../tests/golden/losses/label_smoothing.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let number = |key: &str| case[key].as_f64().unwrap();
        let (name, label_smoothing) = (case["checkpoint"].as_str().unwrap(), number("epsilon"));
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints").join(name);
        let policy = Policy::load(&dir, LoadOptions::trainable(Some(Precision::F32))).unwrap();
        let sequences: Vec<Vec<u32>> = serde_json::from_value(case["sequences"].clone()).unwrap();
        let prompt = case["prompt"].as_u64().unwrap() as usize;
        let rows: Vec<Row> = sequences
            .iter()
            .map(|s| Row {
                prompt: &s[..prompt],
                completion: &s[prompt..],
                inv_temperature: 1.0,
                gradient: true,
            })
            .collect();
        // All at once, and a row at a time.
        let mut trainer = trainer(policy, if label_smoothing < 0.5 { 4096 } else { 1 });
        let loss = Imitation { label_smoothing }.accumulate(&mut trainer, &rows, &[0, 1, 2]).unwrap();
        let what = format!("{name}, epsilon {label_smoothing}");
        assert!((loss.total - number("loss")).abs() < 2e-5, "{what}: {} {}", loss.total, number("loss"));
        assert!(loss.parts[0].0 == "nll" && (loss.parts[0].1 - number("nll")).abs() < 2e-5, "{what}");
        let mut seen = 0;
        for (parameter, gradient) in trainer.policy.parameters().iter().zip(&trainer.gradients().values) {
            for piece in &parameter.pieces {
                let want = &case["gradients"][&piece.name];
                let (norm, along) = (want[0].as_f64().unwrap(), want[1].as_f64().unwrap());
                let own = gradient[piece.range()].iter().map(|&g| f64::from(g));
                let found_norm = own.clone().map(|g| g * g).sum::<f64>().sqrt();
                let found_along: f64 = own.enumerate().map(|(i, g)| g * (i as f64).cos()).sum();
                assert!(
                    (found_norm - norm).abs() < 1e-4 * norm,
                    "{what}, {}: {found_norm} {norm}",
                    piece.name
                );
                assert!(
                    (found_along - along).abs() < 2e-4 * norm,
                    "{what}, {}: {found_along} {along}",
                    piece.name
                );
                seen += 1;
            }
        }
        assert_eq!(seen, case["gradients"].as_object().unwrap().len(), "{what}");
    }
}

#[test]
fn without_smoothing_the_bits_are_the_plain_losses() {
    let (_, config) = &configs()[0];
    let (prompt, completion) = (ids("p", 4), ids("c", 6));
    let rows = [Row { prompt: &prompt, completion: &completion, inv_temperature: 1.0, gradient: true }];
    let mut plain = trainer(policy(config, 5), 4096);
    let loss = Imitation::default().accumulate(&mut plain, &rows, &[0]).unwrap();
    let mut own = trainer(policy(config, 5), 4096);
    let mut total = 0.0;
    own.accumulate(&rows, false, &mut |_, scored, d| {
        total -= scored.logprobs.iter().map(|&x| f64::from(x)).sum::<f64>() / 6.0;
        d.fill((-1.0f64 / 6.0) as f32);
    })
    .unwrap();
    assert!((loss.total - total).abs() < 1e-12 && loss.parts.is_empty());
    assert!(own.gradients().values == plain.gradients().values);
}

/// The loss by its definition, from whole distributions: one row of log-probabilities a token.
fn by_definition(policy: &Policy, rows: &[Row], epsilon: f64) -> f64 {
    let sequences: Vec<Sequence> =
        rows.iter().map(|r| Sequence { prompt: r.prompt, completion: r.completion }).collect();
    let batch = Packed::pack(&sequences);
    let n = batch.target_tokens.len();
    let v = policies::VOCABULARY as usize;
    let (output, top) = policy.logprobs_with_top(&batch, &vec![1.0; n], v).unwrap();
    let nll: f64 = output.logprobs.iter().map(|&x| -f64::from(x)).sum();
    let all: f64 = top.logprobs.iter().map(|&x| -f64::from(x)).sum::<f64>() / v as f64;
    ((1.0 - epsilon) * nll + epsilon * all) / n as f64
}

#[test]
fn every_parameter_moves_along_the_slope() {
    for (name, config) in configs() {
        // A shared prompt, one token alone, lengths that fill no tile.
        let (a, b) = (ids("a", 9), ids("b", 1));
        let completions = [ids("c", 7), ids("d", 1), ids("e", 17)];
        let rows: Vec<Row> = [&a, &a, &b]
            .into_iter()
            .zip(&completions)
            .map(|(prompt, completion)| Row { prompt, completion, inv_temperature: 1.0, gradient: true })
            .collect();
        let epsilon = 0.3;
        let mut trainer = trainer(policy(&config, 5), 4096);
        let loss =
            Imitation { label_smoothing: epsilon }.accumulate(&mut trainer, &rows, &[0, 1, 2]).unwrap();
        let mut moved = policy(&config, 5);
        let exact = by_definition(&moved, &rows, epsilon);
        assert!((loss.total - exact).abs() < 1e-5 * exact, "{name}: {} {exact}", loss.total);
        for i in 0..moved.parameters().len() {
            if moved.parameters()[i].kind == Kind::CorrectionBias {
                continue;
            }
            let gradient = &trainer.gradients().values[i];
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let start = moved.parameters()[i].value.clone();
            let mut at = |h: f64| {
                let value = &mut moved.parameters_mut()[i].value;
                for ((v, s), g) in value.iter_mut().zip(&start).zip(gradient) {
                    *v = (f64::from(*s) + h * f64::from(*g) / norm.max(1e-12)) as f32;
                }
                moved.repack();
                by_definition(&moved, &rows, epsilon)
            };
            let slope = (at(4e-3) - at(-4e-3)) / 8e-3;
            at(0.0);
            let tensor = &moved.parameters()[i].pieces[0].name;
            assert!(
                (slope - norm).abs() < 5e-3 * norm + 5e-4,
                "{name}: {tensor}: {slope} by differences, {norm}"
            );
        }
    }
}
