//! The advantage of a completion: group statistics, then batch statistics where the convention has any.
//!
//! A group without spread gives exactly 0 under every baseline. Rounding must not turn equal rewards into ±1 (0.1 + 1.0 and 1.1
//! differ in the last bit), so rewards that differ by less than 1e-9 of the greatest magnitude count as equal. An absent reward
//! counts for nothing: it is in no statistic, and its advantage is 0.

use crate::convention::{Baseline, Convention, Scale, Single, Spread, Whiten};

/// Rewards that differ by less than this share of the greatest magnitude count as equal.
const EQUAL: f64 = 1e-9;

/// What a convention asks of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// the reward that counts; absent where the row was not judged
    pub total: Option<f64>,
    /// the parts that the convention names, in its order; empty where the total counts
    pub parts: Vec<Option<f64>>,
    /// completion tokens
    pub tokens: usize,
}

impl Judged {
    /// Whether anything of the row was judged.
    fn any(&self) -> bool {
        if self.parts.is_empty() { self.total.is_some() } else { self.parts.iter().any(Option::is_some) }
    }
}

impl Convention {
    /// Advantages of one group, as far as the group alone decides them: final unless the convention needs all groups.
    pub fn group(&self, rows: &[Judged]) -> Vec<Option<f64>> {
        let tokens: Vec<usize> = rows.iter().map(|row| row.tokens).collect();
        if self.parts.is_empty() {
            let rewards: Vec<Option<f64>> = rows.iter().map(|row| row.total).collect();
            return self.relative(&rewards, &tokens);
        }
        let mut sums: Vec<Option<f64>> = rows.iter().map(|row| row.any().then_some(0.0)).collect();
        for (k, (_, weight)) in self.parts.iter().enumerate() {
            let part: Vec<Option<f64>> = rows.iter().map(|row| row.parts[k]).collect();
            for (sum, own) in sums.iter_mut().zip(self.relative(&part, &tokens)) {
                if let (Some(sum), Some(own)) = (sum, own) {
                    *sum += weight * own;
                }
            }
        }
        sums
    }

    /// One list of rewards against its own statistics.
    fn relative(&self, rewards: &[Option<f64>], tokens: &[usize]) -> Vec<Option<f64>> {
        let judged: Vec<f64> = rewards.iter().flatten().copied().collect();
        let by_batch = self.scale == Scale::Batch;
        if self.baseline != Baseline::None && judged.len() == 1 {
            let alone = match (self.single, self.spread) {
                (Single::Zero, _) => 0.0,
                (Single::Reward, Spread::None) => judged[0],
                (Single::Reward, _) if by_batch => judged[0],
                (Single::Reward, _) => judged[0] / (1.0 + self.eps),
            };
            return rewards.iter().map(|reward| reward.map(|_| alone)).collect();
        }
        if self.baseline != Baseline::None && !differ(&judged) {
            return rewards.iter().map(|reward| reward.map(|_| 0.0)).collect();
        }
        let mean = mean(&judged);
        let count = judged.len() as f64;
        let divisor = if by_batch { 1.0 } else { self.divisor(&judged) };
        let advantage = |at: usize, reward: f64| match self.baseline {
            Baseline::Mean => reward - mean,
            // r - mean of the others = n / (n - 1) · (r - mean of all)
            Baseline::Others => count / (count - 1.0) * (reward - mean),
            Baseline::Length => reward - weighted(rewards, tokens).unwrap_or(mean),
            Baseline::Second => lead(rewards, at),
            Baseline::None => reward,
        };
        // Only a negative mean's neighbourhood of 0 could make the divisor vanish, and negative rewards are refused there.
        let divided = |at: usize, reward: f64| {
            let difference = advantage(at, reward);
            if difference == 0.0 { 0.0 } else { difference / divisor }
        };
        rewards.iter().enumerate().map(|(at, reward)| reward.map(|r| divided(at, r))).collect()
    }

    /// What to divide by, of these rewards; 1 for nothing.
    fn divisor(&self, rewards: &[f64]) -> f64 {
        let mean = mean(rewards);
        let count = rewards.len() as f64;
        match self.spread {
            Spread::None => 1.0,
            Spread::Ddof0 => (squares(rewards, mean) / count).sqrt() + self.eps,
            Spread::Ddof1 => (squares(rewards, mean) / (count - 1.0)).sqrt() + self.eps,
            Spread::Mean => mean + self.eps,
        }
    }

    /// What all groups together decide: the common divisor, then the whitening. `advantages` are those of
    /// [`Convention::group`], group after group, beside the rows they belong to.
    pub fn batch(&self, rows: &[Judged], advantages: &mut [Option<f64>]) {
        if self.scale == Scale::Batch {
            let rewards: Vec<f64> = rows.iter().filter_map(|row| row.total).collect();
            if differ(&rewards) {
                let divisor = self.divisor(&rewards);
                // Group differences of 0 stay 0 whatever the divisor.
                advantages.iter_mut().flatten().filter(|a| **a != 0.0).for_each(|a| *a /= divisor);
            }
        }
        let times = |row: &Judged| match self.whiten {
            Whiten::None => 0,
            Whiten::Rows => 1,
            Whiten::Tokens => row.tokens,
        };
        if self.whiten == Whiten::None {
            return;
        }
        let counted: Vec<(f64, f64)> =
            advantages.iter().zip(rows).filter_map(|(a, row)| a.map(|a| (a, times(row) as f64))).collect();
        let total: f64 = counted.iter().map(|(_, n)| n).sum();
        let values: Vec<f64> = counted.iter().filter(|(_, n)| *n > 0.0).map(|(a, _)| *a).collect();
        if total < 2.0 || !differ(&values) {
            advantages.iter_mut().flatten().for_each(|a| *a = 0.0);
            return;
        }
        let mean = counted.iter().map(|(a, n)| a * n).sum::<f64>() / total;
        let variance = counted.iter().map(|(a, n)| n * (a - mean) * (a - mean)).sum::<f64>() / (total - 1.0);
        let divisor =
            if self.whiten == Whiten::Rows { variance.sqrt() + 1e-4 } else { (variance + 1e-8).sqrt() };
        advantages.iter_mut().flatten().for_each(|a| *a = (*a - mean) / divisor);
    }
}

/// The mean with every reward weighted by its completion's length; `None` where no completion has a token.
fn weighted(rewards: &[Option<f64>], tokens: &[usize]) -> Option<f64> {
    let judged = || rewards.iter().zip(tokens).filter_map(|(reward, n)| reward.map(|r| (r, *n as f64)));
    let total: f64 = judged().map(|(_, n)| n).sum();
    (total > 0.0).then(|| judged().map(|(r, n)| r * n).sum::<f64>() / total)
}

/// By how much the reward at `at` leads: the distance to the second best where it is the best (the first of equal ones), else 0.
fn lead(rewards: &[Option<f64>], at: usize) -> f64 {
    let best = (0..rewards.len()).fold(None, |best: Option<usize>, i| match (best, rewards[i]) {
        (Some(b), Some(r)) if rewards[b].is_some_and(|known| known >= r) => Some(b),
        (best, None) => best,
        _ => Some(i),
    });
    if best != Some(at) {
        return 0.0;
    }
    let second = (0..rewards.len()).filter(|&i| i != at).filter_map(|i| rewards[i]);
    rewards[at].unwrap_or(0.0) - second.fold(f64::NEG_INFINITY, f64::max)
}

/// Whether the rewards differ by more than rounding.
pub fn differ(rewards: &[f64]) -> bool {
    let greatest = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = rewards.iter().copied().fold(f64::INFINITY, f64::min);
    rewards.len() > 1 && greatest - least > EQUAL * greatest.abs().max(least.abs())
}

/// The arithmetic mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The sum of squared distances from the mean.
pub fn squares(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|value| (value - mean) * (value - mean)).sum()
}

#[cfg(test)]
mod tests;
