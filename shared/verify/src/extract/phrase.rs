//! Answers announced in words, final lines and last numbers.

use std::ops::Range;

/// What announces an answer, in lower case. Each is followed by the answer, after an optional colon, dash or markup.
/// The languages are those of MGSM.
const LEADS: &[&str] = &[
    "answer is",
    "answer:",
    "answer to the question is",
    "answer would be",
    "answers are",
    "answer =",
    "result is",
    "答案是",
    "答案为",
    "答案為",
    "答案：",
    "答案:",
    "答えは",
    "答え：",
    "答え:",
    "respuesta es",
    "respuesta:",
    "réponse est",
    "réponse :",
    "réponse:",
    "antwort ist",
    "antwort lautet",
    "antwort:",
    "Ответ",
    "ответ",
    "উত্তর হল",
    "উত্তর:",
    "jibu ni",
    "jibu:",
    "సమాధానం",
    "คำตอบคือ",
    "คำตอบ:",
];

/// Announcements are looked for in this many bytes at the end of the text.
const TAIL: usize = 16_384;

/// How far from its start an announced answer may run.
const REACH: usize = 2_000;

/// The span announced by the last lead phrase, up to the end of its sentence or line.
pub(super) fn last(text: &str) -> Option<Range<usize>> {
    let mut cut = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    let span = announced(&text[cut..])?;
    Some(cut + span.start..cut + span.end)
}

/// [`last`] without the limit.
fn announced(text: &str) -> Option<Range<usize>> {
    let mut best: Option<usize> = None;
    for lead in LEADS {
        if let Some(end) = last_lead(text, lead)
            && best.is_none_or(|b| end > b)
        {
            best = Some(end);
        }
    }
    if let Some(end) = last_label(text)
        && best.is_none_or(|b| end > b)
    {
        best = Some(end);
    }
    let mut start = best?;
    let mut rest = &text[start..];
    // An optional colon, dash, "equal to", closing bold, or a line break between the words and the answer.
    for _ in 0..6 {
        let trimmed =
            rest.trim_start_matches([':', '：', '*', '_', ' ', '\t', '\u{a0}', '\n', '\r', '—', '=']);
        let trimmed = ["equal to ", "therefore ", "simply ", "thus ", "indeed "]
            .iter()
            .find_map(|w| trimmed.strip_prefix(w))
            .unwrap_or(trimmed);
        if trimmed.len() == rest.len() {
            break;
        }
        start += rest.len() - trimmed.len();
        rest = trimmed;
    }
    Some(start..start + sentence(rest))
}

/// The end of the last occurrence of `lead` that starts a word. Comparison ignores ASCII case.
fn last_lead(text: &str, lead: &str) -> Option<usize> {
    let (text_bytes, lead_bytes) = (text.as_bytes(), lead.as_bytes());
    if lead_bytes.len() > text_bytes.len() {
        return None;
    }
    (0..=text_bytes.len() - lead_bytes.len()).rev().find_map(|i| {
        let end = i + lead_bytes.len();
        if !text_bytes[i..end].eq_ignore_ascii_case(lead_bytes) {
            return None;
        }
        let word_before = lead_bytes[0].is_ascii() && i > 0 && text_bytes[i - 1].is_ascii_alphanumeric();
        (!word_before).then_some(end)
    })
}

/// The end of the last line label `A:` (a line of its own, as in few-shot prompts).
fn last_label(text: &str) -> Option<usize> {
    let mut end = text.len();
    while let Some(at) = text[..end].rfind("A:") {
        let line = text[..at].rfind('\n').map_or(0, |n| n + 1);
        if text[line..at].trim_matches(['*', ' ', '\t']).is_empty() {
            return Some(at + 2);
        }
        end = at;
    }
    None
}

/// Units whose full stop does not end a sentence.
const ABBREVIATIONS: &[&str] = &[" sq", " cu", " approx", "(approx", " St", " No"];

/// The first line of `text`, within reach.
fn line(text: &str) -> &str {
    let mut end = text.len().min(REACH);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].split('\n').next().unwrap_or("")
}

/// The bytes of the first sentence of `text`: up to a line break, or a full stop that no digit or letter follows.
fn sentence(text: &str) -> usize {
    let mut in_math = false;
    let mut depth = 0usize;
    let mut chars = text.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        if i > REACH {
            return i;
        }
        match c {
            '\\' => {
                chars.next();
            }
            // A lone `$` is money.
            '$' => in_math = !in_math && line(&text[i + 1..]).contains('$'),
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '\n' if depth == 0 && !in_math => return i,
            '\n' if text[i + 1..].starts_with('\n') => return i,
            '。' | '।' | '．' => return i,
            '.' | '!' | '?' if depth == 0 && !in_math => {
                let next = chars.peek().map(|&(_, n)| n);
                let ends = match c {
                    // "14." ends, "14.5" does not.
                    // And "14.So" does, where a space was forgotten.
                    '.' => next.is_none_or(|n| {
                        let glued = n.is_alphabetic() && text[..i].ends_with(|p: char| p.is_ascii_digit());
                        n.is_whitespace() || matches!(n, '<' | '*' | '"' | ')') || glued
                    }),
                    _ => next.is_none_or(char::is_whitespace),
                };
                if ends && !(c == '.' && ABBREVIATIONS.iter().any(|w| text[..i].ends_with(w))) {
                    return i;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// The last line that has anything but whitespace and rules in it.
pub(super) fn last_line(text: &str) -> Option<Range<usize>> {
    let mut end = text.len();
    loop {
        let start = text[..end].rfind('\n').map_or(0, |n| n + 1);
        let line = text[start..end].trim();
        if !line.trim_matches(['-', '*', '_', '`', '=']).is_empty() {
            return Some(start..end);
        }
        if start == 0 {
            return None;
        }
        end = start - 1;
    }
}

/// The last number: digits with separators, a decimal point, a fraction bar, and a sign.
pub(super) fn last_number(text: &str) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let mut start = end;
    while start > 0 {
        let c = bytes[start - 1];
        let joins = matches!(c, b',' | b'.' | b'/') && start >= 2 && bytes[start - 2].is_ascii_digit();
        if !(c.is_ascii_digit() || joins) {
            break;
        }
        start -= 1;
    }
    if start > 0 && bytes[start - 1] == b'.' {
        start -= 1;
    }
    let signed = start > 0
        && bytes[start - 1] == b'-'
        && (start == 1 || !(bytes[start - 2].is_ascii_alphanumeric() || bytes[start - 2] == b')'));
    Some(start - usize::from(signed)..end)
}
