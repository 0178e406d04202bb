//! What is measured on the completions of one prompt.

/// One judged completion.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Whether `reward.accuracy` is 1.
    pub correct: bool,
    /// `reward.answer`, where the verifier found one.
    pub answer: Option<String>,
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

/// Whether the majority of the first `k` samples is correct (self-consistency). All correct completions vote together, since
/// each is equal to the expected answer however it is written; the others vote by their answer's text, and a completion
/// without an answer does not vote. Of answers with the same number of votes, the one that came first wins.
pub fn consensus_at(k: usize, samples: &[Sample]) -> f64 {
    /// Who is voted for.
    #[derive(PartialEq)]
    enum Vote<'a> {
        Correct,
        Other(&'a str),
    }
    let mut votes: Vec<(Vote<'_>, usize)> = Vec::new();
    for sample in &samples[..k.min(samples.len())] {
        let vote = match (&sample.answer, sample.correct) {
            (_, true) => Vote::Correct,
            (Some(answer), false) => Vote::Other(answer.trim()),
            (None, false) => continue,
        };
        match votes.iter_mut().find(|(known, _)| *known == vote) {
            Some((_, count)) => *count += 1,
            None => votes.push((vote, 1)),
        }
    }
    let most = votes.iter().map(|(_, count)| *count).max();
    let winner = votes.iter().find(|(_, count)| Some(*count) == most);
    f64::from(u8::from(matches!(winner, Some((Vote::Correct, _)))))
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

    #[test]
    fn the_majority_decides() {
        let (wrong, half, other) = (sample("20", false), sample("14.0", true), sample("14", true));
        assert_eq!(
            consensus_at(3, &[wrong.clone(), half.clone(), other.clone()]),
            1.0,
            "14 and 14.0 vote together"
        );
        assert_eq!(
            consensus_at(2, &[wrong.clone(), half.clone(), other.clone()]),
            0.0,
            "the first of a tie wins"
        );
        assert_eq!(consensus_at(2, &[half.clone(), wrong.clone()]), 1.0);
        assert_eq!(consensus_at(4, &[wrong.clone(), wrong, half, sample("", false)]), 0.0);
        assert_eq!(
            consensus_at(3, &[sample("", false), sample("", false), other]),
            1.0,
            "silence does not vote"
        );
        assert_eq!(consensus_at(2, &[sample("", false), sample("", false)]), 0.0);
    }
}
