//! The divergence that distillation minimizes: against TRL's generalized Jensen-Shannon loss, values and gradients, and through
//! whole networks against finite differences.

mod policies;

use policies::{configs, ids, policy};
use r1_kernels::linear::Weight;
use r1_kernels::{Precision, divergence};
use r1_model::Policy;
use r1_model::batch::{Packed, Sequence};
use r1_model::parameters::Kind;
use r1_model::random::{Stream, hash};
use r1_train::optimizer::{AdamW, Hyper};
use r1_train::update::{Limits, Listed, Pull, Row, Teacher, Trainer};
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

const HYPER: Hyper = Hyper { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0, freeze_router: false };
/// d(loss)/d(logprob) and d(loss)/d(divergence) of every token.
const TEXT: f32 = -0.2;
const PULL: f32 = 0.7;

/// Σ over all tokens of TEXT · logprob + PULL · divergence from the teacher at temperature 1/0.8.
fn loss(student: &Policy, teacher: &Policy, sequences: &[Sequence], beta: f32) -> f64 {
    let batch = Packed::pack(sequences);
    let n = batch.target_tokens.len();
    let text: f64 =
        student.logprobs(&batch, &vec![1.0; n], false).unwrap().logprobs.iter().map(|&x| f64::from(x)).sum();
    let apart: f64 = student.with_head(&batch, |h, w| {
        teacher.with_head(&batch, |th, tw| {
            let live = divergence::Teacher::Live { h: th, w: tw };
            divergence::forward(h, w, live, beta, &vec![0.8; n]).iter().map(|&x| f64::from(x)).sum()
        })
    });
    f64::from(TEXT) * text + f64::from(PULL) * apart
}

#[test]
fn a_batch_is_pulled_along_the_slope_however_it_is_cut_and_listed() {
    for ((name, config), beta) in configs().into_iter().zip([0.0, 1.0, 0.4, 0.5]) {
        let teacher = policy(&config, 9);
        let (a, b) = (ids("a", 9), ids("b", 6));
        let completions = [ids("c", 7), ids("d", 5), ids("e", 9), ids("f", 1)];
        let prompts = [&a, &a, &b, &b];
        let both = || prompts.iter().zip(&completions);
        let rows: Vec<Row> = both()
            .map(|(p, c)| Row { prompt: p, completion: c, inv_temperature: 1.0, gradient: true })
            .collect();
        let sequences: Vec<Sequence> = both().map(|(p, c)| Sequence { prompt: p, completion: c }).collect();
        // The teacher's whole distributions, as a file would hold them.
        let batch = Packed::pack(&sequences);
        let n = batch.target_tokens.len();
        let (_, top) =
            teacher.logprobs_with_top(&batch, &vec![0.8; n], policies::VOCABULARY as usize).unwrap();
        let mut lists =
            top.ids.chunks(40).map(<[u32]>::to_vec).zip(top.logprobs.chunks(40).map(<[f32]>::to_vec));
        let own: Vec<_> = completions
            .iter()
            .map(|c| lists.by_ref().take(c.len()).unzip::<_, _, Vec<_>, Vec<_>>())
            .collect();
        let listed: Vec<Listed> = own.iter().map(|(ids, logprobs)| Listed { ids, logprobs }).collect();

        let run = |teacher: Teacher, micro_tokens: usize| {
            let student = policy(&config, 5);
            let optimizer = AdamW::fresh(&student, HYPER);
            let limits = Limits { micro_tokens, clip_norm: 0.0, router_bias_rate: 0.0 };
            let mut trainer = Trainer::new(student, optimizer, limits).unwrap();
            let mut sum = 0.0;
            let mut seen = |_: usize, own: &[f32]| sum += own.iter().map(|&x| f64::from(x)).sum::<f64>();
            let mut pull = Pull { teacher, beta, inv_temperature: &[0.8; 4], weight: PULL, seen: &mut seen };
            let text = &mut |_: usize, _: r1_train::update::Scored, d: &mut [f32]| d.fill(TEXT);
            trainer.accumulate_toward(&rows, &mut pull, text).unwrap();
            (trainer, sum)
        };
        let (whole, sum) = run(Teacher::Live(&teacher), 4096);
        for (other, apart) in [run(Teacher::Live(&teacher), 1), run(Teacher::Listed(&listed), 4096)] {
            assert!((sum - apart).abs() < 1e-4 * sum, "{name}: {sum} {apart}");
            for (x, y) in whole.gradients().values.iter().zip(&other.gradients().values) {
                let size = x.iter().fold(1e-3f32, |m, g| m.max(g.abs()));
                assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-3 * size), "{name}");
            }
        }
        let mut student = policy(&config, 5);
        for i in 0..student.parameters().len() {
            if student.parameters()[i].kind == Kind::CorrectionBias {
                continue;
            }
            let tensor = student.parameters()[i].pieces[0].name.clone();
            let gradient = &whole.gradients().values[i];
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let stream = Stream::of(3, hash(&tensor), 1);
            let scale = 1.0 / (gradient.len() as f64).sqrt();
            let random = (0..gradient.len() as u64).map(|j| if stream.at(j) < 0.5 { scale } else { -scale });
            let along = gradient.iter().map(|g| f64::from(*g) / norm.max(1e-12));
            let start = student.parameters()[i].value.clone();
            for direction in [along.collect::<Vec<f64>>(), random.collect()] {
                let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
                let mut at = |h: f64| {
                    let value = &mut student.parameters_mut()[i].value;
                    for ((v, s), d) in value.iter_mut().zip(&start).zip(&direction) {
                        *v = (f64::from(*s) + h * d) as f32;
                    }
                    student.repack();
                    loss(&student, &teacher, &sequences, beta)
                };
                let numeric = (at(4e-3) - at(-4e-3)) / 8e-3;
                let tolerance = 3e-3 * norm.max(expected.abs()) + 3e-3;
                assert!(
                    (numeric - expected).abs() < tolerance,
                    "{name}: {tensor}: {numeric} by differences, {expected}"
                );
            }
            student.parameters_mut()[i].value = start;
            student.repack();
        }
    }
}
