//! The packed operand: columns in panels of 32, one panel after the other, each panel step by step.
//!
//! Word `[panel][step][column]` holds one f32, or two bf16 values (the even one in the low half), so a step is
//! one value of the summed index in f32 and two in bf16. Columns and values past the end are zeros.

use super::rounding::{along, copy, interleave};
use crate::Precision;
use crate::threads::{SharedMut, parallel};

/// One cache line of 32-bit words.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line([u32; LINE]);

/// Words of a [`Line`].
const LINE: usize = 16;
/// Columns of a panel.
pub const PANEL: usize = 32;

/// The number of steps that `depth` values of the summed index take.
pub fn steps(depth: usize, precision: Precision) -> usize {
    match precision {
        Precision::F32 => depth,
        Precision::Bf16 => depth.div_ceil(2),
    }
}

/// A packed matrix of `columns` columns, summed over `depth`.
pub struct Panels {
    lines: Vec<Line>,
    pub columns: usize,
    pub depth: usize,
    pub steps: usize,
}

impl Panels {
    /// Zeros of the given shape.
    pub fn empty(columns: usize, depth: usize, precision: Precision) -> Panels {
        let steps = steps(depth, precision);
        let lines = vec![Line([0; LINE]); columns.div_ceil(PANEL) * steps * (PANEL / LINE)];
        Panels { lines, columns, depth, steps }
    }

    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    /// All panels, one after the other.
    pub fn words(&self) -> &[u32] {
        // SAFETY: a Line is 16 words without padding, and the lines of a slice are adjacent.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * LINE) }
    }

    fn words_mut(&mut self) -> &mut [u32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * LINE) }
    }

    /// Packs `w[depth, columns]`.
    pub fn fill(&mut self, w: &[f32], precision: Precision) {
        let (columns, depth, steps) = (self.columns, self.depth, self.steps);
        let parts = SharedMut::new(self.words_mut());
        parallel(columns.div_ceil(PANEL), |panel| {
            // SAFETY: one panel a task.
            let out = unsafe { parts.slice(panel * steps * PANEL..(panel + 1) * steps * PANEL) };
            let from = panel * PANEL;
            let width = PANEL.min(columns - from);
            match precision {
                Precision::F32 => {
                    for (row, out) in w.chunks_exact(columns).zip(out.chunks_exact_mut(PANEL)) {
                        copy(&row[from..from + width], out);
                    }
                }
                Precision::Bf16 => {
                    for (step, out) in out.chunks_exact_mut(PANEL).enumerate() {
                        let even = &w[2 * step * columns + from..][..width];
                        let odd =
                            if 2 * step + 1 < depth { &w[(2 * step + 1) * columns + from..] } else { &[] };
                        interleave(even, odd.get(..width), out);
                    }
                }
            }
        });
    }

    /// Packs `w[columns, depth]`.
    pub fn fill_transposed(&mut self, w: &[f32], precision: Precision) {
        let (columns, depth, steps) = (self.columns, self.depth, self.steps);
        let parts = SharedMut::new(self.words_mut());
        parallel(columns.div_ceil(PANEL), |panel| {
            // SAFETY: one panel a task.
            let out = unsafe { parts.slice(panel * steps * PANEL..(panel + 1) * steps * PANEL) };
            let rows = &w[panel * PANEL * depth..columns.min((panel + 1) * PANEL) * depth];
            transpose(rows, depth, precision, out);
        });
    }

    /// As [`Panels::fill_transposed`], asking `read(i, out)` for the values from flat index `i` on: one panel's rows at a
    /// time and thread, so that the plain matrix never exists.
    pub fn fill_transposed_from(&mut self, read: impl Fn(usize, &mut [f32]) + Sync, precision: Precision) {
        thread_local! {
            static ROWS: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        let (columns, depth, steps) = (self.columns, self.depth, self.steps);
        let parts = SharedMut::new(self.words_mut());
        parallel(columns.div_ceil(PANEL), |panel| {
            // SAFETY: one panel a task.
            let out = unsafe { parts.slice(panel * steps * PANEL..(panel + 1) * steps * PANEL) };
            let range = panel * PANEL * depth..columns.min((panel + 1) * PANEL) * depth;
            ROWS.with_borrow_mut(|rows| {
                if rows.len() < range.len() {
                    rows.resize(range.len(), 0.0);
                }
                let rows = &mut rows[..range.len()];
                read(range.start, rows);
                transpose(rows, depth, precision, out);
            });
        });
    }
}

/// Up to 32 rows of `depth` values into one panel.
fn transpose(rows: &[f32], depth: usize, precision: Precision, out: &mut [u32]) {
    // Blocks of 16 steps: what is written stays in the first-level cache until its lines are whole.
    const BLOCK: usize = 16;
    let mut words = [0u32; BLOCK];
    let width = if precision == Precision::F32 { 1 } else { 2 };
    for (block, out) in out.chunks_mut(BLOCK * PANEL).enumerate() {
        let count = out.len() / PANEL;
        for (column, row) in rows.chunks_exact(depth).enumerate() {
            let values = &row[block * BLOCK * width..depth.min((block + 1) * BLOCK * width)];
            along(precision, values, &mut words);
            for step in 0..count {
                out[step * PANEL + column] = words[step];
            }
        }
    }
}
