//! Routing of one token, plainly (DeepSeek-V3 report arXiv 2412.19437, section 2.1.2; Qwen3-MoE for softmax).

use super::{Router, Scoring};
use crate::real::Real;

/// Scores of one token: sigmoid of each logit, or softmax over all experts.
pub(crate) fn scores<F: Real>(logits: &[F], scoring: Scoring) -> Vec<F> {
    match scoring {
        Scoring::Sigmoid => logits.iter().map(|&x| F::ONE / (F::ONE + (-x).exp())).collect(),
        Scoring::Softmax => {
            let top = logits.iter().fold(logits[0], |m, &x| if x > m { x } else { m });
            let e: Vec<F> = logits.iter().map(|&x| (x - top).exp()).collect();
            let mut sum = F::ZERO;
            for &x in &e {
                sum += x;
            }
            e.into_iter().map(|x| x / sum).collect()
        }
    }
}

/// The `top_k` best experts by biased score among the best groups, best first, ties to the lower index.
pub(crate) fn select<F: Real>(scores: &[F], bias: Option<&[F]>, r: &Router) -> Vec<u32> {
    let choice: Vec<F> = (0..r.experts).map(|e| bias.map_or(scores[e], |b| scores[e] + b[e])).collect();
    let size = r.experts / r.groups;
    let best = |among: &[usize], count: usize, key: &dyn Fn(usize) -> F| -> Vec<usize> {
        let mut sorted = among.to_vec();
        sorted.sort_by(|&a, &b| key(b).partial_cmp(&key(a)).unwrap_or(std::cmp::Ordering::Equal));
        sorted.truncate(count);
        sorted
    };
    let group_score = |g: usize| {
        let members: Vec<usize> = (g * size..(g + 1) * size).collect();
        let kept = best(&members, if r.scoring == Scoring::Sigmoid { 2 } else { 1 }, &|e| choice[e]);
        kept.iter().skip(1).fold(choice[kept[0]], |sum, &e| sum + choice[e])
    };
    let groups = best(&(0..r.groups).collect::<Vec<_>>(), r.top_groups, &group_score);
    let open: Vec<usize> = (0..r.experts).filter(|e| groups.contains(&(e / size))).collect();
    best(&open, r.top_k, &|e| choice[e]).into_iter().map(|e| e as u32).collect()
}

/// Weights of the selected experts: their unbiased scores, normalized when asked, times the scale.
pub(crate) fn weights<F: Real>(scores: &[F], experts: &[u32], r: &Router) -> Vec<F> {
    let mut sum = F::ZERO;
    for &e in experts {
        sum += scores[e as usize];
    }
    let by = if r.normalize {
        F::of(f64::from(r.scale)) / (sum + F::of(1e-20))
    } else {
        F::of(f64::from(r.scale))
    };
    experts.iter().map(|&e| scores[e as usize] * by).collect()
}
