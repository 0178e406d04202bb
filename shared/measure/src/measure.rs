//! What is measured on the completions of one prompt, and its mean over prompts.

use crate::interval::{bootstrap, wilson};
use crate::prompt::{Prompt, Sample};
use r1_verify::vote::{self, Same};

/// Something that each prompt has a value of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The chance that one of k completions is correct.
    Pass(usize),
    /// Whether the majority of k completions is correct.
    Consensus(usize),
    /// `reward.format`
    Format,
    /// `reward.language`
    Language,
    /// The share of completions that ended by themselves.
    Finished,
    /// Length in tokens.
    Tokens,
    /// Length in characters.
    Characters,
    /// `reward.total`
    Reward,
}

impl Measure {
    /// Those that are plain means over all completions.
    pub const MEANS: [Measure; 6] = [
        Measure::Format,
        Measure::Language,
        Measure::Finished,
        Measure::Tokens,
        Measure::Characters,
        Measure::Reward,
    ];

    /// The word for tables: `pass@1`, `cons@8`, `format` …
    pub fn name(self) -> String {
        match self {
            Measure::Pass(k) => format!("pass@{k}"),
            Measure::Consensus(k) => format!("cons@{k}"),
            Measure::Format => "format".to_string(),
            Measure::Language => "language".to_string(),
            Measure::Finished => "finished".to_string(),
            Measure::Tokens => "tokens".to_string(),
            Measure::Characters => "characters".to_string(),
            Measure::Reward => "reward".to_string(),
        }
    }

    /// Whether it is a share, from 0 to 1.
    pub fn is_share(self) -> bool {
        !matches!(self, Measure::Tokens | Measure::Characters | Measure::Reward)
    }

    /// The prompt's values as their sum and their count, which is 0 where it has none. pass@k and cons@k are one value a prompt,
    /// the others one a completion. Fewer than k samples have no pass@k and no cons@k.
    pub fn of(self, prompt: &Prompt) -> (f64, f64) {
        let values = match self {
            Measure::Pass(k) | Measure::Consensus(k) if k > prompt.samples.len() => return (0.0, 0.0),
            Measure::Pass(k) => return (pass_at(k, prompt.samples.len(), prompt.correct()), 1.0),
            Measure::Consensus(k) => {
                let majority = consensus_at(k, &prompt.samples, vote::same(&prompt.task));
                return (f64::from(u8::from(majority.correct)), 1.0);
            }
            Measure::Format => &prompt.format,
            Measure::Language => &prompt.language,
            Measure::Finished => &prompt.finished,
            Measure::Tokens => &prompt.tokens,
            Measure::Characters => &prompt.characters,
            Measure::Reward => &prompt.totals,
        };
        (values.iter().sum(), values.len() as f64)
    }
}

/// A mean over prompts with its intervals.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Of what.
    pub measure: Measure,
    /// The mean: of one value a prompt, or of one a completion.
    pub value: f64,
    /// Cluster bootstrap, 95 %.
    pub bootstrap: [f64; 2],
    /// Wilson, 95 %, over all samples; only for pass@1.
    pub wilson: Option<[f64; 2]>,
}

/// The mean over prompts; nothing where no prompt has a value.
pub fn measured(measure: Measure, prompts: &[&Prompt], resamples: u32, seed: u64) -> Option<Measured> {
    let values: Vec<(f64, f64)> = prompts.iter().map(|prompt| measure.of(prompt)).collect();
    let (sum, count) = values.iter().fold((0.0, 0.0), |(s, n), (a, b)| (s + a, n + b));
    let samples = prompts.iter().map(|prompt| prompt.samples.len()).sum();
    (count > 0.0).then(|| {
        let value = sum / count;
        let wilson = (measure == Measure::Pass(1)).then(|| wilson(value, samples));
        Measured { measure, value, bootstrap: bootstrap(&values, resamples, seed), wilson }
    })
}

/// The unbiased estimate of the chance that at least one of `k` draws is correct, from `n` samples of which `c` are:
/// `1 - C(n-c, k) / C(n, k)`, as a product that never overflows (Chen et al. 2021, section 2.1). Needs `k <= n`.
pub fn pass_at(k: usize, n: usize, c: usize) -> f64 {
    if c + k > n {
        return 1.0;
    }
    // C(n-c, k) / C(n, k) = prod over i in 0..k of (n-c-i) / (n-i)
    1.0 - (0..k).map(|i| (n - c - i) as f64 / (n - i) as f64).product::<f64>()
}

/// What a vote came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Majority {
    /// Whether the answer with the most votes is correct.
    pub correct: bool,
    /// Whether another answer had as many votes, so that the order decided.
    pub tied: bool,
}

/// Whether the majority of the first `k` samples is correct (self-consistency). All correct completions vote together, since
/// each is equal to the expected answer however it is written; the others vote by their answer, equal ones (`1/2`, `0.5`)
/// together, and a completion without an answer does not vote. Of answers with the same number of votes, the one that came
/// first wins.
pub fn consensus_at(k: usize, samples: &[Sample], same: Same) -> Majority {
    let cast = &samples[..k.min(samples.len())];
    let correct: Vec<usize> = (0..cast.len()).filter(|at| cast[*at].correct).collect();
    let wrong: Vec<Option<&str>> = cast.iter().map(|s| s.answer.as_deref().filter(|_| !s.correct)).collect();
    let mut classes = vote::classes(&wrong, same);
    if !correct.is_empty() {
        classes.push(correct);
    }
    let most = classes.iter().map(Vec::len).max().unwrap_or(0);
    let mut leaders: Vec<&Vec<usize>> = classes.iter().filter(|class| class.len() == most).collect();
    leaders.sort_by_key(|class| class[0]);
    Majority { correct: leaders.first().is_some_and(|class| cast[class[0]].correct), tied: leaders.len() > 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, by counting every subset of k samples.
    fn by_counting(k: usize, n: usize, c: usize) -> f64 {
        let (mut all, mut hit) = (0u32, 0u32);
        for subset in 0u32..1 << n {
            if subset.count_ones() as usize == k {
                all += 1;
                hit += u32::from(subset & ((1 << c) - 1) != 0);
            }
        }
        f64::from(hit) / f64::from(all)
    }

    #[test]
    fn pass_at_k_is_the_share_of_subsets_with_a_correct_one() {
        for n in 1..=9 {
            for c in 0..=n {
                for k in 1..=n {
                    let (found, expected) = (pass_at(k, n, c), by_counting(k, n, c));
                    assert!((found - expected).abs() < 1e-12, "k {k} n {n} c {c}: {found} is not {expected}");
                }
            }
        }
        // Large numbers stay finite: 1 - C(900, 500) / C(1000, 500) is 1 to f64's precision.
        assert!(pass_at(500, 1000, 100) <= 1.0 && pass_at(500, 1000, 100) > 1.0 - 1e-12);
    }

    fn sample(answer: &str, correct: bool) -> Sample {
        Sample { correct, answer: (!answer.is_empty()).then(|| answer.to_string()) }
    }

    fn majority(k: usize, samples: &[Sample]) -> (bool, bool) {
        let found = consensus_at(k, samples, vote::same("math"));
        (found.correct, found.tied)
    }

    #[test]
    fn the_majority_decides() {
        let (wrong, half, other) = (sample("20", false), sample("14.0", true), sample("14", true));
        let three = [wrong.clone(), half.clone(), other.clone()];
        assert_eq!(majority(3, &three), (true, false), "14 and 14.0 vote together");
        assert_eq!(majority(2, &three), (false, true), "the first of a tie wins");
        assert_eq!(majority(2, &[half.clone(), wrong.clone()]), (true, true));
        assert_eq!(majority(4, &[wrong.clone(), wrong, half.clone(), sample("", false)]), (false, false));
        assert_eq!(majority(3, &[sample("", false), sample("", false), other]), (true, false));
        assert_eq!(majority(2, &[sample("", false), sample("", false)]), (false, false));
        let written = [half, sample("1/2", false), sample("0.5", false), sample("\\frac{1}{2}", false)];
        assert_eq!(majority(4, &written), (false, false), "equal wrong answers vote together");
    }
}
