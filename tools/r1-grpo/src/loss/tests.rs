use super::*;
use serde::Deserialize;
use std::collections::HashMap;

#[derive(Deserialize)]
struct Batches {
    ragged: Vec<Row>,
    truncated: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    advantage: f64,
    logprobs: Vec<f64>,
    old_logprobs: Vec<f64>,
    reference_logprobs: Vec<f64>,
    mask: Vec<u8>,
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    batch: String,
    options: serde_json::Value,
    loss: f64,
    metrics: HashMap<String, f64>,
    dlogprobs: Vec<Vec<f64>>,
}

/// The loss of a golden case, where it is one of ours.
fn ours(options: &serde_json::Value) -> Option<Loss> {
    let text = |key: &str| options.get(key).and_then(|v| v.as_str());
    let number = |key: &str| options.get(key).and_then(|v| v.as_f64());
    let aggregation = match text("loss")? {
        "grpo" => Aggregation::SequenceMean,
        "dapo" => Aggregation::TokenMean,
        "dr_grpo" => Aggregation::Constant,
        _ => return None,
    };
    let elsewhere = ["importance", "off_policy_threshold", "normalizer"];
    let unbiased = options["kl_times_ratio"] == true;
    if text("level") != Some("token") || unbiased || elsewhere.iter().any(|key| options.get(*key).is_some()) {
        return None;
    }
    Some(Loss {
        aggregation,
        clip_low: number("clip_low")?,
        clip_high: number("clip_high")?,
        delta: number("delta"),
        kl_beta: number("kl_beta")?,
        generation_limit: number("generation_limit").map(|n| n as usize),
    })
}

#[test]
fn losses_and_gradients_are_those_of_trl() {
    let batches: Batches =
        serde_json::from_str(include_str!("../../../../tests/golden/losses/batches.json")).unwrap();
    let cases: Cases =
        serde_json::from_str(include_str!("../../../../tests/golden/losses/cases.json")).unwrap();
    let mut checked = Vec::new();
    for case in &cases.cases {
        let Some(loss) = ours(&case.options) else { continue };
        let rows = if case.batch == "ragged" { &batches.ragged } else { &batches.truncated };
        let live = |row: &Row| row.mask.iter().all(|m| *m == 1);
        let tokens = rows.iter().filter(|r| live(r)).map(|r| r.mask.len()).sum();
        let totals = Totals { rows: rows.len(), tokens };
        let mut sums = Sums::default();
        for (row, expected) in rows.iter().zip(&case.dlogprobs) {
            let old = if case.options["old"] == true { &row.old_logprobs } else { &row.logprobs };
            let mut d = vec![0.0f32; expected.len()];
            if live(row) {
                let reference = (loss.kl_beta > 0.0).then_some(&row.reference_logprobs[..]);
                loss.row(row.advantage, [&row.logprobs[..], &old[..]], reference, totals, &mut d, &mut sums);
            }
            for (a, b) in d.iter().zip(expected) {
                assert!((f64::from(*a) - b).abs() < 1e-7 * (1.0 + b.abs()), "{}: {a}, TRL {b}", case.name);
            }
        }
        assert!((sums.loss - case.loss).abs() < 1e-12, "{}: {}, TRL {}", case.name, sums.loss, case.loss);
        let mean = |n: f64| n / sums.tokens as f64;
        for (key, value) in [
            ("kl", mean(sums.kl)),
            ("clip_fraction_low", mean(sums.clipped_low as f64)),
            ("clip_fraction_high", mean(sums.clipped_high as f64)),
            ("clip_fraction", mean((sums.clipped_low + sums.clipped_high) as f64)),
        ] {
            if let Some(expected) = case.metrics.get(key) {
                assert!((value - expected).abs() < 1e-6, "{}: {key} {value}, TRL {expected}", case.name);
            }
        }
        checked.push(case.name.as_str());
    }
    for name in ["grpo", "grpo-delta", "grpo-r1", "grpo-truncated", "dapo-kl", "dapo-truncated", "dr_grpo-kl"]
    {
        assert!(checked.contains(&name), "{name} is among {checked:?}");
    }
    assert!(checked.len() >= 13, "{checked:?}");
}

/// A loss without a clip, KL or limit.
fn plain(aggregation: Aggregation) -> Loss {
    Loss { aggregation, clip_low: 0.2, clip_high: 0.28, delta: None, kl_beta: 0.0, generation_limit: Some(9) }
}

#[test]
fn gradients_agree_with_finite_differences_in_every_mode() {
    let logprobs = [[-0.3, -1.2, -2.5, -0.01, -4.0], [-0.9, -0.35, -3.1, -0.6, -1.0]];
    let offsets = [0.0, 0.1, -0.35, 0.5, -0.05, 1.3];
    let mut checked = 0;
    for aggregation in [Aggregation::SequenceMean, Aggregation::TokenMean, Aggregation::Constant] {
        for (kl_beta, delta) in [(0.0, None), (0.0, Some(1.4)), (0.3, None), (0.3, Some(1.4))] {
            let loss = Loss { kl_beta, delta, ..plain(aggregation) };
            for (i, offset) in offsets.iter().enumerate() {
                for advantage in [1.3, -0.7, 0.0] {
                    let now = logprobs[i % 2];
                    let old: Vec<f64> =
                        now.iter().enumerate().map(|(t, l)| l - offset * (1.0 + 0.1 * t as f64)).collect();
                    let reference: Vec<f64> =
                        now.iter().enumerate().map(|(t, l)| l + 0.4 - 0.3 * t as f64).collect();
                    let reference = (kl_beta > 0.0).then_some(&reference[..]);
                    let totals = Totals { rows: 3, tokens: 17 };
                    let value = |now: &[f64]| {
                        let mut sums = Sums::default();
                        loss.row(
                            advantage,
                            [now, &old],
                            reference,
                            totals,
                            &mut vec![0.0; now.len()],
                            &mut sums,
                        );
                        sums.loss
                    };
                    let mut d = vec![0.0; now.len()];
                    loss.row(advantage, [&now[..], &old], reference, totals, &mut d, &mut Sums::default());
                    for t in 0..now.len() {
                        let h = 1e-6;
                        let at = |by: f64| {
                            let mut moved = now;
                            moved[t] += by;
                            value(&moved)
                        };
                        let numeric = (at(h) - at(-h)) / (2.0 * h);
                        assert!(
                            (numeric - f64::from(d[t])).abs() < 1e-6,
                            "{aggregation:?} β {kl_beta} δ {delta:?} offset {offset} A {advantage} token {t}: {numeric}, {}",
                            d[t]
                        );
                        checked += 1;
                    }
                }
            }
        }
    }
    assert_eq!(checked, 3 * 4 * 6 * 3 * 5);
}

#[test]
fn on_policy_the_loss_is_minus_the_mean_advantage_and_the_gradient_is_the_advantage() {
    let now = [-0.7f32, -1.9, -0.02];
    let totals = Totals { rows: 2, tokens: 6 };
    let mut sums = Sums::default();
    for advantage in [0.8, -0.8] {
        let mut d = [0.0; 3];
        plain(Aggregation::TokenMean).row(advantage, [&now[..], &now], None, totals, &mut d, &mut sums);
        assert!(d.iter().all(|d| *d == (-advantage / 6.0) as f32));
    }
    assert!(sums.loss.abs() < 1e-15);
    assert_eq!((sums.ratio, sums.ratio_max, sums.clipped_low + sums.clipped_high), (6.0, 1.0, 0));
}

#[test]
fn extreme_log_probabilities_stay_finite_or_become_visible() {
    let loss = Loss { kl_beta: 0.1, ..plain(Aggregation::TokenMean) };
    // A reference that is sure of what the policy would never say: large, and finite in f64.
    let token = loss.token(1.0, -120.0, -120.0, Some(-0.001));
    assert!(token.kl.is_finite() && token.gradient.is_finite() && token.kl > 1e50);
    // k3 near 0 keeps its digits: e^ρ − ρ − 1 = ρ²/2 + …
    let close = loss.token(1.0, -1.0, -1.0, Some(-1.0 + 1e-5)).kl;
    assert!((close / 5e-11 - 1.0).abs() < 1e-4, "{close}");
}
