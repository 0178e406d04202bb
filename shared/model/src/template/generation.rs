//! `{% generation %} … {% endgeneration %}`: transformers' marks around what the assistant says.
//!
//! Rendered for sampling the tags do nothing. Rendered to learn from, each is replaced by a sign that no text has (a
//! noncharacter of Unicode, refused in messages), and the signs are taken out again: what stood between two of them is a span.

use std::ops::Range;

use anyhow::{Result, bail};
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, State};

/// Signs for the begin and the end of a span.
const SIGNS: [char; 2] = ['\u{FDD0}', '\u{FDD1}'];
/// What the tags call.
const CALLS: [&str; 2] = ["begin_generation", "end_generation"];
/// The template's variable that says whether signs are wanted.
const WANTED: &str = "mark_generation";

/// The template with its generation tags as blocks that minijinja knows, and whether it has any.
///
/// The first and the last of what takes a tag's place are block tags too, so that blanks around them are cut as around it.
pub(super) fn with_known_tags(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut found = false;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let (before, tag) = (&rest[..start], &rest[start..start + length + 2]);
        out.push_str(before);
        let signs = ['-', '+'];
        let inner = tag[2..tag.len() - 2].trim_matches(signs).trim();
        let open = if tag[2..].starts_with(signs) { &tag[..3] } else { "{%" };
        let close = if tag[..tag.len() - 2].ends_with(signs) { &tag[tag.len() - 3..] } else { "%}" };
        match inner {
            "generation" => {
                found = true;
                out += &format!("{open} if true %}}{{% call {}() %}}{{% endcall {close}", CALLS[0]);
            }
            "endgeneration" => {
                out += &format!("{open} call {}() %}}{{% endcall %}}{{% endif {close}", CALLS[1]);
            }
            _ => out.push_str(tag),
        }
        rest = &rest[start + length + 2..];
    }
    (out + rest, found)
}

/// Makes the tags' functions known.
pub(super) fn add_functions(environment: &mut Environment) {
    for (call, sign) in CALLS.into_iter().zip(SIGNS) {
        environment.add_function(call, move |state: &State, _: Kwargs| -> Result<String, Error> {
            let wanted = state.lookup(WANTED).is_some_and(|value| value.is_true());
            Ok(if wanted { sign.to_string() } else { String::new() })
        });
    }
}

/// The variable that asks for signs.
pub(super) fn wanted() -> (&'static str, Value) {
    (WANTED, true.into())
}

/// A rendered text without its signs, and the spans between them, in characters of what is left.
///
/// # Errors
/// Signs that do not come in pairs: blocks inside each other, or messages that hold the signs.
pub(super) fn spans(rendered: &str) -> Result<(String, Vec<Range<usize>>)> {
    let mut text = String::with_capacity(rendered.len());
    let (mut spans, mut open, mut place) = (Vec::new(), None, 0);
    for letter in rendered.chars() {
        match (letter == SIGNS[0], letter == SIGNS[1], open) {
            (true, _, None) => open = Some(place),
            (_, true, Some(start)) => {
                spans.push(start..place);
                open = None;
            }
            (false, false, _) => {
                text.push(letter);
                place += 1;
            }
            _ => bail!(
                "generation blocks inside each other, or a message that holds U+FDD0 or U+FDD1, which mark them"
            ),
        }
    }
    if open.is_some() {
        bail!("a generation block that does not end");
    }
    Ok((text, spans))
}
