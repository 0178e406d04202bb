//! Causal attention over a packed batch, forward and backward, and decoding from a paged cache.
//!
//! out = Σ_j p_j v_j, p = softmax_j(scale · q·k_j) over the positions j that a query sees. Flash style
//! (Dao et al. 2022, arXiv 2205.14135): no `[T, T]` matrix anywhere, backward recomputes p from lse.
//!
//! Order. A score is the dot product of the scaled query (q_d · scale, rounded) with the key, one fused multiply-add a
//! channel, d ascending from 0. Softmax is folded page by page, a page being [`PAGE`] positions aligned to position 0:
//! m' = max(m, scores of the page), a = e^(m − m'), p_j = e^(score_j − m'); lane i of sixteen holds
//! fma(lane, a, p_i) + p_(i+16); out' = out·a, then fma(p_j, v_j, out') for j ascending. At the end the lanes are
//! summed (lane i + lane i + 8, + 4, + 2, + 1) to S, out = out · (1/S), lse = m + ln S. Positions that a query does not
//! see enter no operation. Nothing depends on how rows are tiled, so training, prefill and decode agree bit for bit.
//!
//! Backward: p_j = e^(score_j − lse), ds_j = p_j·(dout·v_j − dout·out), the products on d ascending (dout·out on
//! sixteen lanes). dq sums ds_j·k_j over j ascending and is scaled once at the end; dk_j and dv_j take their terms by
//! (segment, token, head) ascending. One fused multiply-add a term everywhere.

mod backward;
mod cache;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod latent;
#[cfg(test)]
mod reference;
mod stored;
#[cfg(test)]
mod tests;
mod tile;

use std::ops::Range;

pub use cache::Cache;
pub use latent::LatentCache;
pub use stored::round_to_bf16;

/// Positions per block. Softmax is folded block by block, blocks aligned to position 0 of the sequence.
pub const PAGE: usize = 32;

/// Sizes of one attention layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query head h reads kv head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Values of a query and of a key.
    pub dk: usize,
    /// Values of a value and of an output.
    pub dv: usize,
    /// Factor on q·k before the softmax.
    pub scale: f32,
}

impl Shape {
    fn check(&self, op: &str) {
        let Shape { heads, kv_heads, dk, dv, .. } = *self;
        assert!(
            heads > 0 && kv_heads > 0 && heads.is_multiple_of(kv_heads) && dk > 0 && dv > 0,
            "{op}: {heads} heads, {kv_heads} kv heads, dk {dk}, dv {dv}"
        );
    }
}

/// Consecutive query rows of one sequence. A packed batch is a forest: several segments may share ancestors' rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Rows of q (and out) of this segment, in order of position.
    pub queries: Range<usize>,
    /// `path[p]` is the row of k and v which holds position p of this sequence: ancestors' rows first, then the
    /// segment's own; no row twice. Query row `queries.start + i` stands at position `path.len() − queries.len() + i` and sees
    /// `path[..=that position]`.
    pub path: Vec<u32>,
}

/// out and lse for all query rows of all segments.
///
/// Shapes: q `[T, heads·dk]`, k `[T, kv_heads·dk]`, v `[T, kv_heads·dv]`, out `[T, heads·dv]`, lse `[T, heads]`.
/// Rows that belong to no segment are left as they are.
///
/// # Panics
/// When the sizes do not fit one another or a segment names rows that do not exist.
pub fn forward(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    segments: &[Segment],
    s: Shape,
    out: &mut [f32],
    lse: &mut [f32],
) {
    check("attention::forward", q, k, v, segments, s, out, lse);
    cpu::forward(q, k, v, segments, s, out, lse);
}

/// dq, dk, dv (overwritten) from dout; `out` and `lse` are what forward gave.
///
/// # Panics
/// When the sizes do not fit one another or a segment names rows that do not exist.
pub fn backward(
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
    check("attention::backward", q, k, v, segments, s, out, lse);
    assert_eq!(dout.len(), out.len(), "attention::backward: dout and out differ in length");
    assert!(
        dq.len() == q.len() && dk.len() == k.len() && dv.len() == v.len(),
        "attention::backward: dq {} dk {} dv {} for q {} k {} v {}",
        dq.len(),
        dk.len(),
        dv.len(),
        q.len(),
        k.len(),
        v.len()
    );
    backward::backward(q, k, v, out, lse, dout, segments, s, dq, dk, dv);
}

/// Queries against the cache: q `[B, heads·dk]`, out `[B, heads·dv]`. `tables[b]` lists the pages of query b's sequence,
/// `lens[b]` is the number of positions it sees, its own (already written) included. A sequence may have several
/// queries: a prompt's rows, each seeing one position more. Neighbours with a page in common read it once. The bits are
/// those of [`forward`] over what the cache stores: with a cache in bf16, over keys and values after [`round_to_bf16`].
///
/// # Panics
/// When the sizes do not fit one another or a table is too short or names a page that does not exist.
pub fn decode(q: &[f32], cache: &Cache, tables: &[&[u32]], lens: &[usize], s: Shape, out: &mut [f32]) {
    assert_eq!(cache.shape(), s, "attention::decode: the cache was made for another shape");
    let count = lens.len();
    assert!(
        tables.len() == count && q.len() == count * s.heads * s.dk && out.len() == count * s.heads * s.dv,
        "attention::decode: {} tables, {count} lengths, q {}, out {} values for {s:?}",
        tables.len(),
        q.len(),
        out.len()
    );
    for (b, (table, &len)) in tables.iter().zip(lens).enumerate() {
        assert!(
            len > 0 && len.div_ceil(PAGE) <= table.len(),
            "attention::decode: sequence {b} has {len} positions and {} pages",
            table.len()
        );
        let used = &table[..len.div_ceil(PAGE)];
        assert!(
            used.iter().all(|&page| (page as usize) < cache.pages()),
            "attention::decode: sequence {b} names a page beyond {}",
            cache.pages()
        );
    }
    cpu::decode(q, cache, tables, lens, s, out);
}

fn check(
    op: &str,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    segments: &[Segment],
    s: Shape,
    out: &[f32],
    lse: &[f32],
) {
    s.check(op);
    let rows = lse.len() / s.heads;
    let stored = k.len() / (s.kv_heads * s.dk);
    assert!(
        lse.len() == rows * s.heads && q.len() == rows * s.heads * s.dk && out.len() == rows * s.heads * s.dv,
        "{op}: q {} out {} lse {} values for {s:?}",
        q.len(),
        out.len(),
        lse.len()
    );
    assert!(
        k.len() == stored * s.kv_heads * s.dk && v.len() == stored * s.kv_heads * s.dv,
        "{op}: k {} v {} values for {s:?}",
        k.len(),
        v.len()
    );
    let mut end = 0;
    for (i, segment) in segments.iter().enumerate() {
        let Range { start, end: stop } = segment.queries;
        assert!(
            start >= end && start <= stop && stop <= rows,
            "{op}: segment {i} has rows {start}..{stop} of {rows}"
        );
        assert!(stop - start <= segment.path.len(), "{op}: segment {i} has more queries than positions");
        assert!(
            segment.path.iter().all(|&row| (row as usize) < stored),
            "{op}: segment {i} leaves {stored} rows"
        );
        end = stop;
    }
}
