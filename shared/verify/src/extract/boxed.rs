//! `\boxed{…}` and `\fbox{…}`, in one pass whatever the nesting.

use std::ops::Range;

/// The contents of the last group of boxes: usually one; several where nothing but connecting words stands between them.
///
/// A box inside a box is part of the outer one. A box that never closes is none, but a closed one inside it counts.
pub(super) fn last_group(text: &str) -> Vec<Range<usize>> {
    let boxes = outermost(text);
    let Some(last) = boxes.last() else { return Vec::new() };
    let mut first = boxes.len() - 1;
    while first > 0 {
        // Between two boxes stand `}`, the connector, and `\boxed{`.
        let gap = text[boxes[first - 1].whole.end..boxes[first].whole.start].trim();
        if gap.len() > 40 || !is_connector(gap) {
            break;
        }
        first -= 1;
    }
    debug_assert!(first < boxes.len() && last.whole.start <= last.inner.start);
    boxes[first..].iter().map(|b| b.inner.clone()).collect()
}

/// One box: all of it, and its content.
struct Boxed {
    whole: Range<usize>,
    inner: Range<usize>,
}

/// Every balanced box that is not inside another balanced box, in order.
fn outermost(text: &str) -> Vec<Boxed> {
    let bytes = text.as_bytes();
    let mut found: Vec<Boxed> = Vec::new();
    // For every open brace: where its box command starts, if it is one, and where its content starts.
    let mut open: Vec<(Option<usize>, usize)> = Vec::new();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => {
                let Some(name) = ["\\boxed", "\\fbox"].into_iter().find(|n| text[i..].starts_with(n)) else {
                    // An escaped character is skipped, so that `\{` and `\}` do not nest; a doubly escaped
                    // `\\boxed` is a box.
                    let doubled = text[i + 1..].starts_with("\\boxed") || text[i + 1..].starts_with("\\fbox");
                    i += if doubled { 1 } else { 2 };
                    continue;
                };
                let after = i + name.len();
                let brace = after + text[after..].len() - text[after..].trim_start().len();
                if bytes.get(brace) == Some(&b'{') {
                    open.push((Some(i), brace + 1));
                    i = brace + 1;
                } else {
                    if let Some(inner) = unbraced(text, after, brace) {
                        push(&mut found, Boxed { whole: i..inner.end, inner });
                    }
                    i = after;
                }
            }
            b'{' => {
                open.push((None, i + 1));
                i += 1;
            }
            b'}' => {
                if let Some((Some(start), content)) = open.pop() {
                    push(&mut found, Boxed { whole: start..i + 1, inner: content..i });
                }
                i += 1;
            }
            _ => i += 1,
        }
    }
    found
}

/// Adds a box, dropping those it encloses.
fn push(found: &mut Vec<Boxed>, b: Boxed) {
    while found.last().is_some_and(|inner| inner.whole.start >= b.whole.start) {
        found.pop();
    }
    found.push(b);
}

/// `\boxed 5`: one word, up to a space, a `$`, another box or the end. `\boxedfoo` is another command.
fn unbraced(text: &str, after: usize, word: usize) -> Option<Range<usize>> {
    let first = text[word..].chars().next()?;
    if word == after && first.is_alphabetic() {
        return None;
    }
    let ends = |(at, c): &(usize, char)| {
        let here = &text[word + at..];
        c.is_whitespace()
            || matches!(c, '$' | '}')
            || here.starts_with("\\boxed")
            || here.starts_with("\\fbox")
    };
    let len = text[word..].char_indices().find(ends).map_or(text.len() - word, |(at, _)| at);
    (len > 0).then_some(word..word + len)
}

/// True for what may stand between two boxes that belong together.
fn is_connector(gap: &str) -> bool {
    let mut gap = gap.to_string();
    for noise in ["$", "\\text", "\\quad", "\\;", "\\,", "\\ ", "{", "}", "\\(", "\\)", "\\"] {
        gap = gap.replace(noise, " ");
    }
    let mut any = false;
    for word in gap.split_whitespace() {
        any = true;
        let bare = word.trim_matches(|c: char| matches!(c, ',' | ';' | '、' | '，' | '&'));
        if !matches!(bare, "" | "and" | "or" | "和" | "或") {
            return false;
        }
    }
    any
}
