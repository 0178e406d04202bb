//! What an instruction set brings to a product that has been cut into areas: how it wants the left operand laid out,
//! and how it multiplies. Vectors do it as written here; AMX has its own file.

use std::ops::Range;

use super::lanes::Lanes;
use super::panels::PANEL;
use super::rounding::{along, pack_rows};
use super::tile::Tile;
use crate::Precision;

/// What one call computes: `out[r, c] = start + Σ_s a[r, s] b[s, c] (+ bias[c])`, s ascending.
pub struct Area {
    pub rows: usize,
    pub columns: usize,
    /// Words of the summed index.
    pub steps: usize,
    /// The left operand. In [`Way::rows`] as [`Way::round`] left it (or f32 rows where they stand), `a_stride` as
    /// [`Way::stride`] says; in [`Way::outer`] panels of [`Way::pack`], `a_stride` words apart.
    pub a: *const u32,
    pub a_stride: usize,
    /// The right operand: word (s, c) of a panel at `s · PANEL + c`; panels are `b_panel` words apart.
    pub b: *const u32,
    pub b_panel: usize,
    /// Element (r, c) of the result stands at `out + r · out_row + c`.
    pub out: *mut f32,
    pub out_row: usize,
    /// Whether the sums start from what stands in `out`, else from 0.
    pub from_out: bool,
    /// Null, or one value a column to be added last.
    pub bias: *const f32,
}

/// A way to multiply.
///
/// # Safety
/// The unsafe functions ask for a machine with the way's instructions, for operands that are good for the whole
/// area (whole panels of `b`, steps up to a multiple of 16 in bf16) and for a part of `out` that nothing else touches.
pub trait Way: Copy + 'static {
    /// Rows that meet a panel at the same time.
    const ROWS: usize;
    /// Below this many multiplications of words a product is not worth a second thread.
    const ALONE: usize;
    /// Steps of one pass of the weight gradient over its rows.
    const PASS: usize;
    /// Words from one step to the next within rounded rows.
    const STEP: usize;

    /// The `a_stride` of rounded rows.
    fn stride(steps: usize) -> usize;
    /// Words that `rows` rounded rows take; also where row `rows` begins, when it is a multiple of [`Way::ROWS`].
    fn room(rows: usize, steps: usize) -> usize;
    /// Rounds rows of `depth` values; `words` has [`Way::room`] for them.
    fn round(precision: Precision, x: &[f32], depth: usize, words: &mut [u32]);
    /// `out = a · b`, the left operand in rows.
    unsafe fn rows(area: &Area);

    /// Packs the columns `columns` (at most a panel) of some rows (at most 32) for the left side of [`Way::outer`]:
    /// one panel's words for those rows.
    fn pack(precision: Precision, values: &[f32], width: usize, columns: Range<usize>, words: &mut [u32]);
    /// `out += aᵀ · b`, the left operand in panels.
    unsafe fn outer(area: &Area);
}

/// Row panels that meet a panel before the next one: they stay in the second-level cache.
const GROUP: usize = 8;

impl<L: Lanes> Way for L {
    const ROWS: usize = L::ROWS;
    const ALONE: usize = 48 * 1024;
    const PASS: usize = 256;
    const STEP: usize = 1;

    fn stride(steps: usize) -> usize {
        // Rows at a multiple of 1 KiB would fall on few sets of the first-level cache.
        let stride = steps.next_multiple_of(16);
        stride + if stride.is_multiple_of(256) { 16 } else { 0 }
    }

    fn room(rows: usize, steps: usize) -> usize {
        rows * Self::stride(steps)
    }

    fn round(precision: Precision, x: &[f32], depth: usize, words: &mut [u32]) {
        let stride = Self::stride(super::panels::steps(depth, precision));
        for (x, words) in x.chunks_exact(depth).zip(words.chunks_exact_mut(stride)) {
            along(precision, x, words);
        }
    }

    unsafe fn rows(area: &Area) {
        let tiles = area.rows.div_ceil(L::ROWS);
        let highest = area.rows.div_ceil(tiles);
        let mut column = 0;
        while column < area.columns {
            let (_, span) = L::tile(highest, (area.columns - column).next_multiple_of(16), false);
            let b = area.b.wrapping_add(column / PANEL * area.b_panel + column % PANEL);
            // While the tiles work on this panel they fetch the next one, each its share.
            let (ahead, ahead_stride) = if column + span < area.columns && span == PANEL {
                (b.wrapping_add(area.b_panel), PANEL / tiles)
            } else {
                (b, 0)
            };
            for t in 0..tiles {
                // Tiles of (almost) equal height.
                let (row, next) = (t * area.rows / tiles, (t + 1) * area.rows / tiles);
                let ahead = ahead.wrapping_add(t * area.steps * ahead_stride);
                let a = area.a.wrapping_add(row * area.a_stride);
                // SAFETY: the caller's promise.
                unsafe { tile::<L, false>(area, a, b, row..next, column, span, (ahead, ahead_stride)) }
            }
            column += span;
        }
    }

    fn pack(precision: Precision, values: &[f32], width: usize, columns: Range<usize>, words: &mut [u32]) {
        pack_rows(precision, values, width, columns, words);
    }

    unsafe fn outer(area: &Area) {
        for group in (0..area.rows).step_by(GROUP * PANEL) {
            let rows = group..area.rows.min(group + GROUP * PANEL);
            let highest = L::ROWS.min(rows.len());
            let mut column = 0;
            while column < area.columns {
                let (_, span) = L::tile(highest, (area.columns - column).next_multiple_of(16), true);
                let b = area.b.wrapping_add(column / PANEL * area.b_panel + column % PANEL);
                for first in rows.clone().step_by(PANEL) {
                    let height = PANEL.min(rows.end - first);
                    let tiles = height.div_ceil(L::ROWS);
                    for t in 0..tiles {
                        let (row, next) = (t * height / tiles, (t + 1) * height / tiles);
                        let a = area.a.wrapping_add(first / PANEL * area.a_stride + row);
                        // SAFETY: the caller's promise.
                        unsafe {
                            tile::<L, true>(area, a, b, first + row..first + next, column, span, (b, 0))
                        }
                    }
                }
                column += span;
            }
        }
    }
}

/// One tile of an area: the rows `rows` by the `span` columns from `column` on.
///
/// # Safety
/// As for [`Way`].
#[inline(always)]
unsafe fn tile<L: Lanes, const TRANSPOSED: bool>(
    area: &Area,
    a: *const u32,
    b: *const u32,
    rows: Range<usize>,
    column: usize,
    span: usize,
    (ahead, ahead_stride): (*const u32, usize),
) {
    let (tile, width) = L::tile(rows.len(), span, TRANSPOSED);
    assert_eq!(width, span);
    // SAFETY: the caller's promise; the tile's last row and column are inside the area.
    unsafe {
        tile(&Tile {
            steps: area.steps,
            a,
            a_stride: if TRANSPOSED { PANEL } else { area.a_stride },
            b,
            b_panel: area.b_panel,
            ahead,
            ahead_stride,
            out: area.out.add(rows.start * area.out_row + column),
            out_row: area.out_row,
            from_out: area.from_out,
            bias: if area.bias.is_null() { area.bias } else { area.bias.add(column) },
            columns: area.columns - column,
        });
    }
}
