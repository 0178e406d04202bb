//! The head: tempered logits `z[i, :] = (h[i, :] · Wᵀ) · inv_temperature[i]`, then log-softmax at the target, fused and
//! chunked: `[T, V]` is never in memory.
//!
//! Shapes: h `[T, C]`, W `[V, C]`, one target and one inverse temperature a row.
//!
//! Order, row by row. The logit is `linear::forward`'s, times inv_temperature. With m the row's greatest z, lane i of
//! sixteen adds e^(z − m) for the entries i, i + 16, … from 0 (the lanes' own e^x); the lanes are summed as
//! lane i + lane i + 8, then + 4, + 2, + 1, which gives S. lse = m + ln S, logprob = z_target − lse. With
//! E = Σ e^(z − m)·(z − m), on lanes by fused multiply-add, entropy = ln S − E/S. Backward computes the logits again,
//! the same bits, and d logit = (dlogprob·(1[target] − p) − dentropy·p·(ln p + H)) · inv_temperature, p = e^(z − lse).

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
mod top;

use std::ops::Range;

use crate::lanes::ln;
use crate::linear::{self, Weight};
use crate::scratch;
use crate::threads::{self, SharedMut};

pub use top::{Top, top};

/// What forward gives for every row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// ln p(target) under the tempered distribution.
    pub logprobs: Vec<f32>,
    /// ln Σ e^z, z the tempered logits.
    pub lse: Vec<f32>,
    /// Entropy of the tempered distribution in nats; empty unless asked for.
    pub entropy: Vec<f32>,
}

/// Rows whose logits are in memory at the same time, for a vocabulary of `v`: at most 64 MiB of logits, where that
/// leaves enough rows for a good matrix product.
pub(crate) fn chunk_rows(v: usize) -> usize {
    ((1 << 24) / v.max(1) / 32 * 32).clamp(64, 256)
}

/// Bytes of scratch that [`forward`] and [`backward`] hold for `rows` rows and a vocabulary of `v`.
pub fn scratch_bytes(rows: usize, v: usize) -> usize {
    chunk_rows(v).min(rows) * v * size_of::<f32>()
}

/// Log-probabilities of the targets, one row of h a target; `entropy` asks for the entropies too.
///
/// # Panics
/// When the sizes do not fit one another or a target lies beyond the vocabulary.
pub fn forward(h: &[f32], w: &Weight, targets: &[u32], inv_temperature: &[f32], entropy: bool) -> Output {
    check("head::forward", h, w, targets, inv_temperature);
    let rows = targets.len();
    let mut out = Output {
        logprobs: vec![0.0; rows],
        lse: vec![0.0; rows],
        entropy: vec![0.0; if entropy { rows } else { 0 }],
    };
    let logprobs = SharedMut::new(&mut out.logprobs);
    let lse = SharedMut::new(&mut out.lse);
    let entropies = SharedMut::new(&mut out.entropy);
    by_chunks(
        h,
        w,
        rows,
        |row, z| {
            cpu::temper_in_place(z, inv_temperature[row]);
            let top = cpu::top(z);
            let sum = cpu::sum_exp(z, top);
            let total = top + ln(sum);
            // SAFETY: every row is visited once.
            unsafe {
                lse.slice(row..row + 1)[0] = total;
                logprobs.slice(row..row + 1)[0] = z[targets[row] as usize] - total;
                if entropy {
                    entropies.slice(row..row + 1)[0] = ln(sum) - cpu::sum_exp_times(z, top) / sum;
                }
            }
        },
        |_, _| (),
    );
    out
}

/// dh (overwritten) and, where it is wanted, dw `[V, C]` (added to) from d(loss)/d(logprob) and, optionally, d(loss)/d(entropy), which
/// needs an `out` with entropy. Logits are computed again; rows of dw add up in order of the rows of h.
///
/// # Panics
/// When the sizes do not fit one another, or dentropy is given and `out` has no entropy.
pub fn backward(
    h: &[f32],
    w: &Weight,
    targets: &[u32],
    inv_temperature: &[f32],
    out: &Output,
    dlogprob: &[f32],
    dentropy: Option<&[f32]>,
    dh: &mut [f32],
    mut dw: Option<&mut [f32]>,
) {
    let c = check("head::backward", h, w, targets, inv_temperature);
    let (v, rows) = (w.n(), targets.len());
    assert!(
        out.lse.len() == rows && dlogprob.len() == rows,
        "head::backward: lse or dlogprob not of {rows} rows"
    );
    assert!(
        dentropy.is_none_or(|d| d.len() == rows && out.entropy.len() == rows),
        "head::backward: dentropy or entropy not of {rows} rows"
    );
    assert!(
        dh.len() == h.len() && dw.as_ref().is_none_or(|dw| dw.len() == v * c),
        "head::backward: dh {}, dw {:?} values",
        dh.len(),
        dw.as_ref().map(|dw| dw.len())
    );
    by_chunks(
        h,
        w,
        rows,
        |row, z| {
            cpu::backward(
                z,
                cpu::Slope {
                    inv_temperature: inv_temperature[row],
                    lse: out.lse[row],
                    target: targets[row] as usize,
                    dlogprob: dlogprob[row],
                    dentropy: dentropy.map_or(0.0, |d| d[row]),
                    entropy: if dentropy.is_some() { out.entropy[row] } else { 0.0 },
                },
            );
        },
        |part, dlogits| {
            let at = part.start * c..part.end * c;
            linear::backward_input(dlogits, w, &mut dh[at.clone()], false);
            if let Some(dw) = dw.as_deref_mut() {
                linear::backward_weight(dlogits, &h[at], v, c, w.precision(), dw);
            }
        },
    );
}

/// Runs `each(row, logits of the row)` for all rows in parallel, then `whole(rows, their logits)`, chunk by chunk.
fn by_chunks(
    h: &[f32],
    w: &Weight,
    rows: usize,
    each: impl Fn(usize, &mut [f32]) + Sync,
    mut whole: impl FnMut(Range<usize>, &[f32]),
) {
    let (v, c) = (w.n(), w.k());
    let step = chunk_rows(v).min(rows).max(1);
    scratch::with(step * v, |logits| {
        for start in (0..rows).step_by(step) {
            let part = start..rows.min(start + step);
            let logits = &mut logits[..part.len() * v];
            linear::forward(&h[start * c..part.end * c], w, None, logits);
            let shared = SharedMut::new(logits);
            threads::parallel(part.len(), |i| {
                // SAFETY: tasks have different rows.
                each(start + i, unsafe { shared.slice(i * v..(i + 1) * v) });
            });
            whole(part, logits);
        }
    });
}

/// ln Σ e^logits of one row: THE order that forward uses, so that logprobs recorded while sampling are forward's.
/// Entries of −∞ contribute nothing.
///
/// # Panics
/// When the row is empty.
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    assert!(!logits.is_empty(), "head::log_sum_exp: an empty row");
    let top = cpu::top(logits);
    top + ln(cpu::sum_exp(logits, top))
}

/// ln p(target) of one row of untempered logits; forward's bits. `scratch` is left with the tempered row.
///
/// # Panics
/// When the target lies beyond the row.
pub fn row_logprob(logits_row: &[f32], target: u32, inv_temperature: f32, scratch: &mut Vec<f32>) -> f32 {
    scratch.resize(logits_row.len(), 0.0);
    cpu::temper(logits_row, inv_temperature, scratch);
    scratch[target as usize] - log_sum_exp(scratch)
}

/// Unnormalized probabilities of one row at a temperature, for sampling: `weights[v] = e^(z_v − max z)` with
/// `z = logits · inv_temperature`; the most probable token weighs 1. The same bits on every instruction set.
pub fn row_weights(logits_row: &[f32], inv_temperature: f32, weights: &mut Vec<f32>) {
    weights.resize(logits_row.len(), 0.0);
    cpu::temper(logits_row, inv_temperature, weights);
    let top = cpu::top(weights);
    cpu::weigh(weights, top);
}

/// z = z · by, in place.
pub(crate) fn scale(z: &mut [f32], by: f32) {
    cpu::temper_in_place(z, by);
}

/// Checks the sizes and returns C.
fn check(op: &str, h: &[f32], w: &Weight, targets: &[u32], inv_temperature: &[f32]) -> usize {
    let (v, c, rows) = (w.n(), w.k(), targets.len());
    assert!(h.len() == rows * c, "{op}: h has {} values for {rows} rows of {c}", h.len());
    assert!(inv_temperature.len() == rows, "{op}: {} temperatures, {rows} rows", inv_temperature.len());
    if let Some(t) = targets.iter().find(|&&t| t as usize >= v) {
        panic!("{op}: target {t}, vocabulary of {v}");
    }
    c
}
