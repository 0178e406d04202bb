//! Rows by packed weight on the CPU: the work cut into tasks, the tasks into tiles.
//!
//! A task is a block of rows by a run of panels. Within it one panel (or a slab of it) meets all row tiles of the
//! block, so that it comes from memory once and from the caches after. f32 rows are read where they stand; bf16
//! rows are rounded by the task that needs them, into its thread's own buffer.

use std::ops::Range;

use super::lanes::{Lanes, Plain};
use super::panels::{PANEL, Panels};
use super::rounding::{along, buffer};
use super::tile::Tile;
use crate::threads::{SharedMut, count, parallel};
use crate::{Isa, Precision};

/// Steps of one pass over a panel: a slab of 64 KiB, with a tile's rows in the first-level cache beside it.
const SLAB: usize = 512;
/// Row tiles of a task, at most.
const TILES: usize = 8;
/// Below this many multiplications of words a product is not worth a second thread.
pub const ALONE: usize = 48 * 1024;

/// `out[rows, columns] = x · panels (+ bias)`.
struct Product<'a> {
    precision: Precision,
    x: &'a [f32],
    rows: usize,
    /// Whether the rows are brought to words in a buffer before use.
    apart: bool,
    panels: &'a Panels,
    bias: Option<&'a [f32]>,
    accumulate: bool,
}

/// Calls `$f::<L>` for the lanes of an instruction set and a precision.
macro_rules! with_lanes {
    ($isa:expr, $precision:expr, $f:ident($($arg:expr),*)) => {
        match ($precision, $isa) {
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, Isa::Avx512Bf16) => $f::<super::lanes::Avx512Bf16>($($arg),*),
            (Precision::Bf16, isa) => panic!("linear: bf16 products need avx512bf16, this run uses {isa}"),
            #[cfg(target_arch = "x86_64")]
            (Precision::F32, Isa::Avx512 | Isa::Avx512Bf16) => $f::<super::lanes::Avx512>($($arg),*),
            #[cfg(target_arch = "x86_64")]
            (Precision::F32, Isa::Avx2) => $f::<super::lanes::Avx2>($($arg),*),
            (Precision::F32, _) => $f::<Plain>($($arg),*),
        }
    };
}
pub(super) use with_lanes;

/// `out = x · panels (+ bias)`, or `out += x · panels` when `accumulate`.
pub fn rows_by_panels(
    isa: Isa,
    precision: Precision,
    x: &[f32],
    panels: &Panels,
    bias: Option<&[f32]>,
    accumulate: bool,
    out: &mut [f32],
) {
    let rows = x.len() / panels.depth;
    // Rows at a multiple of 2 KiB fall on few sets of the first-level cache: several such rows are copied apart.
    let apart = precision == Precision::Bf16 || panels.depth.is_multiple_of(512) && rows > 4;
    let p = Product { precision, x, rows, apart, panels, bias, accumulate };
    with_lanes!(isa, precision, cut(&p, out))
}

/// Cuts a product into tasks. No element's order of summation depends on the cut.
fn cut<L: Lanes>(p: &Product, out: &mut [f32]) {
    // Everything that a tile will touch lies inside these slices.
    let (columns, steps) = (p.panels.columns, p.panels.steps);
    let panels = columns.div_ceil(PANEL);
    assert!(p.x.len() == p.rows * p.panels.depth && out.len() == p.rows * columns);
    assert!(p.panels.words().len() == panels * steps * PANEL);
    assert!(p.bias.is_none_or(|bias| bias.len() == columns));

    let work = p.rows * steps * columns;
    let threads = if work < ALONE { 1 } else { count() };
    // Eight tasks a thread or so, to even out a late start and a busy machine.
    let wanted = if threads == 1 { 1 } else { 8 * threads };
    let rows = (p.rows.div_ceil(L::ROWS) / wanted).clamp(TILES / 2, TILES) * L::ROWS;
    let blocks = p.rows.div_ceil(rows);
    if blocks == 0 {
        return;
    }
    let runs = wanted.div_ceil(blocks).min(work.div_ceil(ALONE / 2)).min(panels);
    let out = SharedMut::new(out);
    let task = |task: usize| {
        let (at, part) = (task / runs * rows, task % runs);
        let panels = part * panels / runs..(part + 1) * panels / runs;
        // SAFETY: tasks cover disjoint blocks of the output.
        unsafe { block::<L>(p, at..p.rows.min(at + rows), panels, &out) }
    };
    if threads == 1 { (0..blocks * runs).for_each(task) } else { parallel(blocks * runs, task) }
}

/// One task: some rows by some panels.
///
/// # Safety
/// Nothing else may touch this block of the output meanwhile, and the machine must have the instructions of `L`.
unsafe fn block<L: Lanes>(p: &Product, rows: Range<usize>, panels: Range<usize>, out: &SharedMut<f32>) {
    let (depth, steps) = (p.panels.depth, p.panels.steps);
    let x = &p.x[rows.start * depth..rows.end * depth];
    if !p.apart {
        // SAFETY: the caller's promise; `x` holds the rows at a stride of `depth`.
        return unsafe { tiles::<L>(p, x.as_ptr().cast(), depth, rows, panels, out) };
    }
    let stride = steps.next_multiple_of(16) + if steps.next_multiple_of(16) % 256 == 0 { 16 } else { 0 };
    buffer(rows.len() * stride, |words| {
        for (x, words) in x.chunks_exact(depth).zip(words.chunks_exact_mut(stride)) {
            along(p.precision, x, words);
        }
        // SAFETY: the caller's promise; `words` holds the rows at a stride of `stride`.
        unsafe { tiles::<L>(p, words.as_ptr(), stride, rows, panels, out) }
    });
}

/// The tiles of a task whose rows stand as words at `a`, `a_stride` apart.
///
/// # Safety
/// As for [`block`]; `a` must be good for the rows.
unsafe fn tiles<L: Lanes>(
    p: &Product,
    a: *const u32,
    a_stride: usize,
    rows: Range<usize>,
    panels: Range<usize>,
    out: &SharedMut<f32>,
) {
    let (columns, all_steps) = (p.panels.columns, p.panels.steps);
    let tiles = rows.len().div_ceil(L::ROWS);
    let highest = rows.len().div_ceil(tiles);
    let slab = if tiles == 1 { all_steps } else { all_steps.div_ceil(all_steps.div_ceil(SLAB)) };
    let end = columns.min(panels.end * PANEL);
    for from in (0..all_steps).step_by(slab) {
        let steps = slab.min(all_steps - from);
        let last = from + steps == all_steps;
        let mut column = panels.start * PANEL;
        while column < end {
            let (_, span) = L::tile(highest, (end - column).next_multiple_of(16), false);
            let b = (column / PANEL * all_steps + from) * PANEL + column % PANEL;
            // SAFETY: step `from` of a column of the packed weight.
            let b = unsafe { p.panels.words().as_ptr().add(b) };
            // While the tiles work on this panel they fetch the next one, each its share.
            let (ahead, ahead_stride) = if column + span < end && span == PANEL {
                (b.wrapping_add(all_steps * PANEL), PANEL / tiles)
            } else {
                (b, 0)
            };
            for t in 0..tiles {
                // Tiles of (almost) equal height.
                let (row, next) = (t * rows.len() / tiles, (t + 1) * rows.len() / tiles);
                let (tile, width) = L::tile(next - row, span, false);
                assert_eq!(width, span);
                // SAFETY: `cut` has checked the slices against rows, steps and columns; the block of the output is
                // ours by the caller's promise.
                unsafe {
                    tile(&Tile {
                        steps,
                        a: a.add(row * a_stride + from),
                        a_stride,
                        b,
                        b_panel: all_steps * PANEL,
                        ahead: ahead.wrapping_add(t * steps * ahead_stride),
                        ahead_stride,
                        out: out.start().add((rows.start + row) * columns + column),
                        out_row: columns,
                        from_out: p.accumulate || from > 0,
                        bias: match p.bias {
                            Some(bias) if last => bias.as_ptr().add(column),
                            _ => std::ptr::null(),
                        },
                        columns: end - column,
                    });
                }
            }
            column += span;
        }
    }
}
