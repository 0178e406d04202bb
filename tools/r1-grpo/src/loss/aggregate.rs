//! How much a token weighs in the loss of an optimizer batch.
//!
//! Rows whose loss is masked have length 0 here: they have no tokens, but count as rows (TRL's convention; verl does not count
//! them). Rows with advantage 0 add nothing but count in every number, as their tokens were paid for.

/// How much a token weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// 1 / (rows · its row's tokens): every sequence weighs the same (DeepSeekMath; TRL grpo; verl seq-mean-token-mean)
    SequenceMean,
    /// 1 / tokens of the batch: every token weighs the same (DAPO; verl token-mean)
    TokenMean,
    /// 1 / (rows · --generation-limit): no length in it (Dr. GRPO; verl seq-mean-token-sum-norm)
    Constant,
    /// 1 / rows: a long sequence weighs more (LUSPO; verl seq-mean-token-sum)
    SequenceSum,
    /// 1 / (groups · tokens of its group): every prompt weighs the same
    Group,
}

/// The weight of every token of each row. `lengths` are the rows' unmasked tokens, `groups` the number of each row's group, `limit`
/// the constant of [`Aggregate::Constant`].
pub fn weights(aggregate: Aggregate, lengths: &[usize], groups: &[usize], limit: usize) -> Vec<f64> {
    let rows = lengths.len().max(1) as f64;
    let tokens = lengths.iter().sum::<usize>().max(1) as f64;
    let mut names: Vec<usize> = groups.to_vec();
    names.sort_unstable();
    names.dedup();
    let of_group = |group: usize| -> usize {
        lengths.iter().zip(groups).filter(|(_, g)| **g == group).map(|(n, _)| n).sum()
    };
    let group_tokens: Vec<usize> = match aggregate {
        Aggregate::Group => names.iter().map(|group| of_group(*group)).collect(),
        _ => Vec::new(),
    };
    let weight = |i: usize| match aggregate {
        Aggregate::SequenceMean => 1.0 / (rows * lengths[i].max(1) as f64),
        Aggregate::TokenMean => 1.0 / tokens,
        Aggregate::Constant => 1.0 / (rows * limit.max(1) as f64),
        Aggregate::SequenceSum => 1.0 / rows,
        Aggregate::Group => {
            let own = names.binary_search(&groups[i]).map_or(1, |at| group_tokens[at]);
            1.0 / (names.len() as f64 * own.max(1) as f64)
        }
    };
    (0..lengths.len()).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_hand() {
        let (lengths, groups) = ([4, 2, 0, 2], [7, 7, 9, 9]);
        let of = |aggregate| weights(aggregate, &lengths, &groups, 5);
        assert_eq!(of(Aggregate::SequenceMean), [1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 8.0]);
        assert_eq!(of(Aggregate::TokenMean), [1.0 / 8.0; 4]);
        assert_eq!(of(Aggregate::Constant), [1.0 / 20.0; 4]);
        assert_eq!(of(Aggregate::SequenceSum), [1.0 / 4.0; 4]);
        assert_eq!(of(Aggregate::Group), [1.0 / 12.0, 1.0 / 12.0, 1.0 / 4.0, 1.0 / 4.0]);
        assert!(weights(Aggregate::TokenMean, &[0, 0], &[0, 0], 1).iter().all(|w| w.is_finite()));
        assert!(weights(Aggregate::Group, &[], &[], 1).is_empty());
    }
}
