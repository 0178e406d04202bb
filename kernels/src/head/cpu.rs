//! Passes over one row of logits on lanes; the order of the sums is in the header of `mod.rs`.

use crate::lanes::{Lanes, WIDTH, exp, load_upto, store_upto};

/// What a row's backward pass needs besides its logits.
#[derive(Clone, Copy)]
pub(super) struct Slope {
    pub inv_temperature: f32,
    pub lse: f32,
    pub target: usize,
    /// d(loss)/d(logprob).
    pub dlogprob: f32,
    /// d(loss)/d(entropy), and the entropy; zeros where entropy has no part in the loss.
    pub dentropy: f32,
    pub entropy: f32,
}

on_lanes! {
    /// to = z · by.
    pub(super) fn temper(z: &[f32], by: f32, to: &mut [f32]) = temper_body;
    /// z = z · by, in place.
    pub(super) fn temper_in_place(z: &mut [f32], by: f32) = temper_in_place_body;
    /// The greatest value.
    pub(super) fn top(z: &[f32]) -> f32 = top_body;
    /// Σ e^(z − top).
    pub(super) fn sum_exp(z: &[f32], top: f32) -> f32 = sum_exp_body;
    /// Σ e^(z − top)·(z − top).
    pub(super) fn sum_exp_times(z: &[f32], top: f32) -> f32 = sum_exp_times_body;
    /// z = e^(z − top), in place.
    pub(super) fn weigh(z: &mut [f32], top: f32) = weigh_body;
    /// Untempered logits become d(loss)/d(logits).
    pub(super) fn backward(z: &mut [f32], s: Slope) = backward_body;
}

#[inline(always)]
fn temper_body<V: Lanes>(z: &[f32], by: f32, to: &mut [f32]) {
    assert!(z.len() == to.len());
    for i in (0..z.len()).step_by(WIDTH) {
        let n = z.len() - i;
        // SAFETY: the lengths are equal; each access takes at most the n values left.
        unsafe {
            store_upto(load_upto::<V>(z.as_ptr().add(i), n).mul(V::splat(by)), to.as_mut_ptr().add(i), n)
        }
    }
}

#[inline(always)]
fn temper_in_place_body<V: Lanes>(z: &mut [f32], by: f32) {
    for i in (0..z.len()).step_by(WIDTH) {
        let n = z.len() - i;
        // SAFETY: each access takes at most the n values left.
        unsafe {
            let at = z.as_mut_ptr().add(i);
            store_upto(load_upto::<V>(at, n).mul(V::splat(by)), at, n);
        }
    }
}

#[inline(always)]
fn weigh_body<V: Lanes>(z: &mut [f32], top: f32) {
    for i in (0..z.len()).step_by(WIDTH) {
        let n = z.len() - i;
        // SAFETY: each access takes at most the n values left.
        unsafe {
            let at = z.as_mut_ptr().add(i);
            store_upto(exp_below::<V>(at, n, top).1, at, n);
        }
    }
}

#[inline(always)]
fn top_body<V: Lanes>(z: &[f32]) -> f32 {
    let lowest = V::splat(f32::NEG_INFINITY);
    let mut top = lowest;
    for i in (0..z.len()).step_by(WIDTH) {
        let n = z.len() - i;
        // SAFETY: each access takes at most the n values left.
        let z = unsafe { load_upto::<V>(z.as_ptr().add(i), n) };
        top = z.first(n.min(WIDTH), lowest).max(top);
    }
    top.greatest()
}

/// z − top for the values from `i` on, and e to that; lanes beyond the row hold 0.
///
/// # Safety
/// `n.min(16)` values must be readable at `z`.
#[inline(always)]
unsafe fn exp_below<V: Lanes>(z: *const f32, n: usize, top: f32) -> (V, V) {
    // SAFETY: the caller's promise.
    let below = unsafe { load_upto::<V>(z, n) }.sub(V::splat(top));
    (below, exp(below).first(n.min(WIDTH), V::splat(0.0)))
}

#[inline(always)]
fn sum_exp_body<V: Lanes>(z: &[f32], top: f32) -> f32 {
    let mut sum = V::splat(0.0);
    for i in (0..z.len()).step_by(WIDTH) {
        // SAFETY: z has z.len() − i values from i on.
        let (_, e) = unsafe { exp_below::<V>(z.as_ptr().add(i), z.len() - i, top) };
        sum = sum.add(e);
    }
    sum.sum()
}

#[inline(always)]
fn sum_exp_times_body<V: Lanes>(z: &[f32], top: f32) -> f32 {
    let mut sum = V::splat(0.0);
    for i in (0..z.len()).step_by(WIDTH) {
        // SAFETY: z has z.len() − i values from i on.
        let (below, e) = unsafe { exp_below::<V>(z.as_ptr().add(i), z.len() - i, top) };
        // e is 0 from −104 on; the bound keeps −∞ · 0 out.
        sum = e.fma(V::splat(-104.0).max(below), sum);
    }
    sum.sum()
}

#[inline(always)]
fn backward_body<V: Lanes>(z: &mut [f32], s: Slope) {
    let hit = logit_slope::<V>(V::splat(z[s.target]), V::splat(s.dlogprob), s).array()[0];
    for i in (0..z.len()).step_by(WIDTH) {
        let n = z.len() - i;
        // SAFETY: each access takes at most the n values left.
        unsafe {
            let at = z.as_mut_ptr().add(i);
            store_upto(logit_slope::<V>(load_upto(at, n), V::splat(0.0), s), at, n);
        }
    }
    z[s.target] = hit;
}

/// (here − p·(dlogprob + dentropy·(ln p + H))) · inv_temperature.
#[inline(always)]
fn logit_slope<V: Lanes>(z: V, here: V, s: Slope) -> V {
    let logp = z.mul(V::splat(s.inv_temperature)).sub(V::splat(s.lse));
    // Where p is 0 its logarithm must not be −∞.
    let bounded = V::splat(-200.0).max(logp);
    let pull = V::splat(s.dentropy).fma(bounded.add(V::splat(s.entropy)), V::splat(s.dlogprob));
    here.sub(exp(logp).mul(pull)).mul(V::splat(s.inv_temperature))
}
