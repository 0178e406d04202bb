//! Forward and decode: pages are the outer loop, tiles of query rows the inner one, so that a page is gathered once
//! and stays in the first cache while all rows of a block pass over it.

use std::ops::Range;

use super::cache::{Kept, Rows};
use super::stored::Stored;
use super::tile::{Fold, Pages, by_tiles, fold};
use super::{Cache, PAGE, Segment, Shape};
use crate::lanes::{Lanes, WIDTH, ln};
use crate::scratch;
use crate::threads::{self, SharedMut};

/// Query rows (token × head) that one task takes through the pages together.
const BLOCK: usize = 256;

/// Sequences with one row each that a tile takes through their own pages side by side.
const TOGETHER: usize = 4;

/// A block of queries of one segment and one kv head.
pub(super) struct Block<'a> {
    pub segment: &'a Segment,
    pub kv_head: usize,
    /// Queries, counted from the segment's first.
    pub queries: Range<usize>,
}

impl Block<'_> {
    /// The position of the block's first query.
    pub fn position(&self) -> usize {
        self.segment.path.len() - self.segment.queries.len() + self.queries.start
    }

    /// The row in q and out of the block's first query.
    pub fn row(&self) -> usize {
        self.segment.queries.start + self.queries.start
    }

    /// Pages that the block sees.
    pub fn pages(&self) -> usize {
        (self.position() + self.queries.len()).div_ceil(PAGE)
    }

    /// The rows of k and v in one page, as far as the block sees.
    pub fn page(&self, page: usize) -> &[u32] {
        &self.segment.path[page * PAGE..(self.position() + self.queries.len()).min((page + 1) * PAGE)]
    }

    /// The first tile row (query × group) that sees anything of a page.
    pub fn first(&self, page: usize, group: usize) -> usize {
        (page * PAGE).saturating_sub(self.position()) * group
    }

    /// How many positions of a page each of R tile rows sees.
    #[inline(always)]
    pub fn seen<const R: usize>(&self, page: usize, from: usize, group: usize) -> [usize; R] {
        std::array::from_fn(|r| (self.position() + (from + r) / group + 1 - page * PAGE).min(PAGE))
    }
}

/// The blocks of a segment for one kv head, in order.
pub(super) fn blocks(segment: &Segment, kv_head: usize, group: usize) -> impl Iterator<Item = Block<'_>> {
    let step = (BLOCK / group).max(1);
    let count = segment.queries.len();
    (0..count).step_by(step).map(move |start| Block {
        segment,
        kv_head,
        queries: start..count.min(start + step),
    })
}

/// Takes the next `n` values, rounded up to whole lines.
pub(super) fn take<'a>(rest: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    let (part, left) = std::mem::take(rest).split_at_mut(n.next_multiple_of(WIDTH));
    *rest = left;
    &mut part[..n]
}

/// Values of scratch that [`take`] needs for parts of these sizes.
pub(super) fn room(parts: &[usize]) -> usize {
    parts.iter().map(|n| n.next_multiple_of(WIDTH)).sum()
}

on_lanes! {
    /// Columns `[width][PAGE]` from rows of `width` values at `head` in slots of `stride`; positions that are not there
    /// become zeros.
    pub(super) fn gather_columns(x: &[f32], rows: &[u32], stride: usize, head: usize, width: usize, to: &mut [f32])
        = gather_columns_body;
}

#[inline(always)]
fn gather_columns_body<V: Lanes>(
    x: &[f32],
    rows: &[u32],
    stride: usize,
    head: usize,
    width: usize,
    to: &mut [f32],
) {
    assert!(to.len() == width * PAGE && rows.len() <= PAGE);
    if rows.len() < PAGE {
        to.fill(0.0);
    }
    // Whole squares of 16 × 16 go through registers, the rest one by one.
    let squares = (rows.len() / WIDTH * WIDTH, width / WIDTH * WIDTH);
    for j in (0..squares.0).step_by(WIDTH) {
        let part: [*const f32; WIDTH] =
            std::array::from_fn(|i| x[rows[j + i] as usize * stride + head * width..][..width].as_ptr());
        for d in (0..squares.1).step_by(WIDTH) {
            // SAFETY: d + 16 ≤ width, j + 16 ≤ PAGE.
            unsafe { V::transpose(&part.map(|row| row.add(d)), to.as_mut_ptr().add(d * PAGE + j), PAGE) };
        }
    }
    for (j, &row) in rows.iter().enumerate() {
        let done = if j < squares.0 { squares.1 } else { 0 };
        for (d, &x) in x[row as usize * stride + head * width..][..width].iter().enumerate().skip(done) {
            to[d * PAGE + j] = x;
        }
    }
}

/// Rows `[PAGE][padded]` from rows of `width` values at `head` in slots of `stride`, padded with zeros.
pub(super) fn gather_rows(x: &[f32], rows: &[u32], stride: usize, head: usize, width: usize, to: &mut [f32]) {
    let padded = to.len() / PAGE;
    for (to, &row) in to.chunks_exact_mut(padded).zip(rows) {
        to[..width].copy_from_slice(&x[row as usize * stride + head * width..][..width]);
        to[width..].fill(0.0);
    }
}

/// The query rows of a block, times `scale`, to `[rows][padded]`.
pub(super) fn gather_queries(x: &[f32], block: &Block, s: Shape, width: usize, scale: f32, to: &mut [f32]) {
    let group = s.heads / s.kv_heads;
    let padded = to.len() / (block.queries.len() * group);
    for (r, to) in to.chunks_exact_mut(padded).enumerate() {
        let slot = (block.row() + r / group) * s.heads + block.kv_head * group + r % group;
        for (to, x) in to.iter_mut().zip(&x[slot * width..][..width]) {
            *to = x * scale;
        }
        to[width..].fill(0.0);
    }
}

/// All blocks of all segments in parallel.
pub(super) fn forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    segments: &[Segment],
    s: Shape,
    out: &mut [f32],
    lse: &mut [f32],
) {
    let (group, dvp) = (s.heads / s.kv_heads, s.dv.next_multiple_of(WIDTH));
    let mut tasks: Vec<Block> = segments
        .iter()
        .flat_map(|segment| (0..s.kv_heads).flat_map(move |kv_head| blocks(segment, kv_head, group)))
        .collect();
    // The longest first, so that no thread ends with a long one alone.
    tasks.sort_by_key(|block| std::cmp::Reverse(block.pages() * block.queries.len()));
    let (out, lse) = (SharedMut::new(out), SharedMut::new(lse));
    threads::parallel(tasks.len(), |task| {
        let block = &tasks[task];
        let rows = block.queries.len() * group;
        let parts = [s.dk * PAGE, PAGE * dvp, rows * s.dk, rows * dvp, rows * WIDTH, rows];
        scratch::with(room(&parts), |mut rest| {
            let [keys, values, queries, sums, lanes, tops] = parts.map(|n| take(&mut rest, n));
            gather_queries(q, block, s, s.dk, s.scale, queries);
            start(sums, lanes, tops);
            let f = Fold {
                q: queries.as_ptr(),
                top: tops.as_mut_ptr(),
                sum: lanes.as_mut_ptr(),
                out: sums.as_mut_ptr(),
            };
            for page in 0..block.pages() {
                gather_columns(k, block.page(page), s.kv_heads * s.dk, block.kv_head, s.dk, keys);
                gather_rows(v, block.page(page), s.kv_heads * s.dv, block.kv_head, s.dv, values);
                fold_block(f, block, page, group, keys, values, s.dk);
            }
            for r in 0..rows {
                let slot = (block.row() + r / group) * s.heads + block.kv_head * group + r % group;
                // SAFETY: a slot belongs to one block.
                let (out, lse) =
                    unsafe { (out.slice(slot * s.dv..(slot + 1) * s.dv), lse.slice(slot..slot + 1)) };
                let sum = finish(&lanes[r * WIDTH..][..WIDTH], &sums[r * dvp..][..s.dv], out);
                lse[0] = tops[r] + ln(sum);
            }
        });
    });
}

/// No page folded yet.
fn start(sums: &mut [f32], lanes: &mut [f32], tops: &mut [f32]) {
    sums.fill(0.0);
    lanes.fill(0.0);
    tops.fill(f32::NEG_INFINITY);
}

on_lanes! {
    /// Folds one page into all rows of a block which see it.
    fn fold_block(f: Fold, block: &Block<'_>, page: usize, group: usize, keys: &[f32], values: &[f32], dk: usize)
        = fold_block_body;
    /// Folds the pages of some sequences into their rows, `group` rows a sequence.
    fn fold_tables(f: Fold, cache: &Cache, tables: &[&[u32]], lens: &[usize], kv_head: usize, group: usize)
        = fold_cache;
    /// out = sums / Σ lanes; returns that sum.
    fn finish(lanes: &[f32], sums: &[f32], out: &mut [f32]) -> f32 = finish_body;
}

#[inline(always)]
fn fold_block_body<V: Lanes>(
    f: Fold,
    block: &Block,
    page: usize,
    group: usize,
    keys: &[f32],
    values: &[f32],
    dk: usize,
) {
    let dvp = values.len() / PAGE;
    by_tiles!(V, block.first(page, group)..block.queries.len() * group, |from, R| {
        let seen = block.seen::<R>(page, from, group);
        // SAFETY: `f` holds the block's rows, the page its positions.
        unsafe {
            fold::<V, f32, R>(
                f,
                from,
                Pages::Shared(keys.as_ptr()),
                Pages::Shared(values.as_ptr()),
                dk,
                dvp,
                &seen,
            )
        }
    });
}

#[inline(always)]
fn fold_cache<V: Lanes>(
    f: Fold,
    cache: &Cache,
    tables: &[&[u32]],
    lens: &[usize],
    kv_head: usize,
    group: usize,
) {
    match &cache.kept {
        Kept::F32(rows) => fold_rows::<V, f32>(f, rows, cache.shape(), tables, lens, kv_head, group),
        Kept::Bf16(rows) => fold_rows::<V, u16>(f, rows, cache.shape(), tables, lens, kv_head, group),
    }
}

#[inline(always)]
fn fold_rows<V: Lanes, S: Stored>(
    f: Fold,
    rows: &Rows<S>,
    s: Shape,
    tables: &[&[u32]],
    lens: &[usize],
    kv_head: usize,
    group: usize,
) {
    let (dk, dvp) = (s.dk, s.dv.next_multiple_of(WIDTH));
    let longest = lens.iter().max().map_or(0, |len| len.div_ceil(PAGE));
    for page in 0..longest {
        let seen = |b: usize| lens[b].saturating_sub(page * PAGE).min(PAGE);
        let mut b = 0;
        while b < lens.len() {
            if seen(b) == 0 {
                b += 1;
                continue;
            }
            // Neighbours that hold the same page read it together: a prompt's samples, a prompt's own rows.
            let id = tables[b][page];
            let mut end = b + 1;
            while end < lens.len() && seen(end) >= seen(end - 1) && tables[end][page] == id {
                end += 1;
            }
            if group == 1
                && end == b + 1
                && V::TILE >= TOGETHER
                && b + TOGETHER <= lens.len()
                && (b..b + TOGETHER).all(|b| seen(b) > 0)
            {
                // One row a page: several sequences go side by side.
                let pages: [_; TOGETHER] = std::array::from_fn(|i| rows.page(tables[b + i][page], kv_head));
                let (keys, values) = (pages.map(|p| p.0.as_ptr()), pages.map(|p| p.1.as_ptr()));
                let seen = std::array::from_fn(|i| seen(b + i));
                ahead(rows, tables, lens, b + TOGETHER, page, kv_head, TOGETHER);
                // SAFETY: as below, each row with a page of its own.
                unsafe { fold::<V, S, TOGETHER>(f, b, Pages::Own(keys), Pages::Own(values), dk, dvp, &seen) };
                b += TOGETHER;
                continue;
            }
            ahead(rows, tables, lens, end, page, kv_head, 1);
            let (keys, values) = rows.page(id, kv_head);
            by_tiles!(V, b * group..end * group, |from, R| {
                let seen: [usize; R] = std::array::from_fn(|r| seen((from + r) / group));
                // SAFETY: `f` holds `group` rows a sequence, the page PAGE positions; `seen` ascends within a run.
                unsafe {
                    fold::<V, S, R>(
                        f,
                        from,
                        Pages::Shared(keys.as_ptr()),
                        Pages::Shared(values.as_ptr()),
                        dk,
                        dvp,
                        &seen,
                    )
                }
            });
            b = end;
        }
    }
}

/// Asks the second-level cache for what is folded next: the pages of `count` sequences from `next` on, or, behind the last sequence, of
/// the first ones' following page. A page's keys and values are short and lie far from the ones before.
#[inline(always)]
fn ahead<S: Stored>(
    rows: &Rows<S>,
    tables: &[&[u32]],
    lens: &[usize],
    next: usize,
    page: usize,
    kv_head: usize,
    count: usize,
) {
    let (next, page) = if next < lens.len() { (next, page) } else { (0, page + 1) };
    for b in next..lens.len().min(next + count) {
        let seen = lens[b].saturating_sub(page * PAGE).min(PAGE);
        if seen > 0 {
            let (keys, values) = rows.page(tables[b][page], kv_head);
            prefetch(keys);
            prefetch(&values[..seen * rows.width()]);
        }
    }
}

/// Asks the second-level cache for the lines of `data`.
#[inline(always)]
fn prefetch<S>(data: &[S]) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..size_of_val(data)).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch never faults, and every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(data.as_ptr().cast::<i8>().wrapping_add(at)) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

#[inline(always)]
fn finish_body<V: Lanes>(lanes: &[f32], sums: &[f32], out: &mut [f32]) -> f32 {
    assert!(lanes.len() == WIDTH && sums.len() == out.len());
    // SAFETY: sixteen values, checked above.
    let sum = unsafe { V::load(lanes.as_ptr()) }.sum();
    let inverse = 1.0 / sum;
    out.iter_mut().zip(sums).for_each(|(out, x)| *out = x * inverse);
    sum
}

/// One task for some neighbouring sequences and one kv head.
pub(super) fn decode(q: &[f32], cache: &Cache, tables: &[&[u32]], lens: &[usize], s: Shape, out: &mut [f32]) {
    let (group, dvp) = (s.heads / s.kv_heads, s.dv.next_multiple_of(WIDTH));
    // Eight tasks a thread or so, no more rows in one than the first caches hold.
    let step = (lens.len() * s.kv_heads / (8 * threads::count())).clamp(1, (BLOCK / group).max(1));
    let runs = lens.len().div_ceil(step);
    let out = SharedMut::new(out);
    threads::parallel(runs * s.kv_heads, |task| {
        let (run, kv_head) = (task / s.kv_heads, task % s.kv_heads);
        let run = run * step..lens.len().min((run + 1) * step);
        let rows = run.len() * group;
        let parts = [rows * s.dk, rows * dvp, rows * WIDTH, rows];
        scratch::with(room(&parts), |mut rest| {
            let [queries, sums, lanes, tops] = parts.map(|n| take(&mut rest, n));
            let first = |b: usize| b * s.heads + kv_head * group;
            for (b, to) in run.clone().zip(queries.chunks_exact_mut(group * s.dk)) {
                for (to, x) in to.iter_mut().zip(&q[first(b) * s.dk..][..group * s.dk]) {
                    *to = x * s.scale;
                }
            }
            start(sums, lanes, tops);
            let f = Fold {
                q: queries.as_ptr(),
                top: tops.as_mut_ptr(),
                sum: lanes.as_mut_ptr(),
                out: sums.as_mut_ptr(),
            };
            fold_tables(f, cache, &tables[run.clone()], &lens[run.clone()], kv_head, group);
            for r in 0..rows {
                let at = (first(run.start + r / group) + r % group) * s.dv;
                // SAFETY: a task has its own heads of its own sequences.
                let out = unsafe { out.slice(at..at + s.dv) };
                finish(&lanes[r * WIDTH..][..WIDTH], &sums[r * dvp..][..s.dv], out);
            }
        });
    });
}
