//! RMSNorm: `y = x · rstd · w`, `rstd = 1 / sqrt(mean(x²) + eps)`, over rows of `w.len()` values.
//!
//! Shapes: x, y `[R, C]`, w `[C]`, rstd `[R]`. Rows are tokens, or token-heads for the norms on queries and keys.
//!
//! Order. Sums over a row: sixteen lanes, lane i takes the values i, i + 16, … by fused multiply-add from 0, then
//! lane i + lane i + 8, + 4, + 2, + 1; the mean is that sum divided by C. y = (x · rstd) · w. In the backward pass
//! dx = fma(dy·w, rstd, x · −(rstd³ · mean(dy·w·x))), and dw takes one fused multiply-add a row, rows ascending.

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::lanes::WIDTH;
use crate::threads::{self, SharedMut};

/// Values that are worth a task of their own.
const GRAIN: usize = 1 << 14;
/// Values of x whose rows the caches keep, beside those of dy and dx.
const NEAR: usize = 1 << 17;

/// y = x · rstd · w for every row of x; keeps rstd for the backward pass.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn forward(x: &[f32], w: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    check("rmsnorm::forward", x.len(), w.len(), rstd.len(), y.len());
    let (y, rstd, c) = (SharedMut::new(y), SharedMut::new(rstd), w.len());
    by_rows(rstd.len(), c, |rows| {
        let at = rows.start * c..rows.end * c;
        // SAFETY: tasks have disjoint rows.
        let (y, rstd) = unsafe { (y.slice(at.clone()), rstd.slice(rows)) };
        cpu::forward(&x[at], w, eps, y, rstd);
    });
}

/// x += branch, then y = norm of the new x: the residual connection and the norm after it in one pass.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn add_forward(x: &mut [f32], branch: &[f32], w: &[f32], eps: f32, y: &mut [f32], rstd: &mut [f32]) {
    check("rmsnorm::add_forward", x.len(), w.len(), rstd.len(), y.len());
    assert_eq!(x.len(), branch.len(), "rmsnorm::add_forward: x and branch differ in length");
    let (x, y, rstd, c) = (SharedMut::new(x), SharedMut::new(y), SharedMut::new(rstd), w.len());
    by_rows(rstd.len(), c, |rows| {
        let at = rows.start * c..rows.end * c;
        // SAFETY: tasks have disjoint rows.
        let (x, y, rstd) = unsafe { (x.slice(at.clone()), y.slice(at.clone()), rstd.slice(rows)) };
        cpu::add_forward(x, &branch[at], w, eps, y, rstd);
    });
}

/// dx = d(loss)/dx (added to dx when `accumulate_dx`), dw += d(loss)/dw where it is wanted. `rstd` is what forward gave.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn backward(
    dy: &[f32],
    x: &[f32],
    w: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dw: Option<&mut [f32]>,
    accumulate_dx: bool,
) {
    check("rmsnorm::backward", x.len(), w.len(), rstd.len(), dx.len());
    assert_eq!(dy.len(), x.len(), "rmsnorm::backward: dy and x differ in length");
    let c = w.len();
    assert!(dw.as_ref().is_none_or(|dw| dw.len() == c), "rmsnorm::backward: dw and w differ in length");
    let Some(dw) = dw else { return slopes(dy, x, w, rstd, dx, accumulate_dx) };
    // Some rows are in the caches still when the columns' sums come to them.
    let rows = (NEAR / c).max(1);
    let parts =
        dy.chunks(rows * c).zip(x.chunks(rows * c)).zip(rstd.chunks(rows)).zip(dx.chunks_mut(rows * c));
    for (((dy, x), rstd), dx) in parts {
        slopes(dy, x, w, rstd, dx, accumulate_dx);
        // Columns are independent sums over all rows, so their split is free.
        let tasks = (x.len() / GRAIN).clamp(1, threads::count() * 2);
        let width = c.div_ceil(tasks).next_multiple_of(WIDTH);
        let dw = SharedMut::new(dw);
        threads::parallel(c.div_ceil(width), |task| {
            let columns = task * width..c.min((task + 1) * width);
            // SAFETY: tasks have disjoint columns.
            let dw = unsafe { dw.slice(columns.clone()) };
            cpu::backward_weight(dy, x, rstd, c, columns.start, dw);
        });
    }
}

/// dx of some rows.
fn slopes(dy: &[f32], x: &[f32], w: &[f32], rstd: &[f32], dx: &mut [f32], accumulate: bool) {
    let (dx, c) = (SharedMut::new(dx), w.len());
    by_rows(rstd.len(), c, |rows| {
        let at = rows.start * c..rows.end * c;
        // SAFETY: tasks have disjoint rows.
        let dx = unsafe { dx.slice(at.clone()) };
        cpu::backward(&dy[at.clone()], &x[at], w, &rstd[rows], dx, accumulate);
    });
}

/// Runs `f` on ranges of rows that cover `0..rows`.
fn by_rows(rows: usize, c: usize, f: impl Fn(std::ops::Range<usize>) + Sync) {
    let step = (GRAIN / c).max(1);
    threads::parallel(rows.div_ceil(step), |task| f(task * step..rows.min((task + 1) * step)));
}

fn check(op: &str, x: usize, c: usize, rows: usize, y: usize) {
    assert!(c > 0 && x == rows * c && y == x, "{op}: x {x} and y {y} values, rows {rows} of {c}");
}
