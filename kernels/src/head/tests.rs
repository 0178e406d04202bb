//! Forward and backward against the reference and numeric derivatives; sampling's logprob is forward's, bit for bit.

use super::*;
use crate::Precision;
use crate::lanes::each_level;
use crate::testing::{any_threads, close, dot, same, slope, values, wide};

struct Case {
    h: Vec<f32>,
    w: Vec<f32>,
    packed: Weight,
    targets: Vec<u32>,
    inv_temperature: Vec<f32>,
}

fn case(rows: usize, v: usize, c: usize) -> Case {
    let w = values(2, v * c, 1.0);
    Case {
        h: values(1, rows * c, 3.0),
        packed: Weight::pack(&w, v, c, Precision::F32, true),
        w,
        targets: (0..rows).map(|i| (i * 7 % v) as u32).collect(),
        inv_temperature: (0..rows).map(|i| [1.0, 1.0 / 0.6, 0.5][i % 3]).collect(),
    }
}

#[test]
fn forward_is_the_reference_and_sampling_has_its_bits() {
    for (rows, v, c) in [(1, 1, 1), (2, 5, 3), (3, 16, 8), (70, 333, 12), (300, 70, 5)] {
        let k = case(rows, v, c);
        let out = forward(&k.h, &k.packed, &k.targets, &k.inv_temperature, true);
        let exact = reference::forward(&wide(&k.h), &wide(&k.w), &k.targets, &wide(&k.inv_temperature));
        close("logprobs", &out.logprobs, &exact.logprobs, 2e-6);
        close("lse", &out.lse, &exact.lse, 2e-6);
        for (&a, &b) in out.entropy.iter().zip(&exact.entropy) {
            assert!((f64::from(a) - b).abs() < 3e-6, "entropy {a}, exactly {b}");
        }
        let without = forward(&k.h, &k.packed, &k.targets, &k.inv_temperature, false);
        assert!(without.entropy.is_empty());
        same("without entropy", &out.logprobs, &without.logprobs);
        let (mut logits, mut scratch) = (vec![0.0; v], vec![]);
        for i in 0..rows {
            linear::forward(&k.h[i * c..][..c], &k.packed, None, &mut logits);
            let logprob = row_logprob(&logits, k.targets[i], k.inv_temperature[i], &mut scratch);
            same("row_logprob", &[logprob], &out.logprobs[i..=i]);
            same("log_sum_exp", &[log_sum_exp(&scratch)], &out.lse[i..=i]);
        }
    }
}

#[test]
fn sampling_has_forwards_bits_in_bf16_too() {
    if let Err(why) = crate::supports(Precision::Bf16) {
        println!("skipped: {why}");
        return;
    }
    let (rows, v, c) = (70, 333, 40);
    let mut k = case(rows, v, c);
    k.packed = Weight::pack(&k.w, v, c, Precision::Bf16, true);
    let out = forward(&k.h, &k.packed, &k.targets, &k.inv_temperature, false);
    let exact = reference::forward(&wide(&k.h), &wide(&k.w), &k.targets, &wide(&k.inv_temperature));
    close("logprobs", &out.logprobs, &exact.logprobs, 1e-2);
    let (mut logits, mut scratch) = (vec![0.0; v], vec![]);
    for i in 0..rows {
        linear::forward(&k.h[i * c..][..c], &k.packed, None, &mut logits);
        let logprob = row_logprob(&logits, k.targets[i], k.inv_temperature[i], &mut scratch);
        same("row_logprob", &[logprob], &out.logprobs[i..=i]);
    }
    let (mut dh, mut dw) = (vec![9.0; k.h.len()], vec![0.0; k.w.len()]);
    let (mut edh, mut edw) = (vec![0.0; k.h.len()], vec![0.0; k.w.len()]);
    let dlogprob = values(3, rows, 1.0);
    let t = &k.inv_temperature;
    backward(&k.h, &k.packed, &k.targets, t, &out, &dlogprob, None, &mut dh, Some(&mut dw));
    let (h, w, zero) = (wide(&k.h), wide(&k.w), vec![0.0; rows]);
    reference::backward(&h, &w, &k.targets, &wide(t), &exact, &wide(&dlogprob), &zero, &mut edh, &mut edw);
    close("dh", &dh, &edh, 3e-2);
    close("dw", &dw, &edw, 3e-2);
    let mut alone = vec![9.0; k.h.len()];
    backward(&k.h, &k.packed, &k.targets, t, &out, &dlogprob, None, &mut alone, None);
    same("dh without dw", &alone, &dh);
}

#[test]
fn a_sharp_row_has_exact_ends() {
    // Logits −60, 0, 40 and 41 from one channel.
    let w = [-60.0, 0.0, 40.0, 41.0];
    let packed = Weight::pack(&w, 4, 1, Precision::F32, false);
    let out = forward(&[1.0, 1e6], &packed, &[3, 3], &[1.0, 1.0], true);
    let p = 1.0 / (1.0 + (-1f64).exp());
    close("logprob", &out.logprobs[..1], &[p.ln()], 2e-5);
    close("entropy", &out.entropy[..1], &[-p * p.ln() - (1.0 - p) * (1.0 - p).ln()], 1e-6);
    assert_eq!((out.logprobs[1], out.entropy[1]), (0.0, 0.0));
}

#[test]
fn log_sum_exp_leaves_out_minus_infinity() {
    let mut row = vec![f32::NEG_INFINITY; 40];
    row[17] = 3.25;
    assert_eq!(log_sum_exp(&row), 3.25);
    row[39] = 3.25;
    close("two", &[log_sum_exp(&row)], &[3.25 + 2f64.ln()], 1e-7);
    assert!(log_sum_exp(&[0.0, f32::NAN]).is_nan());
}

#[test]
fn backward_is_the_slope() {
    for (rows, v, c) in [(1, 2, 1), (2, 5, 3), (3, 33, 4)] {
        let k = case(rows, v, c);
        let (dlogprob, dentropy) = (values(3, rows, 1.0), values(4, rows, 1.0));
        let out = forward(&k.h, &k.packed, &k.targets, &k.inv_temperature, true);
        for dentropy in [None, Some(&dentropy[..])] {
            let wide_dentropy = dentropy.map_or(vec![0.0; rows], wide);
            let loss = |h: &[f64], w: &[f64]| {
                let out = reference::forward(h, w, &k.targets, &wide(&k.inv_temperature));
                dot(&out.logprobs, &wide(&dlogprob)) + dot(&out.entropy, &wide_dentropy)
            };
            let (mut dh, mut dw) = (vec![9.0; k.h.len()], vec![0.0; k.w.len()]);
            let t = &k.inv_temperature;
            backward(&k.h, &k.packed, &k.targets, t, &out, &dlogprob, dentropy, &mut dh, Some(&mut dw));
            close("dh", &dh, &slope(&wide(&k.h), |h| loss(h, &wide(&k.w))), 1e-5);
            close("dw", &dw, &slope(&wide(&k.w), |w| loss(&wide(&k.h), w)), 1e-5);
        }
    }
}

#[test]
fn backward_is_the_reference_over_several_chunks() {
    let (rows, v, c) = (300, 70, 5);
    let k = case(rows, v, c);
    let (dlogprob, dentropy) = (values(3, rows, 1.0), values(4, rows, 1.0));
    let out = forward(&k.h, &k.packed, &k.targets, &k.inv_temperature, true);
    let (mut dh, mut dw) = (vec![9.0; k.h.len()], values(5, k.w.len(), 1.0));
    let (h, w, t) = (wide(&k.h), wide(&k.w), wide(&k.inv_temperature));
    let exact = reference::forward(&h, &w, &k.targets, &t);
    let (mut edh, mut edw) = (vec![0.0; k.h.len()], wide(&dw));
    let (dl, de) = (wide(&dlogprob), wide(&dentropy));
    reference::backward(&h, &w, &k.targets, &t, &exact, &dl, &de, &mut edh, &mut edw);
    let t = &k.inv_temperature;
    backward(&k.h, &k.packed, &k.targets, t, &out, &dlogprob, Some(&dentropy), &mut dh, Some(&mut dw));
    close("dh", &dh, &edh, 5e-6);
    close("dw", &dw, &edw, 5e-6);
}

#[test]
fn bits_depend_on_nothing_but_the_row() {
    let (rows, v, c) = (270, 101, 6);
    let k = case(rows, v, c);
    let (dlogprob, dentropy) = (values(3, rows, 1.0), values(4, rows, 1.0));
    let run = |cuts: &[usize]| {
        let (mut dh, mut dw, mut all) = (vec![0.0; k.h.len()], vec![0.0; k.w.len()], vec![]);
        for cut in cuts.windows(2) {
            let (r, at) = (cut[0]..cut[1], cut[0] * c..cut[1] * c);
            let (h, targets, t) = (&k.h[at.clone()], &k.targets[r.clone()], &k.inv_temperature[r.clone()]);
            let out = forward(h, &k.packed, targets, t, true);
            let (dl, de) = (&dlogprob[r.clone()], Some(&dentropy[r]));
            backward(h, &k.packed, targets, t, &out, dl, de, &mut dh[at], Some(&mut dw));
            all.extend(
                [out.logprobs, out.lse, out.entropy].concat().chunks(cut[1] - cut[0]).map(|x| x.to_vec()),
            );
        }
        let parts = cuts.len() - 1;
        let ordered: Vec<f32> = (0..3)
            .flat_map(|kind| (0..parts).flat_map(move |p| [p * 3 + kind]))
            .flat_map(|i| all[i].clone())
            .collect();
        [ordered, dh, dw].concat()
    };
    let whole = any_threads("head", || run(&[0, rows]));
    same("cut", &whole, &run(&[0, 1, 67, rows]));
    each_level(|level| same(level.name(), &whole, &run(&[0, rows])));
}

#[test]
#[should_panic(expected = "target 5, vocabulary of 5")]
fn a_target_beyond_the_vocabulary_is_refused() {
    let k = case(1, 5, 3);
    forward(&k.h, &k.packed, &[5], &[1.0], false);
}

#[test]
fn weights_are_the_distribution_that_logprobs_come_from() {
    for v in [1, 15, 16, 17, 130] {
        let logits: Vec<f32> = (0..v).map(|i| ((i * 37) % 23) as f32 * 0.7 - 5.0).collect();
        let (mut weights, mut scratch) = (Vec::new(), Vec::new());
        super::row_weights(&logits, 1.25, &mut weights);
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        assert_eq!(weights.iter().fold(0f32, |m, &w| m.max(w)), 1.0);
        for (i, &w) in weights.iter().enumerate() {
            let logprob = super::row_logprob(&logits, i as u32, 1.25, &mut scratch);
            let from_weights = (f64::from(w) / total).ln();
            assert!((from_weights - f64::from(logprob)).abs() < 1e-5, "{v} {i}: {from_weights} {logprob}");
        }
    }
}

#[test]
fn the_most_probable_come_first_with_forwards_bits_and_ties_by_id() {
    for (rows, v, c) in [(1, 1, 1), (3, 16, 8), (70, 333, 12), (300, 70, 5)] {
        let k = case(rows, v, c);
        let exact = |i: usize, id: u32| {
            let (h, t) = (wide(&k.h[i * c..][..c]), f64::from(k.inv_temperature[i]));
            reference::forward(&h, &wide(&k.w), &[id], &[t]).logprobs[0]
        };
        for n in [1, 2.min(v), 17.min(v), v] {
            let found = any_threads("top", || top(&k.h, &k.packed, &k.inv_temperature, n).logprobs);
            let ids = top(&k.h, &k.packed, &k.inv_temperature, n).ids;
            for i in 0..rows {
                let (ids, logprobs) = (&ids[i * n..][..n], &found[i * n..][..n]);
                let all: Vec<f32> = (0..v as u32)
                    .map(|id| {
                        let (h, t) = (&k.h[i * c..][..c], &k.inv_temperature[i..=i]);
                        forward(h, &k.packed, &[id], t, false).logprobs[0]
                    })
                    .collect();
                for (j, (&id, &logprob)) in ids.iter().zip(logprobs).enumerate() {
                    same("a token's logprob", &[all[id as usize]], &[logprob]);
                    let first = |a: (f32, u32), b: (f32, u32)| a.0 > b.0 || (a.0 == b.0 && a.1 < b.1);
                    assert!(j == 0 || first((logprobs[j - 1], ids[j - 1]), (logprob, id)));
                    let before = (0..v as u32).filter(|&o| first((all[o as usize], o), (logprob, id)));
                    assert!(i > 3 || before.count() == j, "row {i}: {j} tokens go before {id}");
                }
                assert!((f64::from(logprobs[0]) - exact(i, ids[0])).abs() < 3e-6);
            }
        }
    }
    // Four tokens with one logit: the lower ids.
    let w = [1.0, 2.0, 2.0, 2.0, 1.0, 2.0];
    let tied = top(&[1.0], &Weight::pack(&w, 6, 1, Precision::F32, false), &[0.7], 5);
    assert_eq!(tied.ids, [1, 2, 3, 5, 0]);
}
