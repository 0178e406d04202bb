//! Against the host's head, and draws against the rule, token by token.

use super::*;
use crate::Precision;
use crate::cuda::testing::{each_device, narrow, near, on, values, widen};
use crate::head;
use crate::linear::Weight;

#[test]
fn both_ways_are_the_cpu_s() {
    each_device(|device| {
        for (rows, c, v) in [(1, 1, 1), (5, 8, 37), (20, 16, 700)] {
            let round = |seed, n, size| widen(&narrow(&values(seed, n, size)));
            let (h, w) = (round(1, rows * c, 2.0), round(2, v * c, 2.0));
            let targets: Vec<u32> = (0..rows).map(|i| (i * 13 % v) as u32).collect();
            let by: Vec<f32> = (0..rows).map(|i| 0.5 + i as f32 / 8.0).collect();
            let weight = Weight::pack(&w, v, c, Precision::F32, true);
            let expected = head::forward(&h, &weight, &targets, &by, true);
            let (dlogprob, dentropy) = (values(3, rows, 1.0), values(4, rows, 1.0));
            let (mut dh, mut dw) = (vec![0.0; rows * c], values(5, v * c, 1.0));
            let before = dw.clone();
            let (d, de) = (&dlogprob, Some(&dentropy[..]));
            head::backward(&h, &weight, &targets, &by, &expected, d, de, &mut dh, Some(&mut dw));
            let (targets, by) = (on(device, &targets), on(device, &by));
            let (d, de) = (on(device, &dlogprob), on(device, &dentropy));
            macro_rules! check {
                ($to:expr, $forward:literal, $backward:literal) => {
                    let (h, w) = (on(device, &$to(&h)), on(device, &$to(&w)));
                    let (t, b) = (targets.all(), by.all());
                    let out = forward(device, h.all(), w.all(), c, t, b, true).unwrap();
                    near("logprobs", &out.logprobs.download("test").unwrap(), &expected.logprobs, $forward);
                    near("lse", &out.lse.download("test").unwrap(), &expected.lse, $forward);
                    let entropy = out.entropy.as_ref().unwrap().download("test").unwrap();
                    near("entropy", &entropy, &expected.entropy, 1e-5);
                    let (mut gh, mut gw) = (on(device, &vec![9f32; rows * c]), on(device, &before));
                    let (x, y) = (gh.all_mut(), Some(gw.all_mut()));
                    backward(device, h.all(), w.all(), c, t, b, &out, d.all(), Some(de.all()), x, y).unwrap();
                    near("dh", &gh.download("test").unwrap(), &dh, $backward);
                    near("dw", &gw.download("test").unwrap(), &dw, $backward);
                };
            }
            check!(<[f32]>::to_vec, 3e-6, 1e-5);
            check!(narrow, 3e-6, 1e-2);
        }
    });
}

#[test]
fn the_most_probable_are_the_cpu_s() {
    each_device(|device| {
        for (rows, c, v) in [(1, 1, 1), (5, 3, 37), (20, 16, 1100)] {
            // Few distinct weights, so that many tokens of a row are as probable as each other, at the border too.
            let (h, mut w) = (values(1, rows * c, 1.0), values(2, v * c, 2.0));
            w.iter_mut().for_each(|x| *x = x.round());
            let h: Vec<f32> = h.iter().map(|x| x.round()).collect();
            let by: Vec<f32> = (0..rows).map(|i| 0.5 + i as f32 / 8.0).collect();
            let weight = Weight::pack(&w, v, c, Precision::F32, false);
            for n in [1, v.min(7), v.div_ceil(2), v] {
                let wanted = head::top(&h, &weight, &by, n);
                let (h, w, by) = (on(device, &h), on(device, &w), on(device, &by));
                let found = top(device, h.all(), w.all(), c, by.all(), n).unwrap();
                // Sums of a row differ in the last bits, and with them all its log-probabilities alike: the tokens are the same.
                assert_eq!(found.ids, wanted.ids, "{n} of {v}");
                near("top", &found.logprobs, &wanted.logprobs, 3e-6);
                let (h, w) = (
                    on(device, &narrow(&h.download("test").unwrap())),
                    on(device, &narrow(&w.download("test").unwrap())),
                );
                let half = top(device, h.all(), w.all(), c, by.all(), n).unwrap();
                assert_eq!(half, found, "bf16 holds these operands");
            }
        }
    });
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The rule, by a whole sort.
fn drawn(logits: &[f32], rule: &Rule, u: f64) -> u32 {
    if rule.temperature == 0.0 {
        return (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32;
    }
    let mut weights = Vec::new();
    head::row_weights(logits, 1.0 / rule.temperature, &mut weights);
    let mut order: Vec<usize> = (0..logits.len()).filter(|&i| weights[i] > 0.0).collect();
    order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
    if rule.top_k > 0 {
        order.truncate(rule.top_k);
    }
    let enough = f64::from(rule.top_p) * order.iter().map(|&i| f64::from(weights[i])).sum::<f64>();
    if rule.top_p < 1.0 {
        let mut mass = 0.0;
        let kept = order.iter().take_while(|&&i| (mass < enough, mass += f64::from(weights[i])).0).count();
        order.truncate(kept.max(1));
    }
    order.retain(|&i| f64::from(weights[i]) >= f64::from(rule.min_p));
    order.sort_unstable();
    let mut left = u * order.iter().map(|&i| f64::from(weights[i])).sum::<f64>();
    for &i in &order {
        if left < f64::from(weights[i]) {
            return i as u32;
        }
        left -= f64::from(weights[i]);
    }
    *order.last().unwrap() as u32
}

#[test]
fn draws_follow_the_rule() {
    each_device(|device| {
        let plain = Rule { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
        let rules = [
            plain,
            Rule { temperature: 0.0, ..plain },
            Rule { temperature: 0.6, ..plain },
            Rule { top_k: 1, ..plain },
            Rule { top_k: 20, ..plain },
            Rule { top_k: 100_000, ..plain },
            Rule { top_p: 0.9, ..plain },
            Rule { top_p: 0.3, temperature: 1.5, ..plain },
            Rule { min_p: 0.2, ..plain },
            Rule { top_k: 50, top_p: 0.8, min_p: 0.05, temperature: 0.7 },
        ];
        for v in [1, 33, 1000] {
            let rows = 24;
            // Few distinct logits in some rows, so that ties stand at the borders, one in others; −∞ among them.
            let mut logits: Vec<f32> = values(v as u64, rows * v, 6.0);
            for (i, x) in logits.iter_mut().enumerate() {
                if i / v % 2 == 1 {
                    *x = x.round();
                } else if i / v % 6 == 2 {
                    *x = 1.5;
                }
                if v > 1 && i % 11 == 5 {
                    *x = f32::NEG_INFINITY;
                }
            }
            let streams: Vec<u64> = (0..rows as u64).map(mix).collect();
            let positions: Vec<u32> = (0..rows as u32).map(|i| i * 3).collect();
            let (on_device, s, p) = (on(device, &logits), on(device, &streams), on(device, &positions));
            // The same draws twice, from rows that stand elsewhere.
            let order: Vec<u32> = (0..rows as u32).map(|row| (row * 7 + 3) % rows as u32).collect();
            let mut moved = vec![0.0; rows * v];
            for (row, &place) in order.iter().enumerate() {
                moved[place as usize * v..][..v].copy_from_slice(&logits[row * v..][..v]);
            }
            let moved = on(device, &moved);
            let (twice_s, twice_p) = (on(device, &streams.repeat(2)), on(device, &positions.repeat(2)));
            let places = on(device, &order.repeat(2));
            for rule in rules {
                let (mut tokens, mut logprobs) =
                    (on(device, &vec![7u32; rows]), on(device, &vec![7f32; rows]));
                let (t, l) = (tokens.all_mut(), logprobs.all_mut());
                draw(device, on_device.all(), v, &rule, None, None, s.all(), p.all(), t, l).unwrap();
                let (tokens, logprobs) =
                    (tokens.download("test").unwrap(), logprobs.download("test").unwrap());
                let (mut t, mut l) = (on(device, &vec![7u32; 2 * rows]), on(device, &vec![7f32; 2 * rows]));
                let (rows_of, s, p) = (Some(places.all()), twice_s.all(), twice_p.all());
                let (to_t, to_l) = (t.all_mut(), l.all_mut());
                draw_in_runs(device, moved.all(), v, &rule, None, rows_of, s, p, to_t, to_l, 7).unwrap();
                assert_eq!(t.download("test").unwrap(), tokens.repeat(2));
                assert_eq!(l.download("test").unwrap(), logprobs.repeat(2));
                for row in 0..rows {
                    let z = &logits[row * v..][..v];
                    let bits = mix(streams[row] ^ mix(u64::from(positions[row])));
                    let u = (bits >> 11) as f64 / (1u64 << 53) as f64;
                    assert_eq!(tokens[row], drawn(z, &rule, u), "{rule:?}, row {row} of {v}");
                    let by = if rule.temperature == 0.0 { 1.0 } else { 1.0 / rule.temperature };
                    let expected = head::row_logprob(z, tokens[row], by, &mut Vec::new());
                    assert!(
                        (logprobs[row] - expected).abs() < 4e-6,
                        "{rule:?}: {} {expected}",
                        logprobs[row]
                    );
                }
            }
        }
    });
}

#[test]
fn marks_change_the_logits() {
    each_device(|device| {
        let (rows, v) = (3, 40);
        let logits = values(3, rows * v, 2.0);
        let (starts, ids) = ([0u32, 3, 3, 5], [1u32, 7, 39, 0, 12]);
        let marks = [SEEN, SEEN | 2, BANNED, 1, SEEN | BANNED | 1];
        let mut changed = logits.clone();
        for row in 0..rows {
            for i in starts[row] as usize..starts[row + 1] as usize {
                let (x, mark) = (&mut changed[row * v + ids[i] as usize], marks[i]);
                if mark & SEEN != 0 {
                    *x = if *x > 0.0 { *x / 1.3 } else { *x * 1.3 };
                }
                let times = mark & (SEEN - 1);
                *x -= if times > 0 { 0.5 } else { 0.0 };
                (0..times).for_each(|_| *x -= 0.25);
                if mark & BANNED != 0 {
                    *x = f32::NEG_INFINITY;
                }
            }
        }
        let (starts, ids, marks) = (on(device, &starts), on(device, &ids), on(device, &marks));
        let (starts, ids, marks) = (starts.all(), ids.all(), marks.all());
        let marks = Marks { starts, ids, marks, repetition: 1.3, presence: 0.5, frequency: 0.25 };
        let rule = Rule { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 };
        let (streams, positions) = (on(device, &[5u64, 6, 7]), on(device, &[1u32, 2, 3]));
        let drawn = |logits: &[f32], marks: Option<&Marks>| {
            let (z, mut t, mut l) = (on(device, logits), on(device, &[7u32; 3]), on(device, &[7f32; 3]));
            let (s, p) = (streams.all(), positions.all());
            draw(device, z.all(), v, &rule, marks, None, s, p, t.all_mut(), l.all_mut()).unwrap();
            t.download("test").unwrap()
        };
        assert_eq!(drawn(&logits, Some(&marks)), drawn(&changed, None));
    });
}
