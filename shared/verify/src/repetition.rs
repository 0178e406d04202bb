//! A penalty for saying the same thing again.

use std::collections::HashSet;
use std::hash::Hash;

/// `(1 − distinct n-grams / all n-grams) · max_penalty`; 0 where there are fewer than `n` items.
///
/// Over token ids this is TRL's reward, over [`words`] open-r1's. `max_penalty` is at most 0.
///
/// ```
/// use r1_verify::repetition::penalty;
/// assert_eq!(penalty(&[1, 2, 3, 4], 2, -1.0), 0.0);
/// assert_eq!(penalty(&[5, 5, 5, 5, 5], 2, -1.0), -0.75);
/// ```
pub fn penalty<T: Eq + Hash>(items: &[T], n: usize, max_penalty: f64) -> f64 {
    if n == 0 || items.len() < n {
        return 0.0;
    }
    let total = items.len() - n + 1;
    let distinct = items.windows(n).collect::<HashSet<_>>().len();
    if distinct == total { 0.0 } else { (1.0 - distinct as f64 / total as f64) * max_penalty }
}

/// The words of a text in lower case, split at whitespace.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_words() {
        // open-r1: 8 words, 6 trigrams, of which "a b c" comes twice: (1 - 5/6) * -1.
        let r = penalty(&words("a b c d A b C e"), 3, -1.0);
        assert!((r - -(1.0 / 6.0)).abs() < 1e-12, "{r}");
        assert_eq!(penalty(&words("one two"), 3, -1.0), 0.0);
        assert!(penalty(&words("a b c d"), 3, -1.0).is_sign_positive());
        assert_eq!(penalty::<u32>(&[], 0, -1.0), 0.0);
    }
}
