//! The divergence that distillation minimizes against TRL's generalized Jensen-Shannon loss, values and gradients.

use r1_kernels::linear::Weight;
use r1_kernels::{Precision, divergence};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    rows: usize,
    vocabulary: usize,
    h: Vec<f32>,
    w: Vec<f32>,
    teacher_h: Vec<f32>,
    teacher_w: Vec<f32>,
    weights: Vec<f32>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    temperature: f32,
    beta: f32,
    #[serde(default)]
    ids: Vec<Vec<u32>>,
    #[serde(default)]
    logprobs: Vec<Vec<f32>>,
    values: Vec<f64>,
    dh: Vec<f64>,
    dw: Vec<f64>,
}

#[track_caller]
fn close(what: &str, found: &[f32], exact: &[f64]) {
    assert_eq!(found.len(), exact.len(), "{what}");
    for (&a, &b) in found.iter().zip(exact) {
        assert!((f64::from(a) - b).abs() < 4e-6 * (1.0 + b.abs()), "{what}: {a}, TRL has {b}");
    }
}

#[test]
fn divergences_are_those_of_trl() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../../tests/golden/divergence/gkd.json")).unwrap();
    let Golden { rows, vocabulary, h, w, teacher_h, teacher_w, weights, cases } = golden;
    let pack =
        |w: &[f32], trainable| Weight::pack(w, vocabulary, w.len() / vocabulary, Precision::F32, trainable);
    let (head, teacher_head) = (pack(&w, true), pack(&teacher_w, false));
    assert_eq!(cases.len(), 45);
    for case in cases {
        let top = case.ids.first().map_or(0, Vec::len);
        let what = format!("temperature {}, beta {}, top {top}", case.temperature, case.beta);
        let (ids, logprobs) = (case.ids.concat(), case.logprobs.concat());
        let starts: Vec<usize> = (0..=rows).map(|i| i * top).collect();
        let teacher = match top {
            0 => divergence::Teacher::Live { h: &teacher_h, w: &teacher_head },
            _ => divergence::Teacher::Listed { ids: &ids, logprobs: &logprobs, starts: &starts },
        };
        let inv_temperature = vec![1.0 / case.temperature; rows];
        let (mut dh, mut dw) = (vec![0.0; h.len()], vec![0.0; w.len()]);
        let (beta, t) = (case.beta, &inv_temperature);
        let values = divergence::backward(&h, &head, teacher, beta, t, &weights, &mut dh, Some(&mut dw));
        close(&what, &values, &case.values);
        close(&format!("dh at {what}"), &dh, &case.dh);
        close(&format!("dw at {what}"), &dw, &case.dw);
    }
}
