//! Clip-Cov and KL-Cov (Cui et al., 2025): tokens whose log-probability and advantage go together most are those that use up the
//! entropy; a few of them are left out (clip-cov), or held back by a penalty on |log r| (kl-cov).
//!
//! The covariance of a token is (A − mean A)(log π − mean log π), means over all unmasked tokens of the batch.

use r1_model::random::{Stream, hash};

use super::{Term, clip};

/// One row of the batch as the choice sees it; masked rows are not among them.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// its advantage
    pub advantage: f64,
    /// log-probabilities now
    pub logprobs: &'a [f64],
    /// log-probabilities of the old policy
    pub old: &'a [f64],
}

/// The covariance of every token, row after row.
fn covariances(rows: &[Row]) -> Vec<f64> {
    let count = rows.iter().map(|row| row.logprobs.len()).sum::<usize>().max(1) as f64;
    let advantage = rows.iter().map(|row| row.advantage * row.logprobs.len() as f64).sum::<f64>() / count;
    let logprob = rows.iter().flat_map(|row| row.logprobs).sum::<f64>() / count;
    rows.iter()
        .flat_map(|row| row.logprobs.iter().map(move |l| (row.advantage - advantage) * (l - logprob)))
        .collect()
}

/// Cuts a flat list of choices into the rows'.
fn cut(rows: &[Row], chosen: &[usize], count: usize) -> Vec<Vec<bool>> {
    let mut flat = vec![false; count];
    chosen.iter().for_each(|&at| flat[at] = true);
    let mut rest = flat.as_slice();
    rows.iter()
        .map(|row| {
            let (own, later) = rest.split_at(row.logprobs.len());
            rest = later;
            own.to_vec()
        })
        .collect()
}

/// clip-cov: `share` of all tokens (one at least), drawn among those with a covariance in (low, high) that the clip leaves alone.
/// The draw depends on `seed`, `step` and the token's place in the batch alone.
pub fn left_out(
    rows: &[Row],
    share: f64,
    [low, high]: [f64; 2],
    bounds: [f64; 2],
    seed: u64,
    step: u64,
) -> Vec<Vec<bool>> {
    let covariances = covariances(rows);
    let clipped = rows.iter().flat_map(|row| {
        row.logprobs.iter().zip(row.old).map(move |(l, old)| {
            let ratio = (l - old).exp();
            ratio.clamp(bounds[0], bounds[1]) * row.advantage < ratio * row.advantage
        })
    });
    let mut candidates: Vec<usize> = clipped
        .enumerate()
        .filter(|(at, clipped)| !clipped && covariances[*at] > low && covariances[*at] < high)
        .map(|(at, _)| at)
        .collect();
    let stream = Stream::of(seed, hash("clip-cov"), step);
    candidates.sort_by_key(|at| (stream.bits(*at as u64), *at));
    candidates.truncate(((share * covariances.len() as f64) as usize).max(1));
    cut(rows, &candidates, covariances.len())
}

/// kl-cov: the `share` of all tokens (one at least) with the greatest covariance, the first ones of equal ones.
pub fn held_back(rows: &[Row], share: f64) -> Vec<Vec<bool>> {
    let covariances = covariances(rows);
    let mut order: Vec<usize> = (0..covariances.len()).collect();
    order.sort_by(|a, b| covariances[*b].total_cmp(&covariances[*a]).then(a.cmp(b)));
    order.truncate(((share * covariances.len() as f64) as usize).max(1));
    cut(rows, &order, covariances.len())
}

/// One token of clip-cov.
pub fn clip_cov(advantage: f64, log_ratio: f64, bounds: [f64; 2], chosen: bool) -> Term {
    if chosen { Term::default() } else { clip::clipped(advantage, log_ratio, bounds, None) }
}

/// One token of kl-cov: r A, minus `weight` · |log r| where it was chosen.
pub fn kl_cov(advantage: f64, log_ratio: f64, weight: f64, chosen: bool) -> Term {
    let value = log_ratio.exp() * advantage;
    let weight = if chosen { weight } else { 0.0 };
    // |x| has no derivative at 0; like torch we take 0.
    let side = if log_ratio == 0.0 { 0.0 } else { log_ratio.signum() };
    Term { value: value - weight * log_ratio.abs(), by_ratio: value - weight * side, ..Term::default() }
}
