//! Cuts a completion into reasoning and what the reader is meant to see.

use std::ops::Range;

/// Whether the prompt ended with an opened `<think>`, so that the completion starts inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Prefill {
    /// The completion opens its own `<think>`. A `</think>` without an opening one still ends a reasoning
    /// that began with the completion: only a prefilled prompt writes that.
    #[default]
    No,
    /// The completion starts inside `<think>`.
    Yes,
}

/// The two halves of a completion, as byte ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thought {
    /// The text of the reasoning, without its outer tags; absent where the completion has none.
    pub reasoning: Option<Range<usize>>,
    /// What follows the last `</think>`, or everything where there is no reasoning; absent where the reasoning never closes.
    pub visible: Option<Range<usize>>,
    /// Whether the reasoning was opened by the prompt.
    pub prefilled: bool,
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Cuts `text` at its think tags.
///
/// Only what follows the *last* `</think>` is visible: an answer written before or between reasonings is not the
/// final one. A `<think>` opened again after that and never closed leaves nothing visible.
pub fn split(text: &str, prefill: Prefill) -> Thought {
    let first_open = text.find(OPEN);
    let Some(close) = text.rfind(CLOSE) else {
        return match (first_open, prefill) {
            (Some(open), _) => Thought {
                reasoning: Some(open + OPEN.len()..text.len()),
                visible: None,
                prefilled: prefill == Prefill::Yes,
            },
            (None, Prefill::Yes) => {
                Thought { reasoning: Some(0..text.len()), visible: None, prefilled: true }
            }
            (None, Prefill::No) => {
                Thought { reasoning: None, visible: Some(0..text.len()), prefilled: false }
            }
        };
    };
    let after = close + CLOSE.len();
    let reopened = text[after..].contains(OPEN);
    let opened_here = first_open.filter(|&open| open < close);
    let start = opened_here.map_or(0, |open| open + OPEN.len());
    Thought {
        reasoning: Some(start..close),
        visible: (!reopened).then_some(after..text.len()),
        prefilled: opened_here.is_none() || prefill == Prefill::Yes,
    }
}
