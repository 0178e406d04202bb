//! Backward: weights are computed again from lse, page by page. A task takes all segments that share rows (a prompt and
//! its samples), one kv head, in order, so that every row of dk and dv is one sum in one order.

use super::cpu::{Block, blocks, gather_columns, gather_queries, gather_rows, room, take};
use super::tile::{Pages, by_tiles, mix, products, spread};
use super::{PAGE, Segment, Shape};
use crate::lanes::{Lanes, WIDTH, exp, load_upto};
use crate::scratch;
use crate::threads::{self, SharedMut};

/// Groups of segments that have rows of k and v in common, each in the order of the batch.
fn families(segments: &[Segment], rows: usize) -> Vec<Vec<&Segment>> {
    const NOBODY: usize = usize::MAX;
    let mut head: Vec<usize> = (0..segments.len()).collect();
    let mut owner = vec![NOBODY; rows];
    fn root(head: &mut [usize], mut i: usize) -> usize {
        while head[i] != i {
            head[i] = head[head[i]];
            i = head[i];
        }
        i
    }
    for (i, segment) in segments.iter().enumerate() {
        for &row in &segment.path {
            let row = row as usize;
            if owner[row] == NOBODY {
                owner[row] = i;
            } else {
                let (a, b) = (root(&mut head, owner[row]), root(&mut head, i));
                head[a.max(b)] = a.min(b);
            }
        }
    }
    let mut families: Vec<Vec<&Segment>> = vec![vec![]; segments.len()];
    for (i, segment) in segments.iter().enumerate() {
        families[root(&mut head, i)].push(segment);
    }
    families.retain(|family| !family.is_empty());
    families
}

/// What the tasks read.
struct Inputs<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    out: &'a [f32],
    lse: &'a [f32],
    dout: &'a [f32],
    s: Shape,
}

/// What the tasks write, each its own rows and heads.
struct Outputs<'a> {
    dq: SharedMut<'a, f32>,
    dk: SharedMut<'a, f32>,
    dv: SharedMut<'a, f32>,
}

/// All families and kv heads in parallel.
pub(super) fn backward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    dout: &[f32],
    segments: &[Segment],
    s: Shape,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    dq.fill(0.0);
    dk.fill(0.0);
    dv.fill(0.0);
    let families = families(segments, k.len() / (s.kv_heads * s.dk));
    let mut tasks: Vec<(&[&Segment], usize)> =
        families.iter().flat_map(|family| (0..s.kv_heads).map(move |head| (&family[..], head))).collect();
    let work = |segment: &&Segment| segment.queries.len() * segment.path.len();
    // The longest first, so that no thread ends with a long one alone.
    tasks.sort_by_key(|(family, _)| std::cmp::Reverse(family.iter().map(work).sum::<usize>()));
    let inputs = Inputs { q, k, v, out, lse, dout, s };
    let outputs = Outputs { dq: SharedMut::new(dq), dk: SharedMut::new(dk), dv: SharedMut::new(dv) };
    threads::parallel(tasks.len(), |task| {
        let (family, kv_head) = tasks[task];
        for segment in family {
            for block in blocks(segment, kv_head, s.heads / s.kv_heads) {
                backward_block(&inputs, &block, &outputs);
            }
        }
    });
}

/// The rows of a block, ready for the tiles. Widths are padded to whole vectors (dkp, dvp).
#[derive(Clone, Copy)]
struct Rows {
    /// Scaled queries and their gradients `[rows][dkp]`, dout `[rows][dvp]`, lse and dout·out `[rows]`.
    q: *const f32,
    dq: *mut f32,
    dout: *const f32,
    lse: *const f32,
    along: *const f32,
}

/// One page, ready for the tiles: keys `[dk][PAGE]` and `[PAGE][dkp]`, values `[dv][PAGE]`, and the gradients
/// `[PAGE][dkp]` and `[PAGE][dvp]`.
#[derive(Clone, Copy)]
struct Page {
    key_columns: *const f32,
    key_rows: *const f32,
    value_columns: *const f32,
    dk: *mut f32,
    dv: *mut f32,
}

fn backward_block(x: &Inputs, block: &Block, to: &Outputs) {
    let s = x.s;
    let group = s.heads / s.kv_heads;
    let rows = block.queries.len() * group;
    let (dkp, dvp) = (s.dk.next_multiple_of(WIDTH), s.dv.next_multiple_of(WIDTH));
    let (k_stride, v_stride) = (s.kv_heads * s.dk, s.kv_heads * s.dv);
    let parts = [
        [s.dk * PAGE, PAGE * dkp, s.dv * PAGE, PAGE * dkp, PAGE * dvp],
        [rows * dkp, rows * dkp, rows * dvp, rows, rows],
    ];
    scratch::with(room(parts.as_flattened()), |mut rest| {
        let [key_columns, key_rows, value_columns, dk, dv] = parts[0].map(|n| take(&mut rest, n));
        let [q, dq, dout, lse, along] = parts[1].map(|n| take(&mut rest, n));
        gather_queries(x.q, block, s, s.dk, s.scale, q);
        gather_queries(x.dout, block, s, s.dv, 1.0, dout);
        dq.fill(0.0);
        let slot = |r: usize| (block.row() + r / group) * s.heads + block.kv_head * group + r % group;
        for r in 0..rows {
            let at = slot(r) * s.dv..(slot(r) + 1) * s.dv;
            lse[r] = x.lse[slot(r)];
            along[r] = dot(&x.dout[at.clone()], &x.out[at]);
        }
        let tile_rows = Rows {
            q: q.as_ptr(),
            dq: dq.as_mut_ptr(),
            dout: dout.as_ptr(),
            lse: lse.as_ptr(),
            along: along.as_ptr(),
        };
        for page in 0..block.pages() {
            let path = block.page(page);
            gather_columns(x.k, path, k_stride, block.kv_head, s.dk, key_columns);
            gather_rows(x.k, path, k_stride, block.kv_head, s.dk, key_rows);
            gather_columns(x.v, path, v_stride, block.kv_head, s.dv, value_columns);
            for (j, &row) in path.iter().enumerate() {
                let at = row as usize * s.kv_heads + block.kv_head;
                // SAFETY: rows of a family and a kv head belong to one task, which holds one part at a time.
                let (from_k, from_v) = unsafe {
                    (to.dk.slice(at * s.dk..(at + 1) * s.dk), to.dv.slice(at * s.dv..(at + 1) * s.dv))
                };
                dk[j * dkp..][..s.dk].copy_from_slice(from_k);
                dk[j * dkp + s.dk..(j + 1) * dkp].fill(0.0);
                dv[j * dvp..][..s.dv].copy_from_slice(from_v);
                dv[j * dvp + s.dv..(j + 1) * dvp].fill(0.0);
            }
            let tile_page = Page {
                key_columns: key_columns.as_ptr(),
                key_rows: key_rows.as_ptr(),
                value_columns: value_columns.as_ptr(),
                dk: dk.as_mut_ptr(),
                dv: dv.as_mut_ptr(),
            };
            page_backward(tile_rows, tile_page, block, page, s);
            for (j, &row) in path.iter().enumerate() {
                let at = row as usize * s.kv_heads + block.kv_head;
                // SAFETY: as above.
                let (to_k, to_v) = unsafe {
                    (to.dk.slice(at * s.dk..(at + 1) * s.dk), to.dv.slice(at * s.dv..(at + 1) * s.dv))
                };
                to_k.copy_from_slice(&dk[j * dkp..][..s.dk]);
                to_v.copy_from_slice(&dv[j * dvp..][..s.dv]);
            }
        }
        for (r, dq) in dq.chunks_exact(dkp).enumerate() {
            // SAFETY: a slot belongs to one block.
            let to = unsafe { to.dq.slice(slot(r) * s.dk..(slot(r) + 1) * s.dk) };
            to.iter_mut().zip(dq).for_each(|(to, d)| *to = d * s.scale);
        }
    });
}

on_lanes! {
    /// a · b, on sixteen lanes, then lane i + lane i + 8, + 4, + 2, + 1.
    fn dot(a: &[f32], b: &[f32]) -> f32 = dot_body;
    /// One page and all rows of a block which see it.
    fn page_backward(rows: Rows, page: Page, block: &Block<'_>, number: usize, s: Shape) = page_backward_body;
}

#[inline(always)]
fn dot_body<V: Lanes>(a: &[f32], b: &[f32]) -> f32 {
    assert!(a.len() == b.len());
    let mut sum = V::splat(0.0);
    for j in (0..a.len()).step_by(WIDTH) {
        let n = a.len() - j;
        // SAFETY: the lengths are equal; each access takes at most the n values left.
        sum = unsafe { load_upto::<V>(a.as_ptr().add(j), n).fma(load_upto(b.as_ptr().add(j), n), sum) };
    }
    sum.sum()
}

#[inline(always)]
fn page_backward_body<V: Lanes>(rows: Rows, page: Page, block: &Block, number: usize, s: Shape) {
    let group = s.heads / s.kv_heads;
    by_tiles!(V, block.first(number, group)..block.queries.len() * group, |from, R| {
        let seen = block.seen::<R>(number, from, group);
        // SAFETY: the pointers are good for the block's rows and the page's positions.
        unsafe { tile_backward::<V, R>(rows, page, from, s.dk, s.dv, &seen) }
    });
}

/// p = e^(score − lse), ds = p·(dout·v − dout·out); dq += ds·K, dk += ds·q, dv += p·dout.
///
/// # Safety
/// The pointers must be good for the rows `from..from + R` and for one page.
#[inline(always)]
unsafe fn tile_backward<V: Lanes, const R: usize>(
    rows: Rows,
    page: Page,
    from: usize,
    dk: usize,
    dv: usize,
    seen: &[usize; R],
) {
    let (dkp, dvp) = (dk.next_multiple_of(WIDTH), dv.next_multiple_of(WIDTH));
    // SAFETY: the caller's promise.
    unsafe {
        let q = rows.q.add(from * dkp);
        let dout = rows.dout.add(from * dvp);
        let scores = products::<V, f32, R>(q, dkp, Pages::Shared(page.key_columns), dk);
        let mut p = [[0.0; PAGE]; R];
        for r in 0..R {
            let lse = V::splat(*rows.lse.add(from + r));
            exp(scores[r][0].sub(lse)).store(p[r].as_mut_ptr());
            exp(scores[r][1].sub(lse)).store(p[r].as_mut_ptr().add(WIDTH));
        }
        let dp = products::<V, f32, R>(dout, dvp, Pages::Shared(page.value_columns), dv);
        let mut ds = [[0.0; PAGE]; R];
        for r in 0..R {
            let along = V::splat(*rows.along.add(from + r));
            for half in 0..2 {
                let p = V::load(p[r].as_ptr().add(half * WIDTH));
                p.mul(dp[r][half].sub(along)).store(ds[r].as_mut_ptr().add(half * WIDTH));
            }
        }
        // Positions beyond `seen` hold leftovers; the three loops below do not look at them.
        mix::<V, f32, R>(&ds, seen, &[1.0; R], Pages::Shared(page.key_rows), dkp, rows.dq.add(from * dkp));
        spread::<V, R>(&ds, seen, q, dkp, page.dk);
        spread::<V, R>(&p, seen, dout, dvp, page.dv);
    }
}
