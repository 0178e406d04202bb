//! The divergence of a student from its teacher, one number a token, fused with the student's head: `[T, V]` is never in
//! memory.
//!
//! With p the teacher's and q the student's distribution, both tempered by the row's inverse temperature, in nats:
//!
//! ```text
//! β = 0       KL(p‖q) = Σ p (ln p − ln q)                                            forward
//! β = 1       KL(q‖p) = Σ q (ln q − ln p)                                            reverse
//! 0 < β < 1   β KL(p‖m) + (1 − β) KL(q‖m),  m = β p + (1 − β) q                      generalized Jensen–Shannon
//! ```
//!
//! (β as in GKD, arXiv 2306.13649 and TRL; no factor of temperature².) Shapes: student rows h `[T, C]` and head W `[V, C]`; the
//! teacher is [`Teacher::Live`], with rows `[T, C']` and a head `[V', C']` of its own, or [`Teacher::Listed`], its most
//! probable tokens from a file. Two live heads of unequal length (padding of the embedding) are compared over the tokens
//! that both have, min(V, V').
//!
//! A list leaves a tail out. All tokens outside the list are one outcome more, "another token", whose mass is p's rest,
//! max(1 − Σ p, 2⁻²⁰), and q's sum over them: so the number is exact for a list of the whole vocabulary, and never above the
//! divergence of the whole distributions otherwise.
//!
//! Backward is closed: d z_v = q_v (s_v − S), S = Σ q s, with s = −p/q forward, ln q − ln p reverse, (1 − β)(ln q − ln m) else;
//! the tail's d is spread over its tokens in proportion to q. d logit = d z · inv_temperature · weight of the row.
//!
//! Order, row by row. Logits are `linear::forward`'s, times inv_temperature; ln Σ e^z as in `head`; ln q = z − lse. Lane i of sixteen
//! adds the terms i, i + 16, … from 0 by fused multiply-add, and the lanes are folded by halves, for Σ q s, for the divergence
//! and for the mass of q's tail, in that order of the vocabulary (a list: in the order of the list, then the tail). p's mass
//! adds up in f64 in the order of the list. ln q − ln m = −(ln(1 − β) + softplus(ln p − ln q + ln β − ln(1 − β))).

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::head::{chunk_rows, log_sum_exp, scale};
use crate::linear::{self, Weight};
use crate::scratch;
use crate::threads::{self, SharedMut};

/// Where the teacher's distributions come from.
#[derive(Clone, Copy)]
pub enum Teacher<'a> {
    /// A network at hand: what its head is applied to, `[T, C']`, and the head.
    Live {
        /// rows of the final norm's output
        h: &'a [f32],
        /// its head, `[V', C']`
        w: &'a Weight,
    },
    /// Lists of its most probable tokens at the rows' temperatures: row i has `starts[i]..starts[i + 1]` of both.
    Listed {
        /// token ids, none twice in a row
        ids: &'a [u32],
        /// their log-probabilities (nats)
        logprobs: &'a [f32],
        /// T + 1 bounds
        starts: &'a [usize],
    },
}

/// The smallest mass that a list's rest is taken to have: less than that, f32 log-probabilities
/// (whose common ln Σ e^z is rounded too) cannot tell from nothing.
const SMALLEST_TAIL: f64 = 1.0 / (1 << 20) as f64;

/// The divergence of every row.
///
/// # Panics
/// When sizes do not fit one another, β lies outside 0..=1, or a list names a token twice or beyond the vocabulary.
pub fn forward(h: &[f32], w: &Weight, teacher: Teacher, beta: f32, inv_temperature: &[f32]) -> Vec<f32> {
    each_row(h, w, teacher, beta, inv_temperature, None, |_, _| ())
}

/// The divergence of every row, and the gradient of Σ `weights[i]` · divergence i: dh and, where wanted, dw `[V, C]` are added to, rows of dw
/// in order of the rows of h.
///
/// # Panics
/// As [`forward`], and when `weights`, `dh` or `dw` have another size.
pub fn backward(
    h: &[f32],
    w: &Weight,
    teacher: Teacher,
    beta: f32,
    inv_temperature: &[f32],
    weights: &[f32],
    dh: &mut [f32],
    mut dw: Option<&mut [f32]>,
) -> Vec<f32> {
    let (v, c) = (w.n(), w.k());
    assert!(
        dh.len() == h.len() && dw.as_ref().is_none_or(|dw| dw.len() == v * c),
        "divergence::backward: dh {}, dw {:?}",
        dh.len(),
        dw.as_ref().map(|dw| dw.len())
    );
    each_row(h, w, teacher, beta, inv_temperature, Some(weights), |part, dlogits| {
        let at = part.start * c..part.end * c;
        linear::backward_input(dlogits, w, &mut dh[at.clone()], true);
        if let Some(dw) = dw.as_deref_mut() {
            linear::backward_weight(dlogits, &h[at], v, c, w.precision(), dw);
        }
    })
}

/// Divergences of all rows, chunk by chunk; with `weights`, `whole` then gets each chunk's d(loss)/d(logits).
fn each_row(
    h: &[f32],
    w: &Weight,
    teacher: Teacher,
    beta: f32,
    inv_temperature: &[f32],
    weights: Option<&[f32]>,
    mut whole: impl FnMut(Range<usize>, &[f32]),
) -> Vec<f32> {
    let rows = check(h, w, teacher, beta, inv_temperature, weights);
    let (v, c) = (w.n(), w.k());
    let theirs = match teacher {
        Teacher::Live { w, .. } => w.n(),
        Teacher::Listed { .. } => 0,
    };
    let shape = cpu::Shape::of(beta);
    let step = chunk_rows(v.max(theirs)).min(rows).max(1);
    let mut values = vec![0.0; rows];
    let shared_values = SharedMut::new(&mut values);
    scratch::with(step * v, |logits| {
        scratch::with(step * theirs, |of_teacher| {
            for start in (0..rows).step_by(step) {
                let part = start..rows.min(start + step);
                let logits = &mut logits[..part.len() * v];
                linear::forward(&h[start * c..part.end * c], w, None, logits);
                let of_teacher = &mut of_teacher[..part.len() * theirs];
                if let Teacher::Live { h, w } = teacher {
                    linear::forward(&h[start * w.k()..part.end * w.k()], w, None, of_teacher);
                }
                let (ours, of_teacher) = (SharedMut::new(logits), SharedMut::new(of_teacher));
                threads::parallel(part.len(), |i| {
                    let row = start + i;
                    let slope = weights.map(|weights| weights[row] * inv_temperature[row]);
                    // SAFETY: tasks have different rows.
                    let (z, zt, value) = unsafe {
                        (
                            ours.slice(i * v..(i + 1) * v),
                            of_teacher.slice(i * theirs..(i + 1) * theirs),
                            shared_values.slice(row..row + 1),
                        )
                    };
                    value[0] = match teacher {
                        Teacher::Live { .. } => live(z, zt, inv_temperature[row], shape, slope),
                        Teacher::Listed { ids, logprobs, starts } => {
                            let own = starts[row]..starts[row + 1];
                            let list = (&ids[own.clone()], &logprobs[own]);
                            listed(z, list, inv_temperature[row], shape, slope)
                        }
                    };
                });
                if weights.is_some() {
                    whole(part, logits);
                }
            }
        });
    });
    values
}

/// z → ln softmax(z · inv_temperature), in place.
fn log_softmax(z: &mut [f32], inv_temperature: f32) {
    scale(z, inv_temperature);
    let lse = log_sum_exp(z);
    cpu::lower(z, lse);
}

/// One row against a live teacher's: both rows of logits are used up; `z` becomes `slope` · d(divergence)/d z.
fn live(
    z: &mut [f32],
    of_teacher: &mut [f32],
    inv_temperature: f32,
    shape: cpu::Shape,
    slope: Option<f32>,
) -> f32 {
    let both = z.len().min(of_teacher.len());
    let (z, beyond) = z.split_at_mut(both);
    let of_teacher = &mut of_teacher[..both];
    log_softmax(z, inv_temperature);
    log_softmax(of_teacher, inv_temperature);
    let sums = cpu::sums(z, of_teacher, shape);
    if let Some(slope) = slope {
        cpu::slopes(z, of_teacher, shape, sums, slope);
        beyond.fill(0.0);
    }
    sums.divergence
}

/// One row against a list: `z` becomes `slope` · d(divergence)/d z.
fn listed(
    z: &mut [f32],
    (ids, logprobs): (&[u32], &[f32]),
    inv_temperature: f32,
    shape: cpu::Shape,
    slope: Option<f32>,
) -> f32 {
    log_softmax(z, inv_temperature);
    let rest = ids.len() < z.len();
    let outcomes = ids.len() + usize::from(rest);
    scratch::with(2 * outcomes, |buffer| {
        let (q, p) = buffer[..2 * outcomes].split_at_mut(outcomes);
        for (j, &id) in ids.iter().enumerate() {
            q[j] = z[id as usize];
            // Leaves the token out of the tail below.
            z[id as usize] = f32::NEG_INFINITY;
        }
        p[..ids.len()].copy_from_slice(logprobs);
        // From here on z holds the probabilities of the tail's tokens, and zeros.
        let tail = cpu::exp_and_sum(z);
        if rest {
            p[ids.len()] = self::tail(logprobs);
            // A tail that q has lost altogether stays an outcome with a finite logarithm.
            q[ids.len()] = crate::lanes::ln(tail.max(f32::MIN_POSITIVE));
        }
        let sums = cpu::sums(q, p, shape);
        if let Some(slope) = slope {
            cpu::slopes(q, p, shape, sums, slope);
            let share = if rest && tail >= f32::MIN_POSITIVE { q[ids.len()] / tail } else { 0.0 };
            scale(z, share);
            for (&id, &d) in ids.iter().zip(&*q) {
                z[id as usize] = d;
            }
        }
        sums.divergence
    })
}

/// ln of what a list of these log-probabilities leaves out.
fn tail(logprobs: &[f32]) -> f32 {
    let mass: f64 = logprobs.iter().map(|&x| crate::lanes::exp_wide(x)).sum();
    crate::lanes::ln((1.0 - mass).max(SMALLEST_TAIL) as f32)
}

/// Checks lists for `rows` rows and a vocabulary of `v`.
fn check_lists(ids: &[u32], logprobs: &[f32], starts: &[usize], rows: usize, v: usize) {
    assert!(starts.len() == rows + 1, "divergence: {} bounds of lists, {rows} rows", starts.len());
    assert!(
        ids.len() == logprobs.len() && starts.last() == Some(&ids.len()),
        "divergence: lists of {} ids and {} logprobs",
        ids.len(),
        logprobs.len()
    );
    let mut own = Vec::new();
    for bounds in starts.windows(2) {
        own.clear();
        own.extend_from_slice(&ids[bounds[0]..bounds[1]]);
        own.sort_unstable();
        assert!(own.windows(2).all(|pair| pair[0] < pair[1]), "divergence: a list names a token twice");
        assert!(own.last().is_none_or(|&id| (id as usize) < v), "divergence: a token beyond {v}");
    }
}

/// Checks the sizes and returns T.
fn check(
    h: &[f32],
    w: &Weight,
    teacher: Teacher,
    beta: f32,
    inv_temperature: &[f32],
    weights: Option<&[f32]>,
) -> usize {
    let (rows, v) = (inv_temperature.len(), w.n());
    assert!(h.len() == rows * w.k(), "divergence: h has {} values for {rows} rows of {}", h.len(), w.k());
    assert!((0.0..=1.0).contains(&beta), "divergence: beta {beta} is not within 0..=1");
    assert!(weights.is_none_or(|weights| weights.len() == rows), "divergence: weights not of {rows} rows");
    match teacher {
        Teacher::Live { h, w } => {
            assert!(
                h.len() == rows * w.k(),
                "divergence: the teacher has {} values for {rows} rows",
                h.len()
            );
        }
        Teacher::Listed { ids, logprobs, starts } => check_lists(ids, logprobs, starts, rows, v),
    }
    rows
}
