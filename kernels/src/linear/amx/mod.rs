//! bf16 products on AMX, the tile registers of Sapphire Rapids and later.
//!
//! A tile is 16 rows of 64 bytes. `TDPBF16PS c, a, b` multiplies 16 rows × 16 steps of `a` by 16 steps × 16 columns of
//! `b`, a step being a pair of bf16 values, and adds the 16 × 16 products to the f32 sums of `c`. Weights and the
//! right side of the weight gradient lie in panels of 32 columns, which are two such `b` side by side; the left side
//! is brought to panels of 32 rows, `[16 steps][row][step]`, two `a` one after the other. 32 rows by 32 columns are
//! four tiles of sums: each 16 steps load four tiles and multiply four, 32 cycles of loads beside 64 of products.
//! Fewer than 17 rows take four tiles of columns instead, in tiles as low as the rows (a product's time goes by them).
//!
//! Nothing here asks which instruction set is in use: the check that decides about it runs this code.

mod check;
#[cfg(test)]
pub(super) mod emulation;
#[cfg(test)]
mod tests;
mod tiles;

use std::ops::Range;

pub use check::amx;

use super::panels::{PANEL, frame};
use super::rounding::{blocks_along, pack_columns};
use super::way::{Area, Way};
use crate::Precision;
use tiles::{Soon, Sums, four_columns, release, shape, two_by_two, two_columns};

/// bf16 on tiles.
#[derive(Clone, Copy)]
pub struct Amx;

/// Rows or columns of a tile of sums, and the steps of one product.
const SIDE: usize = 16;

impl Way for Amx {
    const ROWS: usize = PANEL;
    const ALONE: usize = 256 * 1024;
    const PASS: usize = 512;
    const STEP: usize = PANEL;

    fn stride(steps: usize) -> usize {
        frame(steps, Precision::Bf16) * PANEL
    }

    fn room(rows: usize, steps: usize) -> usize {
        rows.next_multiple_of(PANEL) * frame(steps, Precision::Bf16)
    }

    fn round(_: Precision, x: &[f32], depth: usize, words: &mut [u32]) {
        blocks_along(x, depth, frame(depth.div_ceil(2), Precision::Bf16), words);
    }

    unsafe fn rows(area: &Area) {
        // SAFETY: the caller's promise.
        unsafe { multiply(area) }
    }

    fn pack(_: Precision, values: &[f32], width: usize, columns: Range<usize>, words: &mut [u32]) {
        pack_columns(values, width, columns, words);
    }

    unsafe fn outer(area: &Area) {
        // SAFETY: the caller's promise; both sides of the weight gradient are panels as `multiply` wants them.
        unsafe { multiply(area) }
    }
}

/// `out = a · b`: whole panels of 32 rows first, then what is left of the rows.
///
/// # Safety
/// As for [`Way`]; `a` is panels of 32 rows, `a_stride` words apart.
unsafe fn multiply(area: &Area) {
    let (whole, rest) = (area.rows / PANEL, area.rows % PANEL);
    // SAFETY: the caller's promise, for the panels of each part.
    unsafe {
        if whole > 0 {
            shape([SIDE; 8]);
            tall(area, 0, whole, PANEL);
        }
        if rest > SIDE {
            let lower = rest - SIDE;
            shape([SIDE, SIDE, lower, lower, SIDE, lower, SIDE, SIDE]);
            tall(area, whole, whole + 1, rest);
        } else if rest > 0 {
            shape([rest, rest, rest, rest, rest, SIDE, SIDE, SIDE]);
            low(area, whole, rest);
        }
        if area.rows > 0 {
            release();
        }
    }
}

/// The panels `first..end` of `height` rows each, 17 to 32: every panel of columns meets them all.
///
/// # Safety
/// As for [`multiply`]; the tiles must have the shape.
unsafe fn tall(area: &Area, first: usize, end: usize, height: usize) {
    let blocks = area.steps.div_ceil(SIDE);
    for column in (0..area.columns).step_by(PANEL) {
        let b = area.b.wrapping_add(column / PANEL * area.b_panel);
        // Each panel of rows asks for its share of the next panel of columns (64 to 512 bytes from line to line), and
        // for the sums that come after its own: else a loop would begin, and end, by waiting for memory.
        let next = column + PANEL < area.columns;
        let (after, gap) =
            if next { (b.wrapping_add(area.b_panel), 512 / (end - first).clamp(1, 8)) } else { (b, 0) };
        for panel in first..end {
            let a = area.a.wrapping_add(panel * area.a_stride);
            let (row, column_of_next) = match panel + 1 < end {
                true => (panel + 1, column),
                false if next => (first, column + PANEL),
                false => (panel, column),
            };
            let soon = Soon {
                columns: after.wrapping_byte_add((panel - first) * blocks * 4 * gap),
                gap,
                sums: area.out.wrapping_add(row * PANEL * area.out_row + column_of_next),
            };
            // SAFETY: the caller's promise.
            unsafe {
                settle(area, panel * PANEL, height, column, PANEL, |sums| {
                    two_by_two(a, b, blocks, soon, sums)
                });
            }
        }
    }
}

/// The `height` rows, at most 16, of panel `panel`: two panels of columns at a time.
///
/// # Safety
/// As for [`tall`].
unsafe fn low(area: &Area, panel: usize, height: usize) {
    let blocks = area.steps.div_ceil(SIDE);
    let a = area.a.wrapping_add(panel * area.a_stride);
    for column in (0..area.columns).step_by(2 * PANEL) {
        let b = area.b.wrapping_add(column / PANEL * area.b_panel);
        // SAFETY: the caller's promise.
        unsafe {
            if area.columns - column > PANEL {
                let next = b.add(area.b_panel);
                settle(area, panel * PANEL, height, column, 2 * PANEL, |sums| {
                    four_columns(a, b, next, blocks, sums);
                });
            } else {
                settle(area, panel * PANEL, height, column, PANEL, |sums| two_columns(a, b, blocks, sums));
            }
        }
    }
}

/// Runs `product` on the sums of some rows and columns: in place where all columns exist and nothing is added after,
/// else in a buffer.
///
/// # Safety
/// As for [`multiply`]; `product` must write no more than `height` rows of `width` sums.
unsafe fn settle(
    area: &Area,
    row: usize,
    height: usize,
    column: usize,
    width: usize,
    product: impl Fn(Sums),
) {
    /// As many sums as four tiles hold.
    #[repr(align(64))]
    struct Buffer([f32; 4 * SIDE * SIDE]);
    // SAFETY: the element is inside the area.
    let out = unsafe { area.out.add(row * area.out_row + column) };
    if area.columns - column >= width && area.bias.is_null() {
        return product(Sums { at: out, stride: area.out_row * size_of::<f32>(), kept: area.from_out });
    }
    let count = width.min(area.columns - column);
    let mut buffer = Buffer([0.0; 4 * SIDE * SIDE]);
    // SAFETY: only columns that exist are read and written.
    unsafe {
        if area.from_out {
            for (r, sums) in buffer.0.chunks_exact_mut(width).take(height).enumerate() {
                std::ptr::copy_nonoverlapping(out.add(r * area.out_row), sums.as_mut_ptr(), count);
            }
        }
        let (at, stride) = (buffer.0.as_mut_ptr(), width * size_of::<f32>());
        product(Sums { at, stride, kept: area.from_out });
        for (r, sums) in buffer.0.chunks_exact(width).take(height).enumerate() {
            let to = out.add(r * area.out_row);
            if area.bias.is_null() {
                std::ptr::copy_nonoverlapping(sums.as_ptr(), to, count);
            } else {
                for c in 0..count {
                    *to.add(c) = sums[c] + *area.bias.add(column + c);
                }
            }
        }
    }
}
