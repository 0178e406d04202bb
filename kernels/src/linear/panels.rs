//! The packed operand: columns in panels of 32, one panel after the other, each panel step by step.
//!
//! Word `[panel][step][column]` holds one f32, or two bf16 values (the even one in the low half), so a step is
//! one value of the summed index in f32 and two in bf16. Columns and values past the end are zeros; a bf16 panel has
//! room for a multiple of 16 steps, so that 16 steps by 16 columns are the right operand of an AMX tile product.

use super::rounding::{along, pack_rows};
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

/// The number of steps that a panel of `steps` steps has room for.
pub fn frame(steps: usize, precision: Precision) -> usize {
    match precision {
        Precision::F32 => steps,
        Precision::Bf16 => steps.next_multiple_of(16),
    }
}

/// A packed matrix of `columns` columns, summed over `depth`.
pub struct Panels {
    lines: Vec<Line>,
    pub columns: usize,
    pub depth: usize,
    pub steps: usize,
    /// Steps from one panel to the next.
    pub frame: usize,
}

impl Panels {
    /// Zeros of the given shape.
    pub fn empty(columns: usize, depth: usize, precision: Precision) -> Panels {
        let steps = steps(depth, precision);
        let frame = frame(steps, precision);
        let lines = vec![Line([0; LINE]); columns.div_ceil(PANEL) * frame * (PANEL / LINE)];
        Panels { lines, columns, depth, steps, frame }
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
        let (columns, frame) = (self.columns, self.frame);
        let parts = SharedMut::new(self.words_mut());
        parallel(columns.div_ceil(PANEL), |panel| {
            // SAFETY: one panel a task.
            let out = unsafe { parts.slice(panel * frame * PANEL..(panel + 1) * frame * PANEL) };
            let range = panel * PANEL..columns.min((panel + 1) * PANEL);
            let run = steps(32, precision) * PANEL;
            for (rows, out) in w.chunks(32 * columns).zip(out.chunks_mut(run)) {
                pack_rows(precision, rows, columns, range.clone(), out);
            }
        });
    }

    /// Packs `w[columns, depth]`.
    pub fn fill_transposed(&mut self, w: &[f32], precision: Precision) {
        let (columns, depth, frame) = (self.columns, self.depth, self.frame);
        let parts = SharedMut::new(self.words_mut());
        parallel(columns.div_ceil(PANEL), |panel| {
            // SAFETY: one panel a task.
            let out = unsafe { parts.slice(panel * frame * PANEL..(panel + 1) * frame * PANEL) };
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
        let (columns, depth, frame) = (self.columns, self.depth, self.frame);
        let parts = SharedMut::new(self.words_mut());
        parallel(columns.div_ceil(PANEL), |panel| {
            // SAFETY: one panel a task.
            let out = unsafe { parts.slice(panel * frame * PANEL..(panel + 1) * frame * PANEL) };
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
        for (column, row) in rows.chunks_exact(depth).enumerate() {
            let values = &row[block * BLOCK * width..depth.min((block + 1) * BLOCK * width)];
            let count = values.len().div_ceil(width);
            along(precision, values, &mut words);
            for step in 0..count {
                out[step * PANEL + column] = words[step];
            }
        }
    }
}
