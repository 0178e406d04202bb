//! Rows by packed weight on the CPU: the work cut into tasks.
//!
//! A task is a block of rows by a run of panels. Within it one panel (or a slab of it) meets all rows of the
//! block, so that it comes from memory once and from the caches after. f32 rows are read where they stand. bf16
//! rows are rounded by each task that needs them, into its thread's own buffer: words that another core has just
//! written cost more to fetch than to make.

use std::ops::Range;

use super::lanes::Plain;
use super::panels::{PANEL, Panels};
use super::rounding::buffer;
use super::way::{Area, Way};
use crate::threads::{SharedMut, count, parallel};
use crate::{Isa, Precision};

/// Steps of one pass over a panel: a slab of 64 KiB, with a tile's rows in the first-level cache beside it.
const SLAB: usize = 512;
/// Row tiles of a task, at most.
const TILES: usize = 8;

/// `out[rows, columns] = x · panels (+ bias)`.
struct Product<'a> {
    precision: Precision,
    x: &'a [f32],
    rows: usize,
    panels: &'a Panels,
    bias: Option<&'a [f32]>,
    accumulate: bool,
}

/// Calls `$f::<W>` for the way of an instruction set and a precision.
macro_rules! with_way {
    ($isa:expr, $precision:expr, $f:ident($($arg:expr),*)) => {
        match ($precision, $isa) {
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, Isa::Amx) => $f::<super::amx::Amx>($($arg),*),
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, Isa::Avx512Bf16) => $f::<super::lanes::Avx512Bf16>($($arg),*),
            (Precision::Bf16, isa) => panic!("linear: bf16 products need avx512bf16 or amx, this run uses {isa}"),
            #[cfg(target_arch = "x86_64")]
            (Precision::F32, isa) if isa >= Isa::Avx512 => $f::<super::lanes::Avx512>($($arg),*),
            #[cfg(target_arch = "x86_64")]
            (Precision::F32, Isa::Avx2) => $f::<super::lanes::Avx2>($($arg),*),
            (Precision::F32, _) => $f::<Plain>($($arg),*),
        }
    };
}
pub(super) use with_way;

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
    let p = Product { precision, x, rows: x.len() / panels.depth, panels, bias, accumulate };
    with_way!(isa, precision, cut(&p, out))
}

/// Cuts a product into tasks. No element's order of summation depends on the cut.
fn cut<W: Way>(p: &Product, out: &mut [f32]) {
    // Everything that a tile will touch lies inside these slices.
    let (columns, depth, steps) = (p.panels.columns, p.panels.depth, p.panels.steps);
    let panels = columns.div_ceil(PANEL);
    assert!(p.x.len() == p.rows * depth && out.len() == p.rows * columns);
    assert!(p.panels.words().len() == panels * p.panels.frame * PANEL);
    assert!(p.bias.is_none_or(|bias| bias.len() == columns));

    let work = p.rows * steps * columns;
    let threads = if work < W::ALONE { 1 } else { count() };
    // Eight tasks a thread or so, to even out a late start and a busy machine.
    let wanted = if threads == 1 { 1 } else { 8 * threads };
    let rows = (p.rows.div_ceil(W::ROWS) / wanted).clamp(TILES / 2, TILES) * W::ROWS;
    let blocks = p.rows.div_ceil(rows);
    if blocks == 0 {
        return;
    }
    let runs = wanted.div_ceil(blocks).min(work.div_ceil(W::ALONE / 2)).min(panels);
    let out = SharedMut::new(out);
    let tasks = |f: &(dyn Fn(Range<usize>, Range<usize>) + Sync)| {
        let task = |task: usize| {
            let (at, part) = (task / runs * rows, task % runs);
            f(at..p.rows.min(at + rows), part * panels / runs..(part + 1) * panels / runs);
        };
        if threads == 1 { (0..blocks * runs).for_each(task) } else { parallel(blocks * runs, task) }
    };

    // f32 rows at a multiple of 2 KiB fall on few sets of the first-level cache: several such rows are copied apart.
    let apart = p.precision == Precision::Bf16 || depth.is_multiple_of(512) && p.rows > 4;
    let stride = W::stride(steps);
    if !apart {
        tasks(&|rows, panels| {
            // SAFETY: tasks cover disjoint blocks of the output; the rows stand at a stride of `depth`.
            unsafe { block::<W>(p, p.x[rows.start * depth..].as_ptr().cast(), depth, rows, panels, &out) }
        });
    } else {
        tasks(&|rows, panels| {
            buffer(W::room(rows.len(), steps), |words| {
                W::round(p.precision, &p.x[rows.start * depth..rows.end * depth], depth, words);
                // SAFETY: tasks cover disjoint blocks of the output; `words` holds the rows.
                unsafe { block::<W>(p, words.as_ptr(), stride, rows, panels, &out) }
            });
        });
    }
}

/// One task: some rows, which stand as words at `a`, by some panels.
///
/// # Safety
/// Nothing else may touch this block of the output meanwhile, `a` must be good for the rows, and the machine must
/// have the instructions of `W`.
unsafe fn block<W: Way>(
    p: &Product,
    a: *const u32,
    a_stride: usize,
    rows: Range<usize>,
    panels: Range<usize>,
    out: &SharedMut<f32>,
) {
    let (columns, steps, b_panel) = (p.panels.columns, p.panels.steps, p.panels.frame * PANEL);
    let column = panels.start * PANEL;
    let slab =
        if rows.len() <= W::ROWS { steps } else { steps.div_ceil(steps.div_ceil(SLAB)).next_multiple_of(16) };
    for from in (0..steps).step_by(slab) {
        let last = from + slab >= steps;
        // SAFETY: `cut` has checked the slices against rows, steps and columns; the block of the output is ours by
        // the caller's promise.
        unsafe {
            W::rows(&Area {
                rows: rows.len(),
                columns: columns.min(panels.end * PANEL) - column,
                steps: slab.min(steps - from),
                a: a.add(from * W::STEP),
                a_stride,
                b: p.panels.words().as_ptr().add(panels.start * b_panel + from * PANEL),
                b_panel,
                out: out.start().add(rows.start * columns + column),
                out_row: columns,
                from_out: p.accumulate || from > 0,
                bias: match p.bias {
                    Some(bias) if last => bias.as_ptr().add(column),
                    _ => std::ptr::null(),
                },
            });
        }
    }
}
