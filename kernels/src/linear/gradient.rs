//! The weight gradient on the CPU: `dW += dyᵀ · x`, cut over blocks of dW, never over rows.
//!
//! The rows go by in passes. In each, all threads pack the pass once (both operands in panels of 32 columns, a step
//! after the other, bf16 rounded to words of two rows), then the blocks of dW meet the panels, their sums going on
//! from dW. A wide dy is packed a strip of outputs at a time, so that the packed pass stays small.

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
/// Outputs that are packed at the same time.
const STRIP: usize = 2048;

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

/// All rows, pass by pass and strip by strip.
fn passes<W: Way>(p: &Gradient, dw: &mut [f32]) {
    let (n, k, precision) = (p.n, p.k, p.precision);
    let rows = p.dy.len() / n;
    assert!(p.dy.len() == rows * n && p.x.len() == rows * k && dw.len() == n * k);
    if rows == 0 {
        return;
    }
    let threads = if rows * n * k < W::ALONE { 1 } else { count() };
    let pass = W::PASS * if precision == Precision::Bf16 { 2 } else { 1 };
    // Words of a packed panel of the longest pass.
    let panel = frame(steps(pass.min(rows), precision), precision) * PANEL;
    let strip = STRIP.min(n.next_multiple_of(PANEL));
    let left_words = strip / PANEL * panel;
    let dw = SharedMut::new(dw);
    buffer(left_words + k.div_ceil(PANEL) * panel, |words| {
        let (left, right) = words.split_at_mut(left_words);
        for (dy, x) in p.dy.chunks(pass * n).zip(p.x.chunks(pass * k)) {
            for first in (0..n).step_by(strip) {
                let outputs = first..n.min(first + strip);
                let (to_left, to_right) = (SharedMut::new(left), SharedMut::new(right));
                let pack = |run: usize| {
                    let dy = &dy[run * RUN * n..dy.len().min((run + 1) * RUN * n)];
                    pack_run(dy, n, outputs.clone(), precision, run, panel, &to_left, W::pack);
                    if first == 0 {
                        let x = &x[run * RUN * k..x.len().min((run + 1) * RUN * k)];
                        pack_run(x, k, 0..k, precision, run, panel, &to_right, pack_rows);
                    }
                };
                let runs = (dy.len() / n).div_ceil(RUN);
                if threads == 1 {
                    (0..runs).for_each(pack)
                } else {
                    parallel(runs, pack)
                }
                let steps = steps(dy.len() / n, precision);
                blocks::<W>(p, left, right, panel, steps, outputs, threads, &dw);
            }
        }
    });
}

/// Packs one run of rows: its part of every panel.
fn pack_run(
    values: &[f32],
    width: usize,
    columns: Range<usize>,
    precision: Precision,
    run: usize,
    panel: usize,
    to: &SharedMut<u32>,
    pack: impl Fn(Precision, &[f32], usize, Range<usize>, &mut [u32]),
) {
    let size = frame(steps(values.len() / width, precision), precision) * PANEL;
    let at = steps(run * RUN, precision) * PANEL;
    for (i, from) in columns.clone().step_by(PANEL).enumerate() {
        // SAFETY: each run has its own steps of each panel.
        let words = unsafe { to.slice(i * panel + at..i * panel + at + size) };
        pack(precision, values, width, from..columns.end.min(from + PANEL), words);
    }
}

/// Cuts the dW of a strip into tasks, for one packed pass of `steps` steps.
fn blocks<W: Way>(
    p: &Gradient,
    left: &[u32],
    right: &[u32],
    panel: usize,
    steps: usize,
    outputs: Range<usize>,
    threads: usize,
    dw: &SharedMut<f32>,
) {
    let (rows, columns) = (outputs.len().div_ceil(PANEL), p.k.div_ceil(PANEL));
    let (row_runs, column_runs) = grid(rows, columns, threads);
    let task = |task: usize| {
        let (i, j) = (task / column_runs, task % column_runs);
        let of = |i: usize, runs: usize, panels: usize, end: usize| {
            i * panels / runs * PANEL..end.min((i + 1) * panels / runs * PANEL)
        };
        let (mine, inputs) = (of(i, row_runs, rows, outputs.len()), of(j, column_runs, columns, p.k));
        // SAFETY: tasks cover disjoint blocks of dw; both operands hold their panels, `panel` words apart.
        unsafe {
            W::outer(&Area {
                rows: mine.len(),
                columns: inputs.len(),
                steps,
                a: left[mine.start / PANEL * panel..].as_ptr(),
                a_stride: panel,
                b: right[inputs.start / PANEL * panel..].as_ptr(),
                b_panel: panel,
                out: dw.start().add((outputs.start + mine.start) * p.k + inputs.start),
                out_row: p.k,
                from_out: true,
                bias: std::ptr::null(),
            });
        }
    };
    let tasks = row_runs * column_runs;
    if threads == 1 { (0..tasks).for_each(task) } else { parallel(tasks, task) }
}

/// Into how many runs of row panels and of column panels to cut, so that `threads` threads are done soonest. A task
/// of r by c panels costs about r · c, and a little for fetching each panel.
fn grid(rows: usize, columns: usize, threads: usize) -> (usize, usize) {
    let most = if threads == 1 { 1 } else { 4 * threads };
    let cost = |&(row_runs, column_runs): &(usize, usize)| {
        let (r, c) = (rows.div_ceil(row_runs), columns.div_ceil(column_runs));
        (row_runs * column_runs).div_ceil(threads) * (16 * r * c + r + c)
    };
    (1..=rows.min(most))
        .flat_map(|row_runs| {
            (1..=columns.min(most / row_runs)).map(move |column_runs| (row_runs, column_runs))
        })
        .min_by_key(cost)
        .unwrap_or((1, 1))
}
