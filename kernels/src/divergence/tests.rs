//! Every kind of teacher and β against the reference, numeric derivatives and torch; bits that depend on the row alone.

use super::*;
use crate::Precision;
use crate::lanes::each_level;
use crate::testing::{any_threads, close, dot, same, slope, values, wide};

pub(super) const BETAS: [f32; 5] = [0.0, 0.1, 0.5, 0.9, 1.0];

/// Student and teacher of unequal width and, where `more` is not 0, of unequal vocabulary.
pub(super) struct Case {
    pub h: Vec<f32>,
    pub w: Vec<f32>,
    pub head: Weight,
    pub teacher_h: Vec<f32>,
    pub teacher_w: Vec<f32>,
    pub teacher_head: Weight,
    pub inv_temperature: Vec<f32>,
    pub weights: Vec<f32>,
    v: usize,
    teacher_v: usize,
    ids: Vec<Vec<u32>>,
    logprobs: Vec<Vec<f32>>,
}

pub(super) fn case(rows: usize, v: usize, c: usize, more: isize) -> Case {
    let (teacher_v, teacher_c) = ((v as isize + more) as usize, c + 1);
    let w = values(2, v * c, 1.0);
    let teacher_w = values(4, teacher_v * teacher_c, 1.0);
    let teacher_h = values(3, rows * teacher_c, 3.0);
    let teacher_head = Weight::pack(&teacher_w, teacher_v, teacher_c, Precision::F32, false);
    let inv_temperature: Vec<f32> = (0..rows).map(|i| [1.0, 1.0 / 0.6, 0.5][i % 3]).collect();
    // Lists of every length up to the whole vocabulary.
    let (mut ids, mut logprobs) = (vec![], vec![]);
    for i in 0..rows {
        let n = 1 + i * 5 % v.min(teacher_v);
        let own = &teacher_h[i * teacher_c..(i + 1) * teacher_c];
        let top = crate::head::top(own, &teacher_head, &inv_temperature[i..=i], n);
        let kept: Vec<(u32, f32)> =
            top.ids.into_iter().zip(top.logprobs).filter(|(id, _)| (*id as usize) < v).collect();
        ids.push(kept.iter().map(|k| k.0).collect());
        logprobs.push(kept.iter().map(|k| k.1).collect());
    }
    Case {
        h: values(1, rows * c, 3.0),
        head: Weight::pack(&w, v, c, Precision::F32, true),
        w,
        teacher_h,
        teacher_w,
        teacher_head,
        inv_temperature,
        weights: values(5, rows, 1.0),
        v,
        teacher_v,
        ids,
        logprobs,
    }
}

/// The lists of some rows, one after the other.
pub(super) struct Lists {
    pub ids: Vec<u32>,
    pub logprobs: Vec<f32>,
    pub starts: Vec<usize>,
}

impl Case {
    /// The same case of rounded operands.
    #[cfg(feature = "cuda")]
    pub fn rounded(mut self, round: impl Fn(&[f32]) -> Vec<f32>) -> Case {
        for values in [&mut self.h, &mut self.w, &mut self.teacher_h, &mut self.teacher_w] {
            *values = round(values);
        }
        self.head.repack(&self.w);
        self.teacher_head.repack(&self.teacher_w);
        self
    }

    pub fn lists(&self, rows: Range<usize>) -> Lists {
        let mut starts = vec![0];
        for i in rows.clone() {
            starts.push(starts[starts.len() - 1] + self.ids[i].len());
        }
        Lists { ids: self.ids[rows.clone()].concat(), logprobs: self.logprobs[rows].concat(), starts }
    }

    /// Divergences, dh and dw of some rows; dw goes on from `dw`.
    fn run(&self, is_live: bool, beta: f32, rows: Range<usize>, dw: &mut [f32]) -> (Vec<f32>, Vec<f32>) {
        let (c, ct) = (self.head.k(), self.teacher_head.k());
        let lists = self.lists(rows.clone());
        let teacher = if is_live {
            let h = &self.teacher_h[rows.start * ct..rows.end * ct];
            Teacher::Live { h, w: &self.teacher_head }
        } else {
            Teacher::Listed { ids: &lists.ids, logprobs: &lists.logprobs, starts: &lists.starts }
        };
        let h = &self.h[rows.start * c..rows.end * c];
        let (t, weights) = (&self.inv_temperature[rows.clone()], &self.weights[rows]);
        let mut dh = vec![0.0; h.len()];
        let found = backward(h, &self.head, teacher, beta, t, weights, &mut dh, Some(dw));
        same("forward", &found, &forward(h, &self.head, teacher, beta, t));
        (found, dh)
    }

    /// The same in f64 by the reference, of other student weights.
    fn exact(&self, is_live: bool, beta: f32, h: &[f64], w: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let (teacher_h, teacher_w) = (wide(&self.teacher_h), wide(&self.teacher_w));
        let logprobs: Vec<Vec<f64>> = self.logprobs.iter().map(|row| wide(row)).collect();
        let teacher = if is_live {
            reference::Teacher::Live(&teacher_h, &teacher_w, self.teacher_v)
        } else {
            reference::Teacher::Listed(&self.ids, &logprobs)
        };
        let (t, weights) = (wide(&self.inv_temperature), wide(&self.weights));
        let (mut dh, mut dw) = (vec![0.0; h.len()], vec![0.0; w.len()]);
        let beta = f64::from(beta);
        let v = self.v;
        let found = reference::backward(h, w, v, &teacher, beta, &t, &weights, &mut dh, &mut dw);
        (found, dh, dw)
    }
}

#[test]
fn it_is_the_reference() {
    for (rows, v, c, more) in [
        (1, 1, 1, 0),
        (1, 2, 1, 0),
        (2, 5, 3, 2),
        (3, 16, 8, -3),
        (7, 17, 4, 0),
        (70, 133, 12, 5),
        (300, 70, 5, 0),
    ] {
        let k = case(rows, v, c, more);
        for is_live in [true, false] {
            for beta in BETAS {
                let mut dw = values(6, k.w.len(), 1.0);
                let before = wide(&dw);
                let (found, dh) = k.run(is_live, beta, 0..rows, &mut dw);
                let (value, edh, mut edw) = k.exact(is_live, beta, &wide(&k.h), &wide(&k.w));
                edw.iter_mut().zip(before).for_each(|(d, b)| *d += b);
                let what = format!("{rows} {v} {c} {more} live {is_live} beta {beta}");
                for (&a, &b) in found.iter().zip(&value) {
                    // A divergence of nearly equal distributions is a difference of logarithms near one another.
                    assert!((f64::from(a) - b).abs() < 3e-6 + 3e-6 * b, "{what}: {a}, exactly {b}");
                }
                // Where all of the mass is one outcome, the exact d is 0.
                let size = edh.iter().fold(1e-3f64, |m, d| m.max(d.abs()));
                let far = dh.iter().zip(&edh).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
                assert!(far < 1e-5 * size, "{what}: dh is off by {far:e} (size {size:e})");
                close(&what, &dw, &edw, 1e-5);
            }
        }
    }
}

#[test]
fn backward_is_the_slope() {
    for (rows, v, c, more) in [(1, 2, 1, 0), (2, 5, 3, 2), (3, 33, 4, -2)] {
        let k = case(rows, v, c, more);
        let weights = wide(&k.weights);
        for is_live in [true, false] {
            for beta in BETAS {
                let mut dw = vec![0.0; k.w.len()];
                let (_, dh) = k.run(is_live, beta, 0..rows, &mut dw);
                let (h, w) = (wide(&k.h), wide(&k.w));
                let by_h = slope(&h, |h| dot(&k.exact(is_live, beta, h, &w).0, &weights));
                let by_w = slope(&w, |w| dot(&k.exact(is_live, beta, &h, w).0, &weights));
                close(&format!("dh {is_live} {beta}"), &dh, &by_h, 2e-5);
                close(&format!("dw {is_live} {beta}"), &dw, &by_w, 2e-5);
            }
        }
    }
}

#[test]
fn bits_depend_on_nothing_but_the_row() {
    let (rows, v, c) = (270, 101, 6);
    let k = case(rows, v, c, 3);
    for (is_live, beta) in [(true, 0.0), (true, 0.3), (false, 0.3), (false, 1.0), (true, 1.0)] {
        let run = |cuts: &[usize]| {
            let mut dw = vec![0.0; k.w.len()];
            let (mut found, mut dh) = (vec![], vec![]);
            for cut in cuts.windows(2) {
                let (value, d) = k.run(is_live, beta, cut[0]..cut[1], &mut dw);
                found.extend(value);
                dh.extend(d);
            }
            [found, dh, dw].concat()
        };
        let whole = any_threads("divergence", || run(&[0, rows]));
        same("cut", &whole, &run(&[0, 1, 67, rows]));
        each_level(|level| same(level.name(), &whole, &run(&[0, rows])));
    }
}

#[test]
fn a_list_of_the_whole_vocabulary_is_the_teacher_and_a_shorter_one_is_never_farther() {
    let (rows, v, c) = (5, 40, 6);
    let k = case(rows, v, c, 0);
    for beta in BETAS {
        let live = Teacher::Live { h: &k.teacher_h, w: &k.teacher_head };
        let exact = forward(&k.h, &k.head, live, beta, &k.inv_temperature);
        let mut last = vec![0.0f32; rows];
        for n in [1, 2, 7, 39, 40] {
            let top = crate::head::top(&k.teacher_h, &k.teacher_head, &k.inv_temperature, n);
            let starts: Vec<usize> = (0..=rows).map(|i| i * n).collect();
            let teacher = Teacher::Listed { ids: &top.ids, logprobs: &top.logprobs, starts: &starts };
            let found = forward(&k.h, &k.head, teacher, beta, &k.inv_temperature);
            // Log-probabilities in f32 tell a tail's mass to some 5e-7.
            for i in 0..rows {
                assert!(found[i] >= last[i] - 1e-3, "beta {beta}, {n} tokens: {} < {}", found[i], last[i]);
                assert!(found[i] <= exact[i] + 1e-3, "beta {beta}, {n} tokens");
            }
            if n == 40 {
                close("the whole list", &found, &wide(&exact), 1e-5);
            }
            last = found;
        }
    }
}

#[test]
fn equal_distributions_are_no_distance_apart() {
    let k = case(9, 50, 6, 0);
    let teacher = Teacher::Live { h: &k.h, w: &k.head };
    for beta in BETAS {
        let (mut dh, mut dw) = (vec![0.0; k.h.len()], vec![0.0; k.w.len()]);
        let found =
            backward(&k.h, &k.head, teacher, beta, &k.inv_temperature, &k.weights, &mut dh, Some(&mut dw));
        for x in found.iter().chain(&dh).chain(&dw) {
            assert!(x.abs() < 2e-6, "beta {beta}: {x}");
        }
    }
}

#[test]
fn sharp_rows_stay_finite() {
    // The student is sure of one token, the teacher of another; logits of ±1000.
    let w = values(1, 20, 1.0);
    let head = Weight::pack(&w, 20, 1, Precision::F32, true);
    let top = crate::head::top(&[-4000.0], &head, &[1.0], 3);
    let far = Teacher::Live { h: &[-4000.0], w: &head };
    let list = Teacher::Listed { ids: &top.ids, logprobs: &top.logprobs, starts: &[0, 3] };
    for teacher in [far, list] {
        for beta in BETAS {
            let (mut dh, mut dw) = (vec![0.0], vec![0.0; 20]);
            let found = backward(&[4000.0], &head, teacher, beta, &[1.0], &[1.0], &mut dh, Some(&mut dw));
            assert!(found.iter().chain(&dh).chain(&dw).all(|x| x.is_finite()), "beta {beta}");
            assert!(found[0] > 0.3, "beta {beta}: {}", found[0]);
        }
    }
}

#[test]
fn bf16_is_near() {
    if let Err(why) = crate::supports(Precision::Bf16) {
        println!("skipped: {why}");
        return;
    }
    let (rows, v, c) = (70, 133, 40);
    let mut k = case(rows, v, c, 0);
    k.head = Weight::pack(&k.w, v, c, Precision::Bf16, true);
    k.teacher_head = Weight::pack(&k.teacher_w, v, c + 1, Precision::Bf16, false);
    for beta in BETAS {
        let mut dw = vec![0.0; k.w.len()];
        let (found, dh) = k.run(true, beta, 0..rows, &mut dw);
        let (value, edh, edw) = k.exact(true, beta, &wide(&k.h), &wide(&k.w));
        close("divergence", &found, &value, 2e-2);
        close("dh", &dh, &edh, 4e-2);
        close("dw", &dw, &edw, 4e-2);
    }
}

#[test]
#[should_panic(expected = "names a token twice")]
fn a_list_that_repeats_a_token_is_refused() {
    let k = case(1, 5, 3, 0);
    let teacher = Teacher::Listed { ids: &[1, 1], logprobs: &[-1.0, -1.0], starts: &[0, 2] };
    forward(&k.h, &k.head, teacher, 0.0, &k.inv_temperature);
}
