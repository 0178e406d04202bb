//! Mixture of experts around the expert matrices: routing, grouping tokens by expert, combining their outputs.
//!
//! Shapes: logits and scores `[T, E]`, routing `[T, top_k]`, x `[T, C]`, expert rows `[T·top_k, C]` sorted by
//! (expert, token).
//!
//! Order. Scores: the lanes' own e^x; a softmax row is summed on sixteen lanes (lane i: experts i, i + 16, …) and then
//! lane i + lane i + 8, + 4, + 2, + 1, as is every dot product over channels. Sums over a token's experts run in order
//! of rank j: one fused multiply-add a term in `combine`, one addition in `scatter_add` and in the normalization.

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::threads::{self, SharedMut};

/// Values that are worth a task of their own.
const GRAIN: usize = 1 << 14;

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Each expert on its own (DeepSeek-V3).
    Sigmoid,
    /// Over all experts (Qwen3-MoE, DeepSeek-V2).
    Softmax,
}

/// The rule by which experts are selected and weighed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Router {
    /// Routed experts.
    pub experts: usize,
    /// Experts a token.
    pub top_k: usize,
    /// Groups of consecutive experts; 1 without groups.
    pub groups: usize,
    /// Groups that a token may use. A group's score is the sum of its two best biased scores (sigmoid) or its best
    /// (softmax, as in DeepSeek-V2).
    pub top_groups: usize,
    /// How logits become scores.
    pub scoring: Scoring,
    /// Whether the weights of the selected experts are divided by their sum.
    pub normalize: bool,
    /// Factor on the weights (`routed_scaling_factor`).
    pub scale: f32,
}

/// What the router decided for every token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// `[T, top_k]`: the experts, best first.
    pub experts: Vec<u32>,
    /// `[T, top_k]`: their weights.
    pub weights: Vec<f32>,
    /// `[T, E]`: all scores, after sigmoid or softmax, without bias.
    pub scores: Vec<f32>,
}

/// The order in which expert rows lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Slot index `t·top_k + j` of each expert row, sorted by (expert, t).
    pub order: Vec<u32>,
    /// `[E + 1]`: expert e has the rows `offsets[e]..offsets[e + 1]`.
    pub offsets: Vec<usize>,
}

/// Scores, selection and weights for every row of logits `[T, E]`. `bias` `[E]` (`e_score_correction_bias`) moves
/// the selection only. Ties go to the lower index; groups that are not kept are out of the question (−∞).
///
/// # Panics
/// When the router's numbers contradict one another or the sizes do not fit.
pub fn route(logits: &[f32], bias: Option<&[f32]>, r: &Router) -> Routing {
    check(r);
    assert!(
        logits.len().is_multiple_of(r.experts),
        "moe::route: {} logits, {} experts",
        logits.len(),
        r.experts
    );
    assert!(bias.is_none_or(|b| b.len() == r.experts), "moe::route: bias does not have {} values", r.experts);
    let (e, k) = (r.experts, r.top_k);
    let tokens = logits.len() / e;
    let mut routing = Routing {
        experts: vec![0; tokens * k],
        weights: vec![0.0; tokens * k],
        scores: vec![0.0; logits.len()],
    };
    let experts = SharedMut::new(&mut routing.experts);
    let weights = SharedMut::new(&mut routing.weights);
    let scores = SharedMut::new(&mut routing.scores);
    // The selection looks at every expert k times.
    by_rows(tokens, e * (k + 2), |rows| {
        let mut room = cpu::Room::default();
        for t in rows {
            let slots = t * k..(t + 1) * k;
            // SAFETY: tasks have disjoint tokens.
            let (experts, weights, scores) = unsafe {
                (experts.slice(slots.clone()), weights.slice(slots), scores.slice(t * e..(t + 1) * e))
            };
            cpu::scores(&logits[t * e..][..e], r.scoring, scores);
            cpu::select(scores, bias, r, &mut room, experts);
            let mut sum = 0.0f32;
            for (w, &e) in weights.iter_mut().zip(experts.iter()) {
                *w = scores[e as usize];
                sum += *w;
            }
            let by = if r.normalize { sum + 1e-20 } else { 1.0 };
            weights.iter_mut().for_each(|w| *w = *w / by * r.scale);
        }
    });
    routing
}

/// dlogits (overwritten) from dweights: through the scale, the normalization and the sigmoid or softmax. The
/// selection has no gradient.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn route_backward(dweights: &[f32], routing: &Routing, r: &Router, dlogits: &mut [f32]) {
    check(r);
    let tokens = routing.experts.len() / r.top_k;
    assert!(
        dweights.len() == tokens * r.top_k && dlogits.len() == tokens * r.experts,
        "moe::route_backward: dweights {}, dlogits {} for {tokens} tokens",
        dweights.len(),
        dlogits.len()
    );
    let dlogits = SharedMut::new(dlogits);
    by_rows(tokens, r.experts, |rows| {
        for t in rows {
            // SAFETY: tasks have disjoint tokens.
            let out = unsafe { dlogits.slice(t * r.experts..(t + 1) * r.experts) };
            let slots = t * r.top_k..(t + 1) * r.top_k;
            let scores = &routing.scores[t * r.experts..][..r.experts];
            token_backward(&dweights[slots.clone()], &routing.experts[slots], scores, r, out);
        }
    });
}

/// [`route_backward`] of one token.
fn token_backward(dw: &[f32], picked: &[u32], scores: &[f32], r: &Router, out: &mut [f32]) {
    out.fill(0.0);
    // d(score) of the selected: scale·dw without normalization; with it, w_j = scale·s_j/Σ gives
    // (scale/Σ)·(dw_j − Σ_i dw_i s_i/Σ).
    let (mut sum, mut dot) = (0.0f32, 0.0f32);
    for (&e, &d) in picked.iter().zip(dw) {
        sum += scores[e as usize];
        dot += d * scores[e as usize];
    }
    let sum = sum + 1e-20;
    for (&e, &d) in picked.iter().zip(dw) {
        out[e as usize] = if r.normalize { (d - dot / sum) * (r.scale / sum) } else { d * r.scale };
    }
    match r.scoring {
        Scoring::Sigmoid => picked.iter().for_each(|&e| {
            let s = scores[e as usize];
            out[e as usize] *= s * (1.0 - s);
        }),
        Scoring::Softmax => {
            let mut mean = 0.0f32;
            for &e in picked {
                mean += out[e as usize] * scores[e as usize];
            }
            cpu::softmax_backward(scores, mean, out);
        }
    }
}

/// Sorts the slots of a routing by (expert, token).
///
/// # Panics
/// When a routing names an expert that does not exist.
pub fn plan(routing: &Routing, experts: usize) -> Plan {
    let mut offsets = vec![0; experts + 1];
    for &e in &routing.experts {
        offsets[e as usize + 1] += 1;
    }
    for e in 0..experts {
        offsets[e + 1] += offsets[e];
    }
    let mut next = offsets.clone();
    let mut order = vec![0; routing.experts.len()];
    for (slot, &e) in routing.experts.iter().enumerate() {
        order[next[e as usize]] = slot as u32;
        next[e as usize] += 1;
    }
    Plan { order, offsets }
}

/// Expert rows from token rows: y[i] = x[order[i] / top_k].
///
/// # Panics
/// When the sizes do not fit one another.
pub fn gather(x: &[f32], c: usize, top_k: usize, order: &[u32], y: &mut [f32]) {
    assert_eq!(
        y.len(),
        order.len() * c,
        "moe::gather: y has {} values for {} rows of {c}",
        y.len(),
        order.len()
    );
    let y = SharedMut::new(y);
    by_rows(order.len(), c, |rows| {
        // SAFETY: tasks have disjoint rows.
        let y = unsafe { y.slice(rows.start * c..rows.end * c) };
        for (y, &slot) in y.chunks_exact_mut(c).zip(&order[rows]) {
            y.copy_from_slice(&x[slot as usize / top_k * c..][..c]);
        }
    });
}

/// out[t] += Σ_j weights[t, j] · y[row of slot (t, j)], j ascending.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn combine(y: &[f32], c: usize, routing: &Routing, plan: &Plan, top_k: usize, out: &mut [f32]) {
    check_rows("moe::combine", y.len(), c, plan, top_k, out.len());
    let (row_of, out) = (rows_of(plan), SharedMut::new(out));
    by_rows(out.len() / c, c * top_k, |rows| {
        for t in rows {
            let slots = t * top_k..(t + 1) * top_k;
            // SAFETY: tasks have disjoint tokens.
            let out = unsafe { out.slice(t * c..(t + 1) * c) };
            cpu::combine(y, &row_of[slots.clone()], &routing.weights[slots], out);
        }
    });
}

/// dy[row] = weight · dout[t] and dweights[t, j] = dout[t] · y[row] (both overwritten).
///
/// # Panics
/// When the sizes do not fit one another.
pub fn combine_backward(
    dout: &[f32],
    y: &[f32],
    c: usize,
    routing: &Routing,
    plan: &Plan,
    top_k: usize,
    dy: &mut [f32],
    dweights: &mut [f32],
) {
    check_rows("moe::combine_backward", y.len(), c, plan, top_k, dout.len());
    assert!(
        dy.len() == y.len() && dweights.len() == plan.order.len(),
        "moe::combine_backward: dy {}, dweights {} for {} rows of {c}",
        dy.len(),
        dweights.len(),
        plan.order.len()
    );
    let (dy, dweights) = (SharedMut::new(dy), SharedMut::new(dweights));
    by_rows(plan.order.len(), c, |rows| {
        for row in rows {
            let (slot, at) = (plan.order[row] as usize, row * c..(row + 1) * c);
            // SAFETY: tasks have disjoint expert rows, and each row is one slot.
            let (dy, dweight) = unsafe { (dy.slice(at.clone()), dweights.slice(slot..slot + 1)) };
            dweight[0] =
                cpu::combine_backward(&dout[slot / top_k * c..][..c], &y[at], routing.weights[slot], dy);
        }
    });
}

/// The backward of [`gather`]: dx[t] += Σ_j dy[row of slot (t, j)], j ascending.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn scatter_add(dy: &[f32], c: usize, top_k: usize, plan: &Plan, dx: &mut [f32]) {
    check_rows("moe::scatter_add", dy.len(), c, plan, top_k, dx.len());
    let (row_of, dx) = (rows_of(plan), SharedMut::new(dx));
    by_rows(dx.len() / c, c * top_k, |rows| {
        for t in rows {
            // SAFETY: tasks have disjoint tokens.
            let dx = unsafe { dx.slice(t * c..(t + 1) * c) };
            cpu::scatter_add(dy, &row_of[t * top_k..(t + 1) * top_k], dx);
        }
    });
}

/// Tokens per expert.
///
/// # Panics
/// When a routing names an expert that does not exist.
pub fn load(routing: &Routing, experts: usize) -> Vec<u32> {
    let mut count = vec![0; experts];
    routing.experts.iter().for_each(|&e| count[e as usize] += 1);
    count
}

/// Runs `f` on ranges that cover `0..rows`; a row costs about `work` values.
fn by_rows(rows: usize, work: usize, f: impl Fn(Range<usize>) + Sync) {
    let step = (GRAIN / work).max(1);
    threads::parallel(rows.div_ceil(step), |task| f(task * step..rows.min((task + 1) * step)));
}

/// The expert row of each slot: the inverse of the plan's order.
fn rows_of(plan: &Plan) -> Vec<u32> {
    let mut row_of = vec![0; plan.order.len()];
    plan.order.iter().enumerate().for_each(|(row, &slot)| row_of[slot as usize] = row as u32);
    row_of
}

fn check(r: &Router) {
    let size = r.experts.checked_div(r.groups).unwrap_or(0);
    assert!(
        size * r.groups == r.experts && size > 0 && (1..=r.groups).contains(&r.top_groups),
        "moe: {} experts in {} groups, {} of them kept",
        r.experts,
        r.groups,
        r.top_groups
    );
    assert!(
        (1..=r.top_groups * size).contains(&r.top_k),
        "moe: {} experts a token from {} groups of {size}",
        r.top_k,
        r.top_groups
    );
}

fn check_rows(op: &str, y: usize, c: usize, plan: &Plan, top_k: usize, out: usize) {
    let slots = plan.order.len();
    assert!(
        c > 0 && y == slots * c && out * top_k == y,
        "{op}: y {y}, out {out} values; {slots} slots, C {c}, top {top_k}"
    );
}
