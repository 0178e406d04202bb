//! Multiple choice: which letters an answer names.

use crate::Judgement;
use std::collections::BTreeSet;

/// Compares two choices. Either side may be a letter (`B`, `(b)`, `B.`, `B) Paris`, `Option B`), several letters
/// (`A, C`), or the text of one of the `options`, the first of which is A.
///
/// Where neither letters nor an option can be read, the texts themselves are compared without regard to case.
pub fn judge(answer: &str, expected: &str, options: &[&str]) -> Judgement {
    match (letters(answer, options), letters(expected, options)) {
        (Some(a), Some(b)) => Judgement::of(a == b, "choice"),
        (None, None) => Judgement::of(bare(answer) == bare(expected), "choice text"),
        _ => Judgement::unequal("not a choice"),
    }
}

/// The letters as compared, or the text where there are none.
pub fn normal_form(text: &str, options: &[&str]) -> String {
    match letters(text, options) {
        Some(set) => set.iter().map(char::to_string).collect::<Vec<_>>().join(", "),
        None => bare(text),
    }
}

/// The set of letters a text names, in capitals.
pub fn letters(text: &str, options: &[&str]) -> Option<BTreeSet<char>> {
    let plain = bare(text);
    if let Some(i) = options.iter().position(|o| bare(o) == plain) {
        return u8::try_from(i).ok().filter(|&i| i < 26).map(|i| BTreeSet::from([(b'A' + i) as char]));
    }
    let last = if options.is_empty() { b'J' } else { b'A' + (options.len().min(26) as u8) - 1 };
    let letter = |word: &str| {
        let word = word.trim_matches(['(', ')', '[', ']', '.', ':', ',', '{', '}']);
        let mut chars = word.chars();
        let c = chars.next()?.to_ascii_uppercase();
        (chars.next().is_none() && c.is_ascii_uppercase() && c as u8 <= last).then_some(c)
    };
    let mut rest = plain.as_str();
    for lead in ["the ", "correct ", "answer ", "option ", "choice ", "is ", "answer: ", "option: "] {
        rest = rest.strip_prefix(lead).unwrap_or(rest);
    }
    // "a, c" and "a and c".
    let words: Vec<&str> =
        rest.split([' ', ',', ';', '&']).filter(|w| !w.is_empty() && !matches!(*w, "and" | "or")).collect();
    if words.is_empty() || words.len() > 26 {
        return None;
    }
    if let Some(set) = words.iter().map(|w| letter(w)).collect::<Option<BTreeSet<char>>>() {
        return Some(set);
    }
    // "b) paris", "(b) paris", "b. paris", "b: paris": a letter that punctuation sets apart from its text.
    let first = words[0];
    let set_apart = first.ends_with([')', '.', ':', ']']);
    if set_apart { letter(first).map(|c| BTreeSet::from([c])) } else { None }
}

/// The text without markup, in lower case, with single spaces and no full stop at its end.
fn bare(text: &str) -> String {
    let mut text = text.replace("\\text", " ").replace("\\textbf", " ").replace("\\mathrm", " ");
    text.retain(|c| !matches!(c, '*' | '$' | '`' | '"' | '{' | '}'));
    let lower = text.to_lowercase();
    let joined = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.trim_end_matches(['.', '。']).trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_in_many_dresses() {
        for text in [
            "B",
            "b",
            "(B)",
            "B.",
            "B)",
            "**B**",
            "\\text{B}",
            "$\\text{(B)}$",
            "Option B",
            "The correct answer is B.",
            "B) Paris",
            "(b) Paris",
            "[B]",
        ] {
            assert!(judge(text, "B", &[]).is_equal(), "{text}");
            assert!(!judge(text, "A", &[]).is_equal(), "{text}");
        }
        assert!(!judge("a dog", "A", &[]).is_equal());
        assert!(!judge("Both", "B", &[]).is_equal());
        assert!(judge("A and C", "C, A", &[]).is_equal());
        assert!(!judge("A", "A, C", &[]).is_equal());
    }

    #[test]
    fn options_are_answers_too() {
        let options = ["London", "Paris", "Rome"];
        assert!(judge("paris", "B", &options).is_equal());
        assert!(judge("C", "Rome", &options).is_equal());
        assert!(!judge("D", "Rome", &options).is_equal());
        assert!(judge("yes", "Yes.", &[]).is_equal());
    }
}
