//! AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), bias-corrected, in one pass.
//!
//! With `g' = g · grad_scale` and step `t` counted from 1:
//! ```text
//! m ← β1 m + (1 − β1) g'
//! v ← β2 v + (1 − β2) g'²
//! w ← w (1 − lr · λ) − lr / (1 − β1^t) · m / (√v / √(1 − β2^t) + ε)
//! ```
//! Element by element, so no order of summation; every version rounds in the same places ([`Constants::apply`] is
//! the whole op), hence the same bits on every instruction set. The constants are computed in f64 and rounded once.

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod reference;
#[cfg(test)]
mod tests;

use crate::threads::{SharedMut, parallel};

/// The hyper-parameters of one optimizer step, as they were written: 1 − β2 of a rounded 0.999 would be off by 5e-5.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay λ; the weight shrinks by `lr · λ` of itself.
    pub weight_decay: f64,
    /// Which step this is, counted from 1.
    pub step: u64,
    /// Factor on the gradient, such as `min(1, max_norm / norm)`.
    pub grad_scale: f64,
}

/// What [`Step`] comes down to for one element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constants {
    grad_scale: f32,
    beta1: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    keep: f32,
    rate: f32,
    inverse_root: f32,
    eps: f32,
}

impl Constants {
    fn of(s: &Step) -> Constants {
        let exponent = s.step.min(i32::MAX as u64) as i32;
        Constants {
            grad_scale: s.grad_scale as f32,
            beta1: s.beta1 as f32,
            one_minus_beta1: (1.0 - s.beta1) as f32,
            beta2: s.beta2 as f32,
            one_minus_beta2: (1.0 - s.beta2) as f32,
            keep: (1.0 - s.lr * s.weight_decay) as f32,
            rate: (s.lr / (1.0 - s.beta1.powi(exponent))) as f32,
            inverse_root: (1.0 / (1.0 - s.beta2.powi(exponent)).sqrt()) as f32,
            eps: s.eps as f32,
        }
    }
}

/// Values that one task covers.
const RUN: usize = 16 * 1024;

/// One step for one parameter: `w`, `m`, `v` change in place, `g` is read. All of one length.
///
/// # Panics
/// When the lengths differ or `s.step` is 0.
pub fn update(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], s: &Step) {
    let n = w.len();
    assert!(
        g.len() == n && m.len() == n && v.len() == n,
        "adamw: {n} weights, {} gradients, moments of {} and {}",
        g.len(),
        m.len(),
        v.len()
    );
    assert!(s.step > 0, "adamw: steps are counted from 1");
    let c = Constants::of(s);
    let (w, m, v) = (SharedMut::new(w), SharedMut::new(m), SharedMut::new(v));
    parallel(n.div_ceil(RUN), |task| {
        let range = task * RUN..n.min((task + 1) * RUN);
        // SAFETY: the tasks' ranges are disjoint.
        let (w, m, v) = unsafe { (w.slice(range.clone()), m.slice(range.clone()), v.slice(range.clone())) };
        cpu::update(w, &g[range], m, v, &c);
    });
}
