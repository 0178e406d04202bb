//! Rotary position embedding: pair i of a head's rotated part turns by the angle `position · inv_freq[i]`.
//!
//! (a, b) → (fma(a, cos, −(b·sin)), fma(b, cos, a·sin)). Which two values form pair i is the [`Pairing`]. The angle is
//! computed in f64, its cosine and sine are rounded to f32 after the attention factor. The inverse (the transpose, for the
//! backward pass) takes −sin; with an attention factor other than 1 it is the transpose, not the inverse.

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::scratch;
use crate::threads::{self, SharedMut};

/// Values that are worth a task of their own.
const GRAIN: usize = 1 << 14;

/// Which values of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// (x[i], x[i + dim/2]): "rotate half", Llama and Qwen.
    Half,
    /// (x[2i], x[2i + 1]): adjacent values as a complex number, DeepSeek.
    Interleaved,
}

/// Cosines and sines for every position.
#[derive(Clone, Debug)]
pub struct Table {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Table {
    /// A table for positions `0..positions`; `inv_freq` has one frequency in radians a position for each pair;
    /// cosines and sines are multiplied by `attention_factor` (1 without YaRN).
    pub fn build(inv_freq: &[f64], positions: usize, attention_factor: f64) -> Table {
        /// Positions of one task.
        const RUN: usize = 256;
        let half = inv_freq.len();
        let (mut cos, mut sin) = (vec![0.0; positions * half], vec![0.0; positions * half]);
        let (cos_parts, sin_parts) = (SharedMut::new(&mut cos), SharedMut::new(&mut sin));
        threads::parallel(positions.div_ceil(RUN), |task| {
            let run = task * RUN..positions.min((task + 1) * RUN);
            let range = run.start * half..run.end * half;
            // SAFETY: the tasks' ranges are disjoint.
            let (cos, sin) = unsafe { (cos_parts.slice(range.clone()), sin_parts.slice(range)) };
            let angles = run.flat_map(|p| inv_freq.iter().map(move |f| p as f64 * f));
            for ((a, c), s) in angles.zip(cos).zip(sin) {
                *c = (a.cos() * attention_factor) as f32;
                *s = (a.sin() * attention_factor) as f32;
            }
        });
        Table { half, cos, sin }
    }

    /// How many values of a head are rotated.
    pub fn dim(&self) -> usize {
        2 * self.half
    }

    /// How many positions the table holds.
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(0)
    }
}

/// Rotates in place `table.dim()` values starting at `offset` inside each of `heads` slots of `stride` values per
/// row of x; `positions[row]` indexes the table. `inverse` applies the transpose, which is the backward pass.
///
/// # Panics
/// When the sizes do not fit one another or a position lies beyond the table.
pub fn apply(
    x: &mut [f32],
    heads: usize,
    stride: usize,
    offset: usize,
    positions: &[u32],
    table: &Table,
    pairing: Pairing,
    inverse: bool,
) {
    let (rows, dim, half) = (positions.len(), table.dim(), table.half);
    assert!(x.len() == rows * heads * stride, "rope::apply: {} values, {rows}·{heads}·{stride}", x.len());
    assert!(offset + dim <= stride, "rope::apply: {dim} values from {offset} on in a slot of {stride}");
    if let Some(p) = positions.iter().find(|&&p| p as usize >= table.positions()) {
        panic!("rope::apply: position {p}, table of {}", table.positions());
    }
    let width = heads * stride;
    let step = (GRAIN / width.max(1)).max(1);
    let x = SharedMut::new(x);
    threads::parallel(rows.div_ceil(step), |task| {
        scratch::with(2 * dim, |turn| {
            for row in task * step..rows.min((task + 1) * step) {
                let at = positions[row] as usize * half..(positions[row] as usize + 1) * half;
                cpu::spread(&table.cos[at.clone()], &table.sin[at], pairing, inverse, turn);
                // SAFETY: tasks have disjoint rows.
                let x = unsafe { x.slice(row * width..(row + 1) * width) };
                cpu::rotate(x, heads, stride, offset, dim, turn, pairing);
            }
        });
    });
}
