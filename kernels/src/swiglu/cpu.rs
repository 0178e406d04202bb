//! SwiGLU on lanes.

use crate::lanes::{Lanes, WIDTH, exp, load_upto, store_upto};

on_lanes! {
    /// Whole rows.
    pub(super) fn forward(gate_up: &[f32], f: usize, y: &mut [f32]) = forward_body;
    /// Whole rows.
    pub(super) fn backward(dy: &[f32], gate_up: &[f32], f: usize, dgate_up: &mut [f32]) = backward_body;
}

/// 1 / (1 + e^−g).
#[inline(always)]
fn sigmoid<V: Lanes>(g: V) -> V {
    V::splat(1.0).div(V::splat(1.0).add(exp(g.mul(V::splat(-1.0)))))
}

#[inline(always)]
fn forward_body<V: Lanes>(gate_up: &[f32], f: usize, y: &mut [f32]) {
    assert!(gate_up.len() == 2 * y.len() && y.len().is_multiple_of(f));
    for row in 0..y.len() / f {
        for j in (0..f).step_by(WIDTH) {
            // SAFETY: the lengths are checked above; each access takes at most the f − j values left.
            unsafe {
                let at = gate_up.as_ptr().add(row * 2 * f + j);
                let (g, up) = (load_upto::<V>(at, f - j), load_upto::<V>(at.add(f), f - j));
                store_upto(g.mul(sigmoid(g)).mul(up), y.as_mut_ptr().add(row * f + j), f - j);
            }
        }
    }
}

#[inline(always)]
fn backward_body<V: Lanes>(dy: &[f32], gate_up: &[f32], f: usize, dgate_up: &mut [f32]) {
    assert!(gate_up.len() == 2 * dy.len() && dgate_up.len() == gate_up.len() && dy.len().is_multiple_of(f));
    let one = V::splat(1.0);
    for row in 0..dy.len() / f {
        for j in (0..f).step_by(WIDTH) {
            // SAFETY: the lengths are checked above; each access takes at most the f − j values left.
            unsafe {
                let at = gate_up.as_ptr().add(row * 2 * f + j);
                let (g, up) = (load_upto::<V>(at, f - j), load_upto::<V>(at.add(f), f - j));
                let d = load_upto::<V>(dy.as_ptr().add(row * f + j), f - j);
                let s = sigmoid(g);
                let to = dgate_up.as_mut_ptr().add(row * 2 * f + j);
                store_upto(d.mul(up).mul(s.mul(g.fma(one.sub(s), one))), to, f - j);
                store_upto(d.mul(g.mul(s)), to.add(f), f - j);
            }
        }
    }
}
