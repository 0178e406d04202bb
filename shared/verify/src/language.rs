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
//! Languages of one script (English and French, Russian and Ukrainian) are told apart sentence by sentence, where a sentence
//! has clear evidence, else by the whole text, by a model of small words (`identify.rs`); near relatives (Danish and Norwegian) and
//! languages without a profile are not. Chinese is told from Japanese by kana and by characters of Chinese grammar.

mod identify;
mod profile;
mod script;

#[cfg(test)]
mod tests;

pub use script::Script;

use crate::extract::{Prefill, split};
use identify::{CERTAIN, NOTHING, Scores};
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
    let (mut all, mut target_words) = (0, 0);
    for sentence in judged(reasoning, target, scripts) {
        all += sentence.words.values().sum::<usize>();
        if sentence.consistent {
            target_words += scripts.iter().filter_map(|script| sentence.words.get(script)).sum::<usize>();
        }
    }
    Ok(if all == 0 { 1.0 } else { target_words as f64 / all as f64 })
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

/// One sentence: its words per script, and whether those of the target's scripts are in the target language.
struct Sentence {
    words: BTreeMap<Script, usize>,
    scores: Scores,
    /// Characters that are Chinese and hardly Japanese.
    chinese: usize,
    consistent: bool,
}

/// Characters that Chinese writes all the time and Japanese hardly ever: its grammar, and common ones in their simplified form.
const CHINESE: &str =
    "的了是这這们們吗么没个说还为从对让给你她它时间问题页车东话边过进远运现应该则设价买卖总头钱岁几两";

/// The sentences of a text, each judged by itself where it tells enough, else by the whole text.
fn judged(text: &str, target: &str, scripts: &[Script]) -> Vec<Sentence> {
    let empty = || Sentence { words: BTreeMap::new(), scores: NOTHING, chinese: 0, consistent: true };
    let (mut sentences, mut now) = (Vec::new(), empty());
    walk(text, &mut |piece| match piece {
        Piece::Word(script, word) => {
            let first = now.words.is_empty();
            *now.words.entry(script).or_insert(0) += 1;
            if scripts.contains(&script) && (first || !is_name(word)) {
                identify::weigh(script, word, &mut now.scores);
            }
        }
        Piece::Sign(script, sign) => {
            *now.words.entry(script).or_insert(0) += 1;
            now.chinese += usize::from(CHINESE.contains(sign));
        }
        Piece::End if now.words.is_empty() => {}
        Piece::End => sentences.push(std::mem::replace(&mut now, empty())),
    });
    if !now.words.is_empty() {
        sentences.push(now);
    }
    let profiles = identify::profiles(target);
    if !profiles.is_empty() {
        let mut whole = NOTHING;
        for sentence in &sentences {
            whole.iter_mut().zip(&sentence.scores).for_each(|(sum, score)| *sum += score);
        }
        let whole_text = identify::evidence(&whole, &profiles) < CERTAIN;
        for sentence in &mut sentences {
            let evidence = identify::evidence(&sentence.scores, &profiles);
            sentence.consistent = if evidence.abs() < CERTAIN { whole_text } else { evidence < 0.0 };
        }
    } else if scripts.contains(&Script::Han) {
        // Japanese and Korean have Han characters beside letters of their own.
        let own = [Script::Kana, Script::Hangul].into_iter().find(|own| scripts.contains(own));
        for sentence in &mut sentences {
            let of = |script| sentence.words.get(&script).copied().unwrap_or(0);
            let no_chinese = own.is_none_or(|own| of(own) > 0 || sentence.chinese == 0);
            let no_japanese = own == Some(Script::Kana) || of(Script::Kana) * 4 <= of(Script::Han);
            sentence.consistent = no_chinese && no_japanese;
        }
    }
    sentences
}

/// The language a text is most likely in, by its script and the small words of it: `zh`, `ja`, `ko`, `ru`, `fr`, …; `en` for Latin
/// letters that tell no more. Absent where the text has no word.
pub fn detect(text: &str) -> Option<&'static str> {
    let (mut counts, mut scores) = (BTreeMap::new(), NOTHING);
    walk(text, &mut |piece| match piece {
        Piece::Word(script, word) => {
            *counts.entry(script).or_insert(0usize) += 1;
            if !is_name(word) {
                identify::weigh(script, word, &mut scores);
            }
        }
        Piece::Sign(script, _) => *counts.entry(script).or_insert(0) += 1,
        Piece::End => {}
    });
    if counts.get(&Script::Kana).is_some_and(|&kana| kana > 0) {
        let han = counts.get(&Script::Han).copied().unwrap_or(0);
        let latin = counts.get(&Script::Latin).copied().unwrap_or(0);
        if counts[&Script::Kana] + han > latin {
            return Some("ja");
        }
    }
    let (script, _) = counts.into_iter().max_by_key(|&(script, n)| (n, std::cmp::Reverse(script)))?;
    Some(identify::best(&scores, script).unwrap_or_else(|| script.typical_language()))
}

/// Words per script.
pub fn count_words(text: &str) -> BTreeMap<Script, usize> {
    let mut counts = BTreeMap::new();
    walk(text, &mut |piece| match piece {
        Piece::Word(script, _) | Piece::Sign(script, _) => *counts.entry(script).or_insert(0) += 1,
        Piece::End => {}
    });
    counts
}

/// What a text is made of, as far as languages go.
enum Piece<'t> {
    /// A word in a script with spaces.
    Word(Script, &'t str),
    /// A character of Han or kana.
    Sign(Script, char),
    /// The end of a sentence or line.
    End,
}

/// Tells the words of a text in order.
fn walk<'t>(text: &'t str, tell: &mut impl FnMut(Piece<'t>)) {
    let mut word: Option<(Script, usize, usize)> = None; // script, start, letters
    let mut attached = false; // a digit or backslash stands directly before
    let mut skip_to = 0;
    let finish = |word: &mut Option<(Script, usize, usize)>,
                  end: usize,
                  digit_after: bool,
                  tell: &mut dyn FnMut(Piece<'t>)| {
        if let Some((script, start, letters)) = word.take()
            && letters > 1
            && !digit_after
            && !is_function(&text[start..end])
        {
            tell(Piece::Word(script, text[start..end].trim_end_matches(['-', '\'', '’'])));
        }
    };
    for (i, c) in text.char_indices() {
        if i < skip_to {
            continue;
        }
        if let Some(end) = opaque(text, i, c) {
            finish(&mut word, i, false, tell);
            skip_to = end;
            attached = false;
            continue;
        }
        match Script::of(c) {
            Some(script) if script.is_unspaced() => {
                finish(&mut word, i, false, tell);
                tell(Piece::Sign(script, c));
                attached = false;
            }
            Some(script) => match &mut word {
                Some((current, _, letters)) if *current == script => *letters += 1,
                _ => {
                    finish(&mut word, i, false, tell);
                    if !attached {
                        word = Some((script, i, 1));
                    }
                }
            },
            // Marks and joiners continue a word; so do an apostrophe or a hyphen between letters.
            None if word.is_some() && (script::is_mark(c) || matches!(c, '\'' | '’' | '-')) => {}
            None => {
                finish(&mut word, i, c.is_ascii_digit() || c == '_', tell);
                attached = c.is_ascii_digit() || c == '\\' || c == '_';
                let ends = match c {
                    '\n' | '!' | '?' | '。' | '！' | '？' | '।' | '؟' => true,
                    '.' => text[i + 1..].chars().next().is_none_or(char::is_whitespace),
                    _ => false,
                };
                if ends {
                    tell(Piece::End);
                }
            }
        }
    }
    finish(&mut word, text.len(), false, tell);
}

/// Whether a word within a sentence may be a name (`El Paso`), which says nothing of the sentence's language.
fn is_name(word: &str) -> bool {
    word.starts_with(char::is_uppercase)
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
