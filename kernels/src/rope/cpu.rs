//! The rotation on lanes.

use super::Pairing;
use crate::lanes::{Lanes, WIDTH, load_upto, store_upto};

/// Cosines and sines of one row in the form that its pairing takes: one for each pair, or, for adjacent pairs, one for
/// each value with the sign in the sine.
pub(super) fn spread(cos: &[f32], sin: &[f32], pairing: Pairing, inverse: bool, out: &mut [f32]) {
    let sign = if inverse { -1.0 } else { 1.0 };
    match pairing {
        Pairing::Half => {
            let (c, s) = out.split_at_mut(cos.len());
            c.copy_from_slice(cos);
            s.iter_mut().zip(sin).for_each(|(s, &x)| *s = sign * x);
        }
        Pairing::Interleaved => {
            let (c, s) = out.split_at_mut(2 * cos.len());
            for (i, (&x, &y)) in cos.iter().zip(sin).enumerate() {
                (c[2 * i], c[2 * i + 1]) = (x, x);
                (s[2 * i], s[2 * i + 1]) = (-sign * y, sign * y);
            }
        }
    }
}

on_lanes! {
    /// Rotates `heads` slots of `stride` values at `x`; `turn` is what [`spread`] gave.
    pub(super) fn rotate(x: &mut [f32], heads: usize, stride: usize, offset: usize, dim: usize, turn: &[f32],
        pairing: Pairing) = rotate_body;
}

#[inline(always)]
fn rotate_body<V: Lanes>(
    x: &mut [f32],
    heads: usize,
    stride: usize,
    offset: usize,
    dim: usize,
    turn: &[f32],
    pairing: Pairing,
) {
    let n = match pairing {
        Pairing::Half => dim / 2,
        Pairing::Interleaved => dim,
    };
    assert!(x.len() == heads * stride && offset + dim <= stride && turn.len() >= 2 * n);
    for h in 0..heads {
        for i in (0..n).step_by(WIDTH) {
            // SAFETY: the lengths are checked above; each access takes at most the n − i values left.
            unsafe {
                let at = x.as_mut_ptr().add(h * stride + offset + i);
                let cos = load_upto::<V>(turn.as_ptr().add(i), n - i);
                let sin = load_upto::<V>(turn.as_ptr().add(n + i), n - i);
                let a = load_upto::<V>(at, n - i);
                match pairing {
                    Pairing::Half => {
                        let b = load_upto::<V>(at.add(n), n - i);
                        store_upto(a.fma(cos, b.mul(sin.mul(V::splat(-1.0)))), at, n - i);
                        store_upto(b.fma(cos, a.mul(sin)), at.add(n), n - i);
                    }
                    Pairing::Interleaved => store_upto(a.fma(cos, a.swap_pairs().mul(sin)), at, n - i),
                }
            }
        }
    }
}
