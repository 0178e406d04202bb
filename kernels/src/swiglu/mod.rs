//! SwiGLU: `y = silu(gate) · up`, silu(g) = g · sigmoid(g).
//!
//! Shapes: gate_up `[T, 2F]` with the gate in the first F columns and up in the last F, y `[T, F]`.
//!
//! Order: element by element. s = 1/(1 + e^−g) with the lanes' own e^x; y = (g·s)·up; backward
//! d gate = (dy·up)·(s·fma(g, 1 − s, 1)), d up = dy·(g·s).

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::threads::{self, SharedMut};

/// Values that are worth a task of their own.
const GRAIN: usize = 1 << 13;

/// y = silu(gate) · up.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn forward(gate_up: &[f32], f: usize, y: &mut [f32]) {
    check("swiglu::forward", gate_up.len(), f, y.len());
    let y = SharedMut::new(y);
    by_rows(y.len() / f, f, |rows| {
        // SAFETY: tasks have disjoint rows.
        let y = unsafe { y.slice(rows.start * f..rows.end * f) };
        cpu::forward(&gate_up[rows.start * 2 * f..rows.end * 2 * f], f, y);
    });
}

/// dgate_up = d(loss)/d(gate_up) from dy = d(loss)/dy.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn backward(dy: &[f32], gate_up: &[f32], f: usize, dgate_up: &mut [f32]) {
    check("swiglu::backward", gate_up.len(), f, dy.len());
    assert_eq!(dgate_up.len(), gate_up.len(), "swiglu::backward: dgate_up and gate_up differ in length");
    let dgate_up = SharedMut::new(dgate_up);
    by_rows(dy.len() / f, f, |rows| {
        let at = rows.start * 2 * f..rows.end * 2 * f;
        // SAFETY: tasks have disjoint rows.
        let dgate_up = unsafe { dgate_up.slice(at.clone()) };
        cpu::backward(&dy[rows.start * f..rows.end * f], &gate_up[at], f, dgate_up);
    });
}

/// Runs `f` on ranges of rows that cover `0..rows`.
fn by_rows(rows: usize, c: usize, f: impl Fn(Range<usize>) + Sync) {
    let step = (GRAIN / c).max(1);
    threads::parallel(rows.div_ceil(step), |task| f(task * step..rows.min((task + 1) * step)));
}

fn check(op: &str, gate_up: usize, f: usize, y: usize) {
    assert!(f > 0 && y.is_multiple_of(f) && gate_up == 2 * y, "{op}: gate_up {gate_up}, y {y} values, F {f}");
}
