//! Answers that a regular expression describes.

use crate::Judgement;
use regex::{Regex, RegexBuilder};

/// Bytes that a compiled expression may take.
const MOST: usize = 1 << 20;

/// A regular expression that must match the whole answer. Matching takes time in proportion to the answer's length, whatever
/// the expression (the crate `regex`: no look-around, no back-references).
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Reads an expression, such as `(?i)yes|no` or `\d{4}-\d\d-\d\d`.
    ///
    /// # Errors
    /// What is wrong with it, in one clause.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let whole = format!(r"\A(?:{text})\z");
        RegexBuilder::new(&whole).size_limit(MOST).build().map(Pattern).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_string(),
            other => {
                other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_string()
            }
        })
    }

    /// Judges an answer, without the whitespace at its ends.
    pub fn judge(&self, answer: &str) -> Judgement {
        Judgement::of(self.0.is_match(answer.trim()), "regex")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_answer_matches() {
        let date = Pattern::new(r"\d{4}-\d\d-\d\d|never").unwrap();
        assert!(date.judge(" 2024-02-29\n").is_equal() && date.judge("never").is_equal());
        assert!(!date.judge("on 2024-02-29").is_equal() && !date.judge("neverland").is_equal());
        assert!(Pattern::new("(?i)paris").unwrap().judge("PARIS").is_equal());
        for bad in ["(", "a{999999999}", r"(?=a)", r"(a)\1"] {
            let error = Pattern::new(bad).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{bad}: {error}");
        }
        assert!(Pattern::new(&"a{1000}".repeat(1000)).is_err());
        // Linear where a backtracking engine would not end.
        assert!(!Pattern::new("(a*)*b").unwrap().judge(&"a".repeat(100_000)).is_equal());
    }
}
