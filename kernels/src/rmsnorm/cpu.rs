//! RMSNorm on lanes; the sums' order is in the header of `mod.rs`.

use crate::lanes::{Lanes, WIDTH, load_upto, store_upto};

on_lanes! {
    /// Whole rows.
    pub(super) fn forward(x: &[f32], w: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32])
        = forward_body;
    /// Whole rows; `branch` is added to x first.
    pub(super) fn add_forward(x: &mut [f32], branch: &[f32], w: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32])
        = add_forward_body;
    /// dx of whole rows.
    pub(super) fn backward(dy: &[f32], x: &[f32], w: &[f32], rstd: &[f32], dx: &mut [f32], accumulate: bool)
        = backward_body;
    /// dw of the columns from `from` on, over all rows.
    pub(super) fn backward_weight(dy: &[f32], x: &[f32], rstd: &[f32], c: usize, from: usize, dw: &mut [f32])
        = backward_weight_body;
}

#[inline(always)]
fn forward_body<V: Lanes>(x: &[f32], w: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    let c = w.len();
    assert!(x.len() == rstd.len() * c && y.len() == x.len());
    for row in 0..rstd.len() {
        // SAFETY: the lengths are checked above; each access takes at most the c − j values left in its row.
        unsafe {
            let at = x.as_ptr().add(row * c);
            let mut squares = V::splat(0.0);
            for j in (0..c).step_by(WIDTH) {
                let v = load_upto::<V>(at.add(j), c - j);
                squares = v.fma(v, squares);
            }
            rstd[row] = scaled(at, w, squares, eps, y.as_mut_ptr().add(row * c));
        }
    }
}

#[inline(always)]
fn add_forward_body<V: Lanes>(
    x: &mut [f32],
    branch: &[f32],
    w: &[f32],
    eps: f32,
    y: &mut [f32],
    rstd: &mut [f32],
) {
    let c = w.len();
    assert!(x.len() == rstd.len() * c && y.len() == x.len() && branch.len() == x.len());
    for row in 0..rstd.len() {
        // SAFETY: the lengths are checked above; each access takes at most the c − j values left in its row.
        unsafe {
            let at = x.as_mut_ptr().add(row * c);
            let mut squares = V::splat(0.0);
            for j in (0..c).step_by(WIDTH) {
                let v =
                    load_upto::<V>(at.add(j), c - j).add(load_upto(branch.as_ptr().add(row * c + j), c - j));
                store_upto(v, at.add(j), c - j);
                squares = v.fma(v, squares);
            }
            rstd[row] = scaled(at, w, squares, eps, y.as_mut_ptr().add(row * c));
        }
    }
}

/// Second half of a row: rstd from the lanes' squares, y = (x · rstd) · w.
///
/// # Safety
/// `w.len()` values must be readable at x and writable at y.
#[inline(always)]
unsafe fn scaled<V: Lanes>(x: *const f32, w: &[f32], squares: V, eps: f32, y: *mut f32) -> f32 {
    let c = w.len();
    let r = 1.0 / (squares.sum() / c as f32 + eps).sqrt();
    for j in (0..c).step_by(WIDTH) {
        // SAFETY: the caller's promise; at most the c − j values left are touched.
        unsafe {
            let v = load_upto::<V>(x.add(j), c - j).mul(V::splat(r)).mul(load_upto(w.as_ptr().add(j), c - j));
            store_upto(v, y.add(j), c - j);
        }
    }
    r
}

#[inline(always)]
fn backward_body<V: Lanes>(dy: &[f32], x: &[f32], w: &[f32], rstd: &[f32], dx: &mut [f32], accumulate: bool) {
    let c = w.len();
    assert!(x.len() == rstd.len() * c && dy.len() == x.len() && dx.len() == x.len());
    for (row, &r) in rstd.iter().enumerate() {
        // SAFETY: the lengths are checked above; each access takes at most the c − j values left in its row.
        unsafe {
            let (dy, x) = (dy.as_ptr().add(row * c), x.as_ptr().add(row * c));
            let dx = dx.as_mut_ptr().add(row * c);
            let mut dot = V::splat(0.0);
            for j in (0..c).step_by(WIDTH) {
                let g = load_upto::<V>(dy.add(j), c - j).mul(load_upto(w.as_ptr().add(j), c - j));
                dot = g.fma(load_upto(x.add(j), c - j), dot);
            }
            let along = V::splat(-(r * r * r * (dot.sum() / c as f32)));
            for j in (0..c).step_by(WIDTH) {
                let g = load_upto::<V>(dy.add(j), c - j).mul(load_upto(w.as_ptr().add(j), c - j));
                let mut d = g.fma(V::splat(r), load_upto::<V>(x.add(j), c - j).mul(along));
                if accumulate {
                    d = load_upto::<V>(dx.add(j), c - j).add(d);
                }
                store_upto(d, dx.add(j), c - j);
            }
        }
    }
}

#[inline(always)]
fn backward_weight_body<V: Lanes>(
    dy: &[f32],
    x: &[f32],
    rstd: &[f32],
    c: usize,
    from: usize,
    dw: &mut [f32],
) {
    assert!(x.len() == rstd.len() * c && dy.len() == x.len() && from + dw.len() <= c);
    for j in (0..dw.len()).step_by(WIDTH) {
        let n = dw.len() - j;
        // SAFETY: the lengths are checked above; each access takes at most n values, and from + j + n ≤ c.
        unsafe {
            let mut sum = load_upto::<V>(dw.as_ptr().add(j), n);
            for (row, &r) in rstd.iter().enumerate() {
                let at = row * c + from + j;
                let unit = load_upto::<V>(x.as_ptr().add(at), n).mul(V::splat(r));
                sum = load_upto::<V>(dy.as_ptr().add(at), n).fma(unit, sum);
            }
            store_upto(sum, dw.as_mut_ptr().add(j), n);
        }
    }
}
