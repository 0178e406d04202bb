//! Reductions over gradients: the sum of squares for the norm that clips, and the first value that is not finite.
//!
//! Order of `sum_of_squares`: the slice is cut in blocks of [`BLOCK`] values from its start. In a block, lane `l`
//! of 16 adds the squares of the values at `l, l + 16, l + 32, …` in f64 by fused multiply-add, ascending from 0;
//! the lanes are folded in halves (8 + 8, 4 + 4, 2 + 2, 1 + 1). The blocks' sums are added in order. So the
//! result depends on the values alone. (A square of an f32 is exact in f64.)

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod reference;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::threads::{SharedMut, count, parallel};

/// Values that one partial sum covers.
pub(crate) const BLOCK: usize = 4096;
/// Blocks that one task covers.
const RUN: usize = 16;

/// Σ g², accumulated in f64. NaN and infinities pass through.
pub fn sum_of_squares(g: &[f32]) -> f64 {
    let blocks = g.len().div_ceil(BLOCK);
    if blocks <= 1 || count() == 1 {
        return g.chunks(BLOCK).map(cpu::block).fold(0.0, |sum, part| sum + part);
    }
    let mut sums = vec![0f64; blocks];
    let parts = SharedMut::new(&mut sums);
    parallel(blocks.div_ceil(RUN), |task| {
        let range = task * RUN..blocks.min((task + 1) * RUN);
        // SAFETY: the tasks' ranges are disjoint.
        let mine = unsafe { parts.slice(range.clone()) };
        for (sum, values) in mine.iter_mut().zip(g[range.start * BLOCK..].chunks(BLOCK)) {
            *sum = cpu::block(values);
        }
    });
    sums.into_iter().fold(0.0, |sum, part| sum + part)
}

/// The index of the first NaN or infinity in `g`, if there is one.
pub fn first_non_finite(g: &[f32]) -> Option<usize> {
    let run = BLOCK * RUN;
    let first = AtomicUsize::new(usize::MAX);
    parallel(g.len().div_ceil(run), |task| {
        let start = task * run;
        if start >= first.load(Ordering::Relaxed) {
            return; // An earlier one is known.
        }
        let values = &g[start..g.len().min(start + run)];
        if cpu::all_finite(values) {
            return;
        }
        if let Some(i) = reference::first_non_finite(values) {
            first.fetch_min(start + i, Ordering::Relaxed);
        }
    });
    Some(first.into_inner()).filter(|&i| i != usize::MAX)
}
