//! The weight gradient on the CPU: `dW += dyᵀ · x`, cut over blocks of dW, never over rows.
//!
//! A task is a block of dW. The rows go by in passes: the task packs its columns of both operands (in panels of 32
//! columns, a step after the other, bf16 rounded to words of two rows), then the panels meet, their sums going on from
//! dW. What two tasks need is packed twice: a panel that another core has just written costs more to fetch than to pack.

use std::ops::Range;

use super::cpu::with_way;
use super::lanes::Plain;
use super::panels::{PANEL, frame, steps};
use super::rounding::{buffer, pack_rows};
use super::way::{Area, Way};
use crate::threads::{SharedMut, count, parallel};
use crate::{Isa, Precision};

/// Rows that one packing task takes; a pass is a multiple of them, so pairs and blocks of rows stay together.
const RUN: usize = 32;
/// Panels of a whole pass, of both operands, that a task holds at a time, at most: they stay in the second-level cache.
const HELD: usize = 24;

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
    with_way!(isa, precision, passes(&p, dw))
}

/// All blocks of dW, each with all rows.
fn passes<W: Way>(p: &Gradient, dw: &mut [f32]) {
    let (n, k) = (p.n, p.k);
    let rows = p.dy.len() / n;
    assert!(p.dy.len() == rows * n && p.x.len() == rows * k && dw.len() == n * k);
    if rows == 0 {
        return;
    }
    let threads = if rows * n * k < W::ALONE { 1 } else { count() };
    let (left, right) = (n.div_ceil(PANEL), k.div_ceil(PANEL));
    // Of fewer rows than a pass, more panels.
    let held = HELD * W::PASS / steps(rows, p.precision).clamp(W::PASS / 4, W::PASS);
    let (row_runs, column_runs) = grid(left, right, threads, held);
    let dw = SharedMut::new(dw);
    let task = |task: usize| {
        let of = |i: usize, runs: usize, panels: usize, end: usize| {
            i * panels / runs * PANEL..end.min((i + 1) * panels / runs * PANEL)
        };
        let (i, j) = (task / column_runs, task % column_runs);
        // SAFETY: tasks cover disjoint blocks of dw.
        unsafe { block::<W>(p, of(i, row_runs, left, n), of(j, column_runs, right, k), &dw) }
    };
    let tasks = row_runs * column_runs;
    if threads == 1 { (0..tasks).for_each(task) } else { parallel(tasks, task) }
}

/// One task: the outputs `outputs` by the inputs `inputs`, pass by pass.
///
/// # Safety
/// Nothing else may touch this block of dw meanwhile, and the machine must have the instructions of `W`.
unsafe fn block<W: Way>(p: &Gradient, outputs: Range<usize>, inputs: Range<usize>, dw: &SharedMut<f32>) {
    let (n, k, precision) = (p.n, p.k, p.precision);
    let pass = W::PASS * if precision == Precision::Bf16 { 2 } else { 1 };
    // Words of a packed panel of the longest pass.
    let panel = frame(steps(pass.min(p.dy.len() / n), precision), precision) * PANEL;
    let left_words = outputs.len().div_ceil(PANEL) * panel;
    buffer(left_words + inputs.len().div_ceil(PANEL) * panel, |words| {
        let (left, right) = words.split_at_mut(left_words);
        for (dy, x) in p.dy.chunks(pass * n).zip(p.x.chunks(pass * k)) {
            pack(dy, n, outputs.clone(), precision, panel, left, W::pack);
            pack(x, k, inputs.clone(), precision, panel, right, pack_rows);
            // SAFETY: the caller's promise; both operands hold their panels, `panel` words apart.
            unsafe {
                W::outer(&Area {
                    rows: outputs.len(),
                    columns: inputs.len(),
                    steps: steps(dy.len() / n, precision),
                    a: left.as_ptr(),
                    a_stride: panel,
                    b: right.as_ptr(),
                    b_panel: panel,
                    out: dw.start().add(outputs.start * k + inputs.start),
                    out_row: k,
                    from_out: true,
                    bias: std::ptr::null(),
                });
            }
        }
    });
}

/// Packs the columns `columns` of some rows of `width` values: panels `panel` words apart.
fn pack(
    values: &[f32],
    width: usize,
    columns: Range<usize>,
    precision: Precision,
    panel: usize,
    to: &mut [u32],
    pack: impl Fn(Precision, &[f32], usize, Range<usize>, &mut [u32]),
) {
    for (run, values) in values.chunks(RUN * width).enumerate() {
        let size = frame(steps(values.len() / width, precision), precision) * PANEL;
        let at = steps(run * RUN, precision) * PANEL;
        for (i, from) in columns.clone().step_by(PANEL).enumerate() {
            let words = &mut to[i * panel + at..][..size];
            pack(precision, values, width, from..columns.end.min(from + PANEL), words);
        }
    }
}

/// Into how many runs of row panels and of column panels to cut, so that `threads` threads are done soonest. A task of r by
/// c panels costs about r · c, and two fifths of that for packing each panel.
fn grid(rows: usize, columns: usize, threads: usize, held: usize) -> (usize, usize) {
    let runs = |panels: usize| (1..=panels.min(held - 1)).map(move |most| panels.div_ceil(most));
    let cost = |&(row_runs, column_runs): &(usize, usize)| {
        let (r, c) = (rows.div_ceil(row_runs), columns.div_ceil(column_runs));
        let rounds = (row_runs * column_runs).div_ceil(threads);
        // Larger than the cache: only where a single panel of each is, too.
        (r + c > held, rounds * (5 * r * c + 2 * (r + c)))
    };
    runs(rows)
        .flat_map(|row_runs| runs(columns).map(move |column_runs| (row_runs, column_runs)))
        .min_by_key(cost)
        .unwrap_or((1, 1))
}
