//! Language consistency: the share of the reasoning's words that are in the target language (R1, stage RL 1:
//! `R = words in the target language / words`).
//!
//! A word's language is told by its script. The paper does not say how it segments words; here
//! - in scripts written with spaces a word is a run of letters (an apostrophe or hyphen inside belongs to it);
//! - in Han and kana, where no space separates words, every character counts as one word, the convention of mixed
//!   error rates in Chinese–English speech recognition (in Thai, Lao, Khmer and Burmese a run up to a space is one);
//! - code (between backticks), formulas (between `$`, `\(…\)`, `\[…\]`), LaTeX commands, tags, numbers, letters attached
//!   to a digit (`5cm`, `x1`), single letters (variables) and names of functions (`sin`, `mod`) are no words.
//!
//! Two languages of one script (English, French) are not told apart.

mod script;

#[cfg(test)]
mod tests;

pub use script::Script;

use crate::extract::{Prefill, split};
use std::collections::BTreeMap;

/// The language reward of a completion: the share of words of `target` in its reasoning, between 0 and 1.
///
/// Reasoning without any word counts as consistent (1). Absent or empty reasoning counts 0, and so does one
/// that never closes. `target` is a language tag such as `en`, `zh` or `pt-BR`.
///
/// # Errors
/// The tag, where it is not one of a language whose script is known.
pub fn consistency(completion: &str, prefill: Prefill, target: &str) -> Result<f64, UnknownLanguage> {
    let scripts = Script::of_language(target).ok_or_else(|| UnknownLanguage(target.to_string()))?;
    let thought = split(completion, prefill);
    let (Some(reasoning), Some(_)) = (thought.reasoning, thought.visible) else { return Ok(0.0) };
    let reasoning = &completion[reasoning];
    if reasoning.trim().is_empty() {
        return Ok(0.0);
    }
    Ok(share(reasoning, scripts).unwrap_or(1.0))
}

/// A language tag that names no language with a known script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownLanguage(
    /// The tag.
    pub String,
);

impl std::fmt::Display for UnknownLanguage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "language {:?} is not known; give a two-letter code such as en or zh", self.0)
    }
}

impl std::error::Error for UnknownLanguage {}

/// The share of words in any of `scripts`; absent where the text has no word.
pub fn share(text: &str, scripts: &[Script]) -> Option<f64> {
    let counts = count_words(text);
    let all: usize = counts.values().sum();
    let target: usize = scripts.iter().filter_map(|s| counts.get(s)).sum();
    (all > 0).then(|| target as f64 / all as f64)
}

/// The language a text is most likely in, as far as its script tells: `zh`, `ja`, `ko`, `ru`, … and `en` for Latin.
/// Absent where the text has no word.
pub fn detect(text: &str) -> Option<&'static str> {
    let counts = count_words(text);
    if counts.get(&Script::Kana).is_some_and(|&kana| kana > 0) {
        let han = counts.get(&Script::Han).copied().unwrap_or(0);
        let latin = counts.get(&Script::Latin).copied().unwrap_or(0);
        if counts[&Script::Kana] + han > latin {
            return Some("ja");
        }
    }
    let (script, _) = counts.into_iter().max_by_key(|&(script, n)| (n, std::cmp::Reverse(script)))?;
    Some(script.typical_language())
}

/// Words per script.
pub fn count_words(text: &str) -> BTreeMap<Script, usize> {
    let mut counts = BTreeMap::new();
    let mut word: Option<(Script, usize, usize)> = None; // script, start, letters
    let mut attached = false; // a digit or backslash stands directly before
    let mut skip_to = 0;
    let mut finish = |word: &mut Option<(Script, usize, usize)>, end: usize, digit_after: bool| {
        if let Some((script, start, letters)) = word.take() {
            let spaced = letters > 1 && !digit_after && !is_function(&text[start..end]);
            if spaced {
                *counts.entry(script).or_insert(0) += 1;
            }
        }
    };
    let (mut han, mut kana) = (0, 0);
    for (i, c) in text.char_indices() {
        if i < skip_to {
            continue;
        }
        if let Some(end) = opaque(text, i, c) {
            finish(&mut word, i, false);
            skip_to = end;
            attached = false;
            continue;
        }
        match Script::of(c) {
            Some(script) if script.is_unspaced() => {
                finish(&mut word, i, false);
                *(if script == Script::Han { &mut han } else { &mut kana }) += 1;
                attached = false;
            }
            Some(script) => match &mut word {
                Some((current, _, letters)) if *current == script => *letters += 1,
                _ => {
                    finish(&mut word, i, false);
                    if !attached {
                        word = Some((script, i, 1));
                    }
                }
            },
            // Marks and joiners continue a word; so do an apostrophe or a hyphen between letters.
            None if word.is_some() && (script::is_mark(c) || matches!(c, '\'' | '’' | '-')) => {}
            None => {
                finish(&mut word, i, c.is_ascii_digit() || c == '_');
                attached = c.is_ascii_digit() || c == '\\' || c == '_';
            }
        }
    }
    finish(&mut word, text.len(), false);
    for (script, n) in [(Script::Han, han), (Script::Kana, kana)] {
        if n > 0 {
            counts.insert(script, n);
        }
    }
    counts
}

/// Where a stretch of code, formula or markup that starts here ends.
fn opaque(text: &str, at: usize, c: char) -> Option<usize> {
    let rest = &text[at..];
    // Without a closing mark there is no stretch; the search is bounded, so that lone marks cost little.
    let until = |open: &str, close: &str, reach: usize| {
        let body = at + open.len();
        let mut limit = (body + reach).min(text.len());
        while !text.is_char_boundary(limit) {
            limit -= 1;
        }
        text[body..limit].find(close).map(|n| body + n + close.len())
    };
    match c {
        '`' if rest.starts_with("```") => until("```", "```", 20_000),
        '`' => until("`", "`", 500),
        '$' if rest.starts_with("$$") => until("$$", "$$", 5_000),
        '$' => until("$", "$", 300).filter(|&end| !text[at..end].contains('\n')),
        '\\' if rest.starts_with("\\(") => until("\\(", "\\)", 5_000),
        '\\' if rest.starts_with("\\[") => until("\\[", "\\]", 5_000),
        '\\' => {
            let letters = rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
            (letters > 0).then_some(at + 1 + letters)
        }
        '<' => ["<think>", "</think>", "<answer>", "</answer>"]
            .iter()
            .find(|tag| rest.starts_with(**tag))
            .map(|tag| at + tag.len()),
        _ => None,
    }
}

/// Names of mathematical functions are written in Latin letters in every language.
fn is_function(word: &str) -> bool {
    const NAMES: &[&str] = &[
        "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "lg", "exp", "lim", "max", "min", "mod",
        "gcd", "lcm", "sqrt", "det", "arg", "deg", "pi", "abs",
    ];
    NAMES.contains(&word)
}
