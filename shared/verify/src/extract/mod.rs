//! Where the answer stands in a completion.
//!
//! First the reasoning is cut away ([`split`]): what stands inside `<think>` never earns, and a `<think>` that is
//! never closed leaves nothing to read. In what remains the answer is looked for in a stated order
//! ([`DEFAULT_ORDER`], settable): the first source that has an answer gives it, and within one source the last
//! occurrence wins. All of it is linear in the length of the text.

mod boxed;
mod phrase;
mod think;

#[cfg(test)]
mod tests;

pub use think::{Prefill, Thought, split};

use std::borrow::Cow;
use std::ops::Range;

/// A place where an answer may be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The last `<answer>…</answer>`; inside it a box, a `####` or an answer phrase is preferred to the whole content.
    Tag,
    /// The last balanced `\boxed{…}` or `\fbox{…}`; boxes joined by nothing but `,`, `and`, `or` are read together.
    Boxed,
    /// What follows the last `####` on its line (GSM8K).
    Hash,
    /// What follows the last "the answer is", "answer:", "A:" or its like in another language, up to the end of the sentence.
    Phrase,
    /// The last line that is not empty, whole.
    Line,
    /// The last number in the text. Not in the default order: it rewards whatever number comes last.
    Number,
}

/// The order in which sources are tried where none is given.
pub const DEFAULT_ORDER: &[Source] =
    &[Source::Tag, Source::Boxed, Source::Hash, Source::Phrase, Source::Line];

impl Source {
    /// Every source, in the order of the documentation.
    pub const ALL: &'static [Source] =
        &[Source::Tag, Source::Boxed, Source::Hash, Source::Phrase, Source::Line, Source::Number];

    /// The name used in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            Source::Tag => "tag",
            Source::Boxed => "boxed",
            Source::Hash => "hash",
            Source::Phrase => "phrase",
            Source::Line => "line",
            Source::Number => "number",
        }
    }

    /// The source of that name.
    pub fn from_name(name: &str) -> Option<Source> {
        Source::ALL.iter().copied().find(|s| s.name() == name)
    }
}

/// An answer found in a completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction<'t> {
    /// The answer, trimmed. Borrowed from the text unless it was put together from several boxes.
    pub answer: Cow<'t, str>,
    /// Which source gave it.
    pub source: Source,
    /// The bytes of the text it was read from.
    pub span: Range<usize>,
}

/// Why no answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// The completion ends inside `<think>`.
    UnclosedThink,
    /// There is no text outside of `<think>`.
    Empty,
    /// No source of the order asked for has an answer.
    NoSource,
}

impl Missing {
    /// One clause for reports.
    pub fn reason(self) -> &'static str {
        match self {
            Missing::UnclosedThink => "the reasoning never closes",
            Missing::Empty => "nothing stands outside of the reasoning",
            Missing::NoSource => "no source of the extraction order has an answer",
        }
    }
}

/// Finds the answer of a completion.
///
/// `order` says where to look and in which order; `prefill` whether the prompt already opened `<think>`.
///
/// ```
/// use r1_verify::extract::{DEFAULT_ORDER, Prefill, Source, extract};
/// let found = extract("<think>maybe \\boxed{9}</think> <answer> 14</answer>", DEFAULT_ORDER, Prefill::No).unwrap();
/// assert_eq!((found.answer.as_ref(), found.source), ("14", Source::Tag));
/// ```
///
/// # Errors
/// [`Missing`] says why there is nothing to read.
pub fn extract<'t>(text: &'t str, order: &[Source], prefill: Prefill) -> Result<Extraction<'t>, Missing> {
    let thought = split(text, prefill);
    let Some(visible) = thought.visible else { return Err(Missing::UnclosedThink) };
    if text[visible.clone()].trim().is_empty() {
        return Err(Missing::Empty);
    }
    order.iter().find_map(|&source| find(text, visible.clone(), source)).ok_or(Missing::NoSource)
}

/// The expected answer within a gold column: the final `\boxed{}` or `####` of a worked solution, else all of it.
pub fn expected(gold: &str) -> Cow<'_, str> {
    [Source::Boxed, Source::Hash]
        .into_iter()
        .find_map(|source| find(gold, 0..gold.len(), source))
        .map_or(Cow::Borrowed(gold.trim()), |e| e.answer)
}

/// Looks for one source within `range` of `text`.
fn find(text: &str, range: Range<usize>, source: Source) -> Option<Extraction<'_>> {
    let view = &text[range.clone()];
    let at = |span: Range<usize>| range.start + span.start..range.start + span.end;
    let plain = |span: Range<usize>| {
        let span = trim(text, at(span));
        (!span.is_empty()).then(|| Extraction { answer: Cow::Borrowed(&text[span.clone()]), source, span })
    };
    match source {
        Source::Tag => {
            let close = view.rfind("</answer>")?;
            let open = view[..close].rfind("<answer>")? + "<answer>".len();
            let inner = at(open..close);
            for finer in [Source::Boxed, Source::Hash, Source::Phrase] {
                if let Some(e) = find(text, inner.clone(), finer) {
                    return Some(Extraction { source, ..e });
                }
            }
            plain(open..close)
        }
        Source::Boxed => {
            let group = boxed::last_group(view);
            match group.as_slice() {
                [] => None,
                [one] => plain(one.clone()),
                [first, .., last] => {
                    let parts: Vec<&str> = group.iter().map(|s| view[s.clone()].trim()).collect();
                    Some(Extraction {
                        answer: Cow::Owned(parts.join(", ")),
                        source,
                        span: at(first.start..last.end),
                    })
                }
            }
        }
        Source::Hash => {
            let start = view.rfind("####")? + "####".len();
            let end = view[start..].find('\n').map_or(view.len(), |n| start + n);
            plain(start..end)
        }
        Source::Phrase => plain(phrase::last(view)?),
        Source::Line => plain(phrase::last_line(view)?),
        Source::Number => plain(phrase::last_number(view)?),
    }
}

/// The range without the whitespace at its ends.
fn trim(text: &str, span: Range<usize>) -> Range<usize> {
    let inner = &text[span.clone()];
    let start = span.start + (inner.len() - inner.trim_start().len());
    let end = start + inner.trim().len();
    start..end
}
