//! The policy-gradient losses: plain host code, one number a token in, one number a token out.
//!
//! With l the log-probability now, l_old the old policy's, A the row's advantage and r = exp(l − l_old), or for a sequence
//! r = exp(mean_t (l − l_old)), a token's objective is
//! ```text
//! m_t · w_t · surrogate(A, r, l) − β kl_t
//! ```
//! with one surrogate a file in `loss/`; m_t leaves tokens out (`--top-entropy`, `--off-policy-threshold`), w_t corrects for a foreign sampler
//! (`correction.rs`), kl_t is the divergence from the reference (`kl.rs`). The loss is minus its weighted sum over tokens; how much
//! a token weighs is `aggregate.rs`. Every derivative is written out; what a paper holds (stop-gradient) is held.

pub mod aggregate;
mod cispo;
mod clip;
pub mod correction;
pub mod covariance;
mod dppo;
pub mod entropy;
mod gmpo;
mod gspo;
pub mod kl;
pub mod options;
mod reinforce;
mod sapo;
mod vespo;

use options::{Importance, Kind, Objective};

/// On which side a token's ratio was clipped, so that the surrogate gives it no gradient (or a held ratio).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clip {
    /// not at all
    #[default]
    No,
    /// below, with a negative advantage
    Low,
    /// above, with a positive advantage
    High,
}

/// What one token adds to the objective, and how that moves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Term {
    /// what is maximised
    pub value: f64,
    /// d(value)/d(log-ratio)
    pub by_ratio: f64,
    /// d(value)/d(logprob) beside it
    pub by_logprob: f64,
    /// whether it was clipped
    pub clip: Clip,
}

/// One row as the loss sees it. All lists have one number a completion token.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// its advantage
    pub advantage: f64,
    /// log-probabilities now
    pub logprobs: &'a [f64],
    /// log-probabilities of the old policy
    pub old: &'a [f64],
    /// log-probabilities that the sampler recorded
    pub sampled: &'a [f64],
    /// log-probabilities of the reference, where there is a divergence from it
    pub reference: Option<&'a [f64]>,
    /// tokens that `--top-entropy` keeps; all where it is off
    pub kept: Option<&'a [bool]>,
    /// tokens that clip-cov leaves out or kl-cov holds back
    pub chosen: Option<&'a [bool]>,
}

/// Sums over the rows and tokens of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sums {
    /// the loss, without the entropy bonus
    pub loss: f64,
    /// rows
    pub rows: u64,
    /// tokens
    pub tokens: u64,
    /// ratios counted: tokens, or rows where the ratio is a sequence's
    pub ratios: u64,
    /// Σ r
    pub ratio: f64,
    /// smallest and largest r
    pub ratio_range: [f64; 2],
    /// ratios clipped below
    pub clipped_low: u64,
    /// ratios clipped above
    pub clipped_high: u64,
    /// Σ of the divergence from the reference
    pub kl: f64,
    /// tokens with a gradient
    pub moving: u64,
    /// tokens that `--top-entropy` leaves out
    pub low_entropy: u64,
    /// rows that `--off-policy-threshold` leaves out
    pub off_policy: u64,
    /// Σ of the correction weights over tokens
    pub correction: f64,
    /// smallest and largest correction weight
    pub correction_range: [f64; 2],
    /// Σ |l_old − l_sampled|, and the largest
    pub sampler_gap: [f64; 2],
    /// Σ over rows of φ (vespo)
    pub phi: f64,
}

impl Default for Sums {
    fn default() -> Sums {
        let nothing = [f64::INFINITY, f64::NEG_INFINITY];
        Sums {
            loss: 0.0,
            rows: 0,
            tokens: 0,
            ratios: 0,
            ratio: 0.0,
            ratio_range: nothing,
            clipped_low: 0,
            clipped_high: 0,
            kl: 0.0,
            moving: 0,
            low_entropy: 0,
            off_policy: 0,
            correction: 0.0,
            correction_range: nothing,
            sampler_gap: [0.0; 2],
            phi: 0.0,
        }
    }
}

/// Log-ratios farther from 0 count as this one where they are summed up for a reader: so far off is a sampler that shares nothing with
/// the policy, and their exponentials' sum would be beyond f64.
const FARTHEST: f64 = 600.0;

/// Widens a range to hold a number.
fn widen(range: &mut [f64; 2], x: f64) {
    *range = [range[0].min(x), range[1].max(x)];
}

impl Objective {
    /// The log-ratio that each token's surrogate takes, and how it moves with the token's own log-probability: fully for a token's own
    /// ratio, by 1 / |o| (or not at all where GMPO clipped it) for a sequence's.
    fn log_ratios(&self, s: &Sequence) -> (Vec<f64>, Vec<f64>, Vec<Clip>) {
        let n = s.logprobs.len();
        let mut gaps: Vec<f64> = s.logprobs.iter().zip(s.old).map(|(l, old)| l - old).collect();
        let mut clips = vec![Clip::No; n];
        if self.importance == Importance::Token && self.kind != Kind::Gmpo {
            return (gaps, vec![1.0; n], clips);
        }
        let mut own = vec![1.0 / n as f64; n];
        if self.kind == Kind::Gmpo {
            for t in 0..n {
                let (gap, moves, clip) = gmpo::one_sided(s.advantage, gaps[t], self.clip_low, self.clip_high);
                (gaps[t], clips[t]) = (gap, clip);
                if !moves {
                    own[t] = 0.0;
                }
            }
        }
        let mean = gaps.iter().sum::<f64>() / n as f64;
        (vec![mean; n], own, clips)
    }

    /// One row, every token with this weight: fills d(loss)/d(logprob) and adds to the sums.
    ///
    /// # Panics
    /// When the lists are not of one length: rows are checked where they are read.
    pub fn row(&self, s: &Sequence, weight: f64, d: &mut [f64], sums: &mut Sums) {
        let n = s.logprobs.len();
        let lengths = [s.old.len(), s.sampled.len(), s.reference.map_or(n, <[f64]>::len), d.len()];
        assert!(lengths == [n; 4], "loss: lengths differ");
        sums.rows += 1;
        if n == 0 {
            return;
        }
        let (log_ratios, own, clips) = self.log_ratios(s);
        let correction = self.correction.map(|c| c.weights(s.old, s.sampled, self.correction_bounds));
        let phi = match self.kind {
            Kind::Vespo => vespo::phi(s.advantage, &log_ratios, correction.as_deref(), self.vespo),
            _ => 1.0,
        };
        let stays = self
            .off_policy_threshold
            .is_none_or(|limit| correction::stays(s.advantage, s.logprobs, s.sampled, limit));
        // A sequence's ratio moves with every token of it: what all its tokens' terms say of it comes together first.
        let mut common = 0.0;
        for t in 0..n {
            let kept = stays && s.kept.is_none_or(|kept| kept[t]);
            let corrected = match &correction {
                Some(weights) if self.kind != Kind::Vespo => weights[t],
                _ => 1.0,
            };
            let share = if kept { weight * corrected } else { 0.0 };
            let chosen = s.chosen.is_some_and(|chosen| chosen[t]);
            let term = self.term(s, t, log_ratios[t], phi, chosen, clips[t]);
            let mut objective = share * term.value;
            let mut by_ratio = share * term.by_ratio;
            d[t] = -share * term.by_logprob;
            if let Some(reference) = s.reference {
                let (mut value, mut slope) = self.kl_kind.of(s.logprobs[t], reference[t]);
                if self.kl_kind == kl::Kind::Unbiased {
                    let ratio = log_ratios[t].exp();
                    by_ratio -= weight * self.kl_beta * ratio * value;
                    (value, slope) = (ratio * value, ratio * slope);
                }
                objective -= weight * self.kl_beta * value;
                d[t] += weight * self.kl_beta * slope;
                sums.kl += value;
            }
            if self.by_sequence() {
                common += by_ratio;
            } else {
                d[t] -= by_ratio;
            }
            sums.loss -= objective;
            sums.low_entropy += u64::from(s.kept.is_some_and(|kept| !kept[t]));
            self.count(s, t, log_ratios[t], term.clip, sums);
        }
        if self.by_sequence() {
            d.iter_mut().zip(&own).for_each(|(d, own)| *d -= own * common);
        }
        sums.tokens += n as u64;
        sums.moving += d.iter().filter(|d| **d != 0.0).count() as u64;
        sums.off_policy += u64::from(!stays);
        sums.phi += phi;
        for w in correction.iter().flatten() {
            sums.correction += w;
            widen(&mut sums.correction_range, *w);
        }
    }

    /// Ratio, clip and sampler statistics of one token, or of its row where the ratio is a sequence's.
    fn count(&self, s: &Sequence, t: usize, log_ratio: f64, clip: Clip, sums: &mut Sums) {
        let gap = (s.old[t] - s.sampled[t]).abs();
        sums.sampler_gap = [sums.sampler_gap[0] + gap, sums.sampler_gap[1].max(gap)];
        // GMPO clips tokens, though its ratio is a sequence's.
        if self.by_sequence() && t > 0 && self.kind != Kind::Gmpo {
            return;
        }
        let ratio = log_ratio.clamp(-FARTHEST, FARTHEST).exp();
        sums.ratios += 1;
        sums.ratio += ratio;
        widen(&mut sums.ratio_range, ratio);
        sums.clipped_low += u64::from(clip == Clip::Low);
        sums.clipped_high += u64::from(clip == Clip::High);
    }

    /// Whether the ratio is a sequence's.
    fn by_sequence(&self) -> bool {
        self.importance == Importance::Sequence || self.kind == Kind::Gmpo
    }

    /// The surrogate at one token.
    fn term(&self, s: &Sequence, t: usize, log_ratio: f64, phi: f64, chosen: bool, clipped: Clip) -> Term {
        let (a, l) = (s.advantage, s.logprobs[t]);
        // 0 · r, also where r is beyond f64.
        if a == 0.0 && self.kind != Kind::KlCov {
            return Term::default();
        }
        let bounds = [1.0 - self.clip_low, 1.0 + self.clip_high];
        let distances = [self.clip_low, self.clip_high];
        match self.kind {
            Kind::Grpo | Kind::Bnpo | Kind::DrGrpo | Kind::Dapo | Kind::Luspo | Kind::Gspo => {
                clip::clipped(a, log_ratio, bounds, self.delta)
            }
            Kind::GspoToken => gspo::gspo_token(a, log_ratio, bounds),
            Kind::DualClip => clip::dual(a, log_ratio, bounds, self.dual_clip),
            Kind::Cispo => cispo::cispo(a, l, log_ratio, bounds[0].max(0.0), self.cap),
            Kind::Sapo => sapo::sapo(a, log_ratio, self.sapo),
            Kind::Vespo => vespo::vespo(a, l, phi),
            Kind::Reinforce => reinforce::reinforce(a, l),
            Kind::ClipCov => covariance::clip_cov(a, log_ratio, bounds, chosen),
            Kind::KlCov => covariance::kl_cov(a, log_ratio, self.cov_penalty, chosen),
            Kind::Gmpo => gmpo::gmpo(a, log_ratio, clipped),
            Kind::Dppo => dppo::dppo(a, [l, s.old[t]], dppo::Distance::TotalVariation, distances, self.cap),
            Kind::DppoKl => dppo::dppo(a, [l, s.old[t]], dppo::Distance::Binary, distances, self.cap),
        }
    }

    /// Whether the loss can have a gradient in a row with this advantage, the entropy bonus aside.
    pub fn moves(&self, advantage: f64) -> bool {
        advantage != 0.0 || self.kl_beta > 0.0 || self.kind == Kind::KlCov
    }
}

#[cfg(test)]
mod tests;
