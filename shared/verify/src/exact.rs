//! Answers that are plain strings.

use crate::Judgement;

/// What two strings may differ in and still be the same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether capital and small letters differ.
    pub case: bool,
    /// Whether the amount of whitespace matters (its presence always does). Whitespace at the ends never does.
    pub whitespace: bool,
}

impl Default for Policy {
    /// Case matters, the amount of whitespace does not.
    fn default() -> Self {
        Policy { case: true, whitespace: false }
    }
}

/// Compares two strings under a policy.
pub fn judge(answer: &str, expected: &str, policy: Policy) -> Judgement {
    Judgement::of(normal_form(answer, policy) == normal_form(expected, policy), "exact")
}

/// The string that is compared.
pub fn normal_form(text: &str, policy: Policy) -> String {
    let text = text.trim();
    let text = if policy.whitespace {
        text.to_string()
    } else {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    if policy.case { text } else { text.to_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_settable() {
        let p = Policy::default();
        assert!(judge(" 3 1 2 4\r\n2 4 3 1 ", "3 1 2 4\n2 4 3 1", p).is_equal());
        assert!(!judge("No", "no", p).is_equal());
        assert!(judge("No", "no", Policy { case: false, ..p }).is_equal());
        assert!(!judge("a  b", "a b", Policy { whitespace: true, ..p }).is_equal());
        assert!(!judge("ab", "a b", p).is_equal());
    }
}
