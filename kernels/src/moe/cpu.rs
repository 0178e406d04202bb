//! The loops over channels and experts on lanes, and the selection.

use super::{Router, Scoring};
use crate::lanes::{Lanes, WIDTH, exp, load_upto, store_upto};

on_lanes! {
    /// Scores of one token.
    pub(super) fn scores(logits: &[f32], scoring: Scoring, out: &mut [f32]) = scores_body;
    /// out += Σ_j weights[j] · y[rows[j]], j ascending.
    pub(super) fn combine(y: &[f32], rows: &[u32], weights: &[f32], out: &mut [f32]) = combine_body;
    /// dy = weight · dout; returns dout · y.
    pub(super) fn combine_backward(dout: &[f32], y: &[f32], weight: f32, dy: &mut [f32]) -> f32
        = combine_backward_body;
    /// dx += Σ_j dy[rows[j]], j ascending.
    pub(super) fn scatter_add(dy: &[f32], rows: &[u32], dx: &mut [f32]) = scatter_add_body;
    /// Softmax backward of one token: d_e ← s_e·(d_e − mean).
    pub(super) fn softmax_backward(scores: &[f32], mean: f32, d: &mut [f32]) = softmax_backward_body;
}

#[inline(always)]
fn scores_body<V: Lanes>(logits: &[f32], scoring: Scoring, out: &mut [f32]) {
    let e = logits.len();
    assert!(out.len() == e);
    let one = V::splat(1.0);
    // SAFETY of the blocks below: each access takes at most the e − j values left in logits and out.
    if scoring == Scoring::Sigmoid {
        for j in (0..e).step_by(WIDTH) {
            // SAFETY: as said above.
            unsafe {
                let x = load_upto::<V>(logits.as_ptr().add(j), e - j);
                store_upto(one.div(one.add(exp(x.mul(V::splat(-1.0))))), out.as_mut_ptr().add(j), e - j);
            }
        }
        return;
    }
    let top = V::splat(logits.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m }));
    let mut sum = V::splat(0.0);
    for j in (0..e).step_by(WIDTH) {
        // SAFETY: as said above.
        unsafe {
            let p = exp(load_upto::<V>(logits.as_ptr().add(j), e - j).sub(top));
            sum = sum.add(p.first((e - j).min(WIDTH), V::splat(0.0)));
            store_upto(p, out.as_mut_ptr().add(j), e - j);
        }
    }
    let sum = V::splat(sum.sum());
    for j in (0..e).step_by(WIDTH) {
        // SAFETY: as said above.
        unsafe {
            let at = out.as_mut_ptr().add(j);
            store_upto(load_upto::<V>(at, e - j).div(sum), at, e - j);
        }
    }
}

#[inline(always)]
fn combine_body<V: Lanes>(y: &[f32], rows: &[u32], weights: &[f32], out: &mut [f32]) {
    let c = out.len();
    assert!(rows.iter().all(|&row| (row as usize + 1) * c <= y.len()));
    for j in (0..c).step_by(WIDTH) {
        // SAFETY: the rows are checked above; each access takes at most the c − j values left.
        unsafe {
            let at = out.as_mut_ptr().add(j);
            let mut sum = load_upto::<V>(at, c - j);
            for (&row, &w) in rows.iter().zip(weights) {
                sum = V::splat(w).fma(load_upto(y.as_ptr().add(row as usize * c + j), c - j), sum);
            }
            store_upto(sum, at, c - j);
        }
    }
}

#[inline(always)]
fn combine_backward_body<V: Lanes>(dout: &[f32], y: &[f32], weight: f32, dy: &mut [f32]) -> f32 {
    let c = dout.len();
    assert!(y.len() == c && dy.len() == c);
    let mut dot = V::splat(0.0);
    for j in (0..c).step_by(WIDTH) {
        // SAFETY: the lengths are checked above; each access takes at most the c − j values left.
        unsafe {
            let d = load_upto::<V>(dout.as_ptr().add(j), c - j);
            dot = d.fma(load_upto(y.as_ptr().add(j), c - j), dot);
            store_upto(d.mul(V::splat(weight)), dy.as_mut_ptr().add(j), c - j);
        }
    }
    dot.sum()
}

#[inline(always)]
fn scatter_add_body<V: Lanes>(dy: &[f32], rows: &[u32], dx: &mut [f32]) {
    let c = dx.len();
    assert!(rows.iter().all(|&row| (row as usize + 1) * c <= dy.len()));
    for j in (0..c).step_by(WIDTH) {
        // SAFETY: the rows are checked above; each access takes at most the c − j values left.
        unsafe {
            let at = dx.as_mut_ptr().add(j);
            let mut sum = load_upto::<V>(at, c - j);
            for &row in rows {
                sum = sum.add(load_upto(dy.as_ptr().add(row as usize * c + j), c - j));
            }
            store_upto(sum, at, c - j);
        }
    }
}

#[inline(always)]
fn softmax_backward_body<V: Lanes>(scores: &[f32], mean: f32, d: &mut [f32]) {
    let e = d.len();
    assert!(scores.len() == e);
    for j in (0..e).step_by(WIDTH) {
        // SAFETY: the lengths are equal; each access takes at most the e − j values left.
        unsafe {
            let at = d.as_mut_ptr().add(j);
            let x = load_upto::<V>(at, e - j).sub(V::splat(mean));
            store_upto(x.mul(load_upto(scores.as_ptr().add(j), e - j)), at, e - j);
        }
    }
}

/// Room for the selection of one token.
#[derive(Default)]
pub(super) struct Room {
    choice: Vec<f32>,
    groups: Vec<f32>,
}

/// Takes the best out of `among`: its index, the first of equals; what is taken is not offered again. With nothing but
/// −∞ and NaN left it takes the first that is not taken (marked by NaN with `TAKEN`'s bits).
fn take_best(among: &mut [f32]) -> usize {
    let mut best: Option<usize> = None;
    for (i, &x) in among.iter().enumerate() {
        if x.to_bits() != TAKEN && best.is_none_or(|b| x > among[b]) {
            best = Some(i);
        }
    }
    let best = best.expect("the router's numbers were checked: there is always one left");
    among[best] = f32::from_bits(TAKEN);
    best
}

/// A NaN that no arithmetic produces.
const TAKEN: u32 = 0x7fc0_7a4e;

/// The experts of one token, best first: `out.len()` of them.
pub(super) fn select(scores: &[f32], bias: Option<&[f32]>, r: &Router, room: &mut Room, out: &mut [u32]) {
    let size = r.experts / r.groups;
    room.choice.clear();
    match bias {
        Some(bias) => room.choice.extend(scores.iter().zip(bias).map(|(s, b)| s + b)),
        None => room.choice.extend_from_slice(scores),
    }
    if r.top_groups < r.groups {
        room.groups.clear();
        room.groups.extend(room.choice.chunks_exact(size).map(|group| group_score(group, r.scoring)));
        for _ in 0..r.top_groups {
            take_best(&mut room.groups);
        }
        for (group, &score) in room.choice.chunks_exact_mut(size).zip(&room.groups) {
            if score.to_bits() != TAKEN {
                group.fill(f32::from_bits(TAKEN));
            }
        }
    }
    for out in out {
        *out = take_best(&mut room.choice) as u32;
    }
}

/// Sum of the two best (sigmoid) or the best (softmax) of a group.
fn group_score(group: &[f32], scoring: Scoring) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &x in group {
        if x > first {
            (first, second) = (x, first);
        } else if x > second {
            second = x;
        }
    }
    if scoring == Scoring::Sigmoid && group.len() > 1 { first + second } else { first }
}
