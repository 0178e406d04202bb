//! The weight gradient on the CPU: `dW += dyᵀ · x`, cut over blocks of dW, never over rows.
//!
//! A task owns a block of dW and goes through all rows, [`PASS`] at a time: it packs its columns of `x` into panels
//! and lets each panel meet the tiles of its outputs, whose sums go on from dW. In f32 `dy` is read where it
//! stands; in bf16 the task rounds its columns of `dy` to words of two rows. Packing for oneself costs less than
//! fetching what another core has packed.

use std::ops::Range;

use super::cpu::{ALONE, with_lanes};
use super::lanes::{Lanes, Plain};
use super::panels::{PANEL, steps};
use super::rounding::{buffer, copy, interleave};
use super::tile::Tile;
use crate::threads::{SharedMut, count, parallel};
use crate::{Isa, Precision};

/// Rows of one pass; even, so that pairs of rows stay together.
const PASS: usize = 256;
/// Tiles that meet a panel before the next panel: their columns of `dy` stay in the second-level cache.
const TILES: usize = 20;

struct Gradient<'a> {
    precision: Precision,
    dy: &'a [f32],
    x: &'a [f32],
    n: usize,
    k: usize,
}

/// `dw[n, k] += dyᵀ · x`.
pub fn transposed_by_rows(
    isa: Isa,
    precision: Precision,
    dy: &[f32],
    x: &[f32],
    n: usize,
    k: usize,
    dw: &mut [f32],
) {
    let p = Gradient { precision, dy, x, n, k };
    with_lanes!(isa, precision, cut(&p, dw))
}

/// Cuts dW into tasks.
fn cut<L: Lanes>(p: &Gradient, dw: &mut [f32]) {
    let rows = p.dy.len() / p.n;
    assert!(p.dy.len() == rows * p.n && p.x.len() == rows * p.k && dw.len() == p.n * p.k);
    if rows == 0 {
        return;
    }
    let threads = if rows * p.n * p.k < ALONE { 1 } else { count() };
    let (tiles, panels) = (p.n.div_ceil(L::ROWS), p.k.div_ceil(PANEL));
    let (tile_runs, panel_runs) = grid(tiles, panels, threads);
    let dw = SharedMut::new(dw);
    let task = |task: usize| {
        let (i, j) = (task / panel_runs, task % panel_runs);
        let outputs = i * tiles / tile_runs * L::ROWS..p.n.min((i + 1) * tiles / tile_runs * L::ROWS);
        let inputs = j * panels / panel_runs * PANEL..p.k.min((j + 1) * panels / panel_runs * PANEL);
        // SAFETY: tasks cover disjoint blocks of dw.
        unsafe { block::<L>(p, outputs, inputs, &dw) }
    };
    let tasks = tile_runs * panel_runs;
    if threads == 1 { (0..tasks).for_each(task) } else { parallel(tasks, task) }
}

/// Into how many runs of tiles and of panels to cut, so that `threads` threads are done soonest. A task of t tiles
/// by p panels costs about t · p, and a little for the packing of each tile and panel.
fn grid(tiles: usize, panels: usize, threads: usize) -> (usize, usize) {
    let most = if threads == 1 { 1 } else { 4 * threads };
    let cost = |&(tile_runs, panel_runs): &(usize, usize)| {
        let (t, p) = (tiles.div_ceil(tile_runs), panels.div_ceil(panel_runs));
        (tile_runs * panel_runs).div_ceil(threads) * (8 * t * p + 2 * p + t)
    };
    (1..=tiles.min(most))
        .flat_map(|tile_runs| {
            (1..=panels.min(most / tile_runs)).map(move |panel_runs| (tile_runs, panel_runs))
        })
        .min_by_key(cost)
        .unwrap_or((1, 1))
}

/// One task: `dw[outputs, inputs]`.
///
/// # Safety
/// Nothing else may touch this block of dw meanwhile, and the machine must have the instructions of `L`.
unsafe fn block<L: Lanes>(p: &Gradient, outputs: Range<usize>, inputs: Range<usize>, dw: &SharedMut<f32>) {
    let pass = PASS.min((p.dy.len() / p.n).next_multiple_of(2));
    let most = steps(pass, p.precision);
    let panels = inputs.len().div_ceil(PANEL);
    let right_words = panels * most * PANEL;
    let left_words = if p.precision == Precision::Bf16 { most * outputs.len() } else { 0 };
    buffer(right_words + left_words, |words| {
        let (right, left) = words.split_at_mut(right_words);
        for (dy, x) in p.dy.chunks(pass * p.n).zip(p.x.chunks(pass * p.k)) {
            let steps = steps(dy.len() / p.n, p.precision);
            pack(p, x, &inputs, steps, right);
            let (a, a_stride) = match p.precision {
                Precision::F32 => (dy[outputs.start..].as_ptr().cast::<u32>(), p.n),
                Precision::Bf16 => {
                    for (step, words) in left.chunks_exact_mut(outputs.len()).take(steps).enumerate() {
                        let (even, odd) = pair(dy, p.n, step, &outputs);
                        interleave(even, odd, words);
                    }
                    (left.as_ptr(), outputs.len())
                }
            };
            // SAFETY: `a` holds the outputs' columns of the rows of this pass at `a_stride`, `right` the panels of
            // the inputs; the block of dw is ours by the caller's promise.
            unsafe { tiles::<L>(p, a, a_stride, right.as_ptr(), steps, &outputs, &inputs, dw) }
        }
    });
}

/// The columns `range` of rows 2 · step and, where it exists, 2 · step + 1.
fn pair<'a>(
    rows: &'a [f32],
    width: usize,
    step: usize,
    range: &Range<usize>,
) -> (&'a [f32], Option<&'a [f32]>) {
    let at = 2 * step * width + range.start;
    (&rows[at..at + range.len()], rows.get(at + width..at + width + range.len()))
}

/// Packs the columns `inputs` of the rows of one pass: `[panel][step][32]`, zeros past the last column.
fn pack(p: &Gradient, x: &[f32], inputs: &Range<usize>, steps: usize, out: &mut [u32]) {
    for (panel, out) in out.chunks_exact_mut(steps * PANEL).take(inputs.len().div_ceil(PANEL)).enumerate() {
        let from = inputs.start + panel * PANEL;
        let range = from..inputs.end.min(from + PANEL);
        for (step, words) in out.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
            match p.precision {
                Precision::F32 => {
                    let values = &x[step * p.k + range.start..][..range.len()];
                    match <&[f32; PANEL]>::try_from(values) {
                        Ok(values) => *words = values.map(f32::to_bits),
                        Err(_) => copy(values, words),
                    }
                }
                Precision::Bf16 => {
                    let (even, odd) = pair(x, p.k, step, &range);
                    interleave(even, odd, words);
                }
            }
            words[range.len()..].fill(0);
        }
    }
}

/// The tiles of one pass of a task.
///
/// # Safety
/// As for [`block`]; `a` and `right` must be good for the outputs, inputs and steps.
unsafe fn tiles<L: Lanes>(
    p: &Gradient,
    a: *const u32,
    a_stride: usize,
    right: *const u32,
    steps: usize,
    outputs: &Range<usize>,
    inputs: &Range<usize>,
    dw: &SharedMut<f32>,
) {
    let tiles = outputs.len().div_ceil(L::ROWS);
    let highest = outputs.len().div_ceil(tiles);
    for first in (0..tiles).step_by(TILES) {
        let mut column = 0;
        while column < inputs.len() {
            let (_, span) = L::tile(highest, (inputs.len() - column).next_multiple_of(16), true);
            for t in first..tiles.min(first + TILES) {
                // Tiles of (almost) equal height.
                let (row, next) = (t * outputs.len() / tiles, (t + 1) * outputs.len() / tiles);
                let (tile, width) = L::tile(next - row, span, true);
                assert_eq!(width, span);
                let out = (outputs.start + row) * p.k + inputs.start + column;
                // SAFETY: the caller's promise; the last row and column of the tile are inside `outputs`, `inputs`.
                unsafe {
                    tile(&Tile {
                        steps,
                        a: a.add(row),
                        a_stride,
                        b: right.add(column / PANEL * steps * PANEL + column % PANEL),
                        b_panel: steps * PANEL,
                        ahead: right,
                        ahead_stride: 0,
                        out: dw.start().add(out),
                        out_row: p.k,
                        from_out: true,
                        bias: std::ptr::null(),
                        columns: inputs.len() - column,
                    });
                }
            }
            column += span;
        }
    }
}
