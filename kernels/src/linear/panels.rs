//! The packed operand: columns in panels of 32, one panel after the other, each panel step by step.
//!
//! Word `[panel][step][column]` holds one f32, or two bf16 values (the even one in the low half), so a step is
//! one value of the summed index in f32 and two in bf16. Columns and values past the end are zeros; a bf16 panel has
//! room for a multiple of 16 steps, so that 16 steps by 16 columns are the right operand of an AMX tile product.

use std::sync::Mutex;

use super::halves::{self, Half, Seen};
use super::room::{Part, Room};
use super::rounding::{along, pack_rows};
use crate::Precision;
use crate::threads::{SharedMut, parallel};

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

/// Words that a matrix takes.
pub fn words(columns: usize, depth: usize, precision: Precision) -> usize {
    columns.div_ceil(PANEL) * frame(steps(depth, precision), precision) * PANEL
}

/// A packed matrix of `columns` columns, summed over `depth`.
pub struct Panels {
    words: Part,
    pub columns: usize,
    pub depth: usize,
    pub steps: usize,
    /// Steps from one panel to the next.
    pub frame: usize,
}

impl Panels {
    /// Zeros of the given shape.
    pub fn empty(columns: usize, depth: usize, precision: Precision) -> Panels {
        Panels::within(&Room::of(words(columns, depth, precision)), columns, depth, precision)
    }

    /// Zeros of the given shape that lie in a room.
    pub fn within(room: &Room, columns: usize, depth: usize, precision: Precision) -> Panels {
        let words = room.take(words(columns, depth, precision));
        let steps = steps(depth, precision);
        Panels { words, columns, depth, steps, frame: frame(steps, precision) }
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.words())
    }

    /// All panels, one after the other.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    fn words_mut(&mut self) -> &mut [u32] {
        &mut self.words
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

    /// As [`Panels::fill_transposed`] in bf16, from rows that are bf16 already.
    pub fn fill_transposed_halves<'w>(&mut self, row: impl Fn(usize) -> &'w [Half] + Sync) -> Seen {
        let (columns, depth, frame) = (self.columns, self.depth, self.frame);
        let seen = Mutex::new(Seen::default());
        let parts = SharedMut::new(self.words_mut());
        parallel(columns.div_ceil(PANEL), |panel| {
            // SAFETY: one panel a task.
            let out = unsafe { parts.slice(panel * frame * PANEL..(panel + 1) * frame * PANEL) };
            let from = panel * PANEL;
            let count = PANEL.min(columns - from);
            let rows: [&[Half]; PANEL] =
                std::array::from_fn(|i| if i < count { &row(from + i)[..depth] } else { &[] });
            let here = halves::transpose(&rows[..count], out);
            if here != Seen::default() {
                let mut all = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                *all = all.or(here);
            }
        });
        seen.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The values of column `column`: [depth], bf16 ones widened.
    pub fn column(&self, column: usize, precision: Precision, out: &mut [f32]) {
        let panel = &self.words[column / PANEL * self.frame * PANEL + column % PANEL..];
        let words = panel.iter().step_by(PANEL);
        match precision {
            Precision::F32 => out.iter_mut().zip(words).for_each(|(x, word)| *x = f32::from_bits(*word)),
            Precision::Bf16 => {
                for (pair, word) in out.chunks_mut(2).zip(words) {
                    let both = [word << 16, word & 0xffff_0000].map(f32::from_bits);
                    pair.iter_mut().zip(both).for_each(|(x, value)| *x = value);
                }
            }
        }
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
