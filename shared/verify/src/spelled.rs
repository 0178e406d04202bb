//! Answers whose value is given and whose spelling is asked for: a fraction in lowest terms, a number as its prime factors.

use crate::Judgement;

/// Compares two spellings: `\frac{3}{4}` is `3/4` but not `6/8`; `2 × 3 × 2` is `2 * 2 * 3` but not `12`. Dollar signs, spaces and
/// capital letters do not count; the order of factors does not either.
pub fn judge(answer: &str, expected: &str) -> Judgement {
    Judgement::of(normal_form(answer) == normal_form(expected), "spelling")
}

/// The spelling that is compared.
pub fn normal_form(text: &str) -> String {
    let mut plain = text.trim().trim_end_matches('.').to_lowercase();
    for (written, meant) in [
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\times", "*"),
        ("\\cdot", "*"),
        ("×", "*"),
        ("·", "*"),
    ] {
        plain = plain.replace(written, meant);
    }
    plain.retain(|c| !c.is_whitespace() && c != '$');
    let quotient = plain.strip_prefix("\\frac{").and_then(|rest| rest.strip_suffix('}')?.split_once("}{"));
    if let Some((above, below)) = quotient {
        return format!("{above}/{below}");
    }
    let mut factors: Vec<&str> = plain.split('*').collect();
    factors.sort_unstable();
    factors.join("*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spelling_counts() {
        assert!(judge("3/4", "$\\frac{3}{4}$").is_equal() && judge("\\dfrac{3}{4}", "3 / 4").is_equal());
        assert!(!judge("6/8", "3/4").is_equal() && !judge("0.75", "3/4").is_equal());
        assert!(judge("5 * 2 \\times 2", "2 × 2 × 5").is_equal() && judge("22E", "22e").is_equal());
        assert!(!judge("20", "2 × 2 × 5").is_equal() && !judge("4 × 5", "2 × 2 × 5").is_equal());
    }
}
