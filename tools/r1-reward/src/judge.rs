//! The reward of one row.

use crate::accuracy::Expected;
use crate::part::{Part, Seen};
use crate::report::why;
use crate::settings::{Prefilled, Settings};
use r1_records::{Prompt, RecordError, Reward, Row};
use r1_verify::extract::{Prefill, extract, split};

/// A row with its reward.
pub struct Rewarded {
    /// The row, its section `reward` written.
    pub row: Row,
    pub reward: Reward,
    /// The row's task.
    pub task: String,
    /// The line in the whole input, from 1.
    pub line: usize,
    /// How the answer was judged, for the count.
    pub class: &'static str,
    /// Whether the answer is right, where anything tells.
    pub right: Option<bool>,
    /// The completion closes a reasoning that neither it nor the prompt's text has opened.
    pub closes_unopened: bool,
    /// Length in tokens where the row has ids, else in characters.
    pub length: usize,
    /// The group, where a part asks for it.
    pub group: Option<String>,
    /// The explanation, where it was asked for.
    pub why: Option<String>,
}

/// Judges one completion. Pure: what it says depends on nothing but the row and the settings. `before` is the number of
/// lines before those that the row counts.
pub fn reward(
    mut row: Row,
    before: usize,
    settings: &Settings,
    explain: bool,
) -> Result<Rewarded, RecordError> {
    let outline = row.outline()?;
    let prefill = prefill(&row, settings)?;
    let found = extract(&outline.completion, &settings.order, prefill);
    let task = row.task()?;
    let expected = Expected::of(&row, &task, settings)?;
    let outcome = expected.judge(&found, &outline.completion, prefill, settings).map_err(|error| {
        // No fault of the row: it cannot be set aside.
        RecordError::new(
            format!("a program could not be run: {error}"),
            "see that the machine is not out of memory or processes",
        )
        .at_line(row.line())
    })?;
    let length = outline.completion_tokens.unwrap_or_else(|| outline.completion.chars().count());
    let seen = Seen { row: &row, outline: &outline, prefill, outcome, length };
    let weights = settings.weights.of(&task);
    let mut parts = Vec::with_capacity(weights.len());
    let mut total = None;
    for (part, weight) in weights {
        if let Some(value) = part.value(&seen, settings)? {
            total = Some(total.unwrap_or(0.0) + weight * value);
            parts.push((part.name().to_string(), value));
        }
    }
    let line = row.line() + before;
    let why = explain.then(|| {
        let id = row.group_id().unwrap_or_default();
        let sample = outline.sample.map(|n| format!("#{n}")).unwrap_or_default();
        why(&format!("line {line} {id}{sample}"), &found, &expected, outcome, settings)
    });
    let group = if settings.weights.names(&Part::GroupLength) { Some(row.group_id()?) } else { None };
    let closes_unopened = prefill == Prefill::No && split(&outline.completion, prefill).prefilled;
    // What the answer to a programming task is, its own tests say.
    let answer = found.ok().filter(|_| task != "code").map(|found| found.answer.into_owned());
    let reward = Reward { total, parts, answer };
    row.set("reward", &reward)?;
    let (class, right) = (outcome.class(), outcome.reward().map(|value| value == 1.0));
    Ok(Rewarded { row, reward, task, line, class, right, closes_unopened, length, group, why })
}

impl Rewarded {
    /// Adds a part that could not be had from the row alone, in the place that the flags give it.
    pub fn add(&mut self, part: &Part, value: f64, settings: &Settings) -> Result<(), RecordError> {
        let weights = settings.weights.of(&self.task);
        if !weights.iter().any(|(known, _)| known == part) {
            return Ok(());
        }
        let mut parts = Vec::with_capacity(weights.len());
        let mut total = None;
        for (known, weight) in weights {
            let value = if known == part { Some(value) } else { self.reward.part(known.name()) };
            if let Some(value) = value {
                total = Some(total.unwrap_or(0.0) + weight * value);
                parts.push((known.name().to_string(), value));
            }
        }
        (self.reward.total, self.reward.parts) = (total, parts);
        self.row.set("reward", &self.reward).map_err(|error| error.at_line(self.line))
    }
}

/// Whether the completion starts inside the reasoning.
fn prefill(row: &Row, settings: &Settings) -> Result<Prefill, RecordError> {
    Ok(match settings.prefilled {
        Prefilled::Yes => Prefill::Yes,
        Prefilled::No => Prefill::No,
        Prefilled::Auto if row.prompt_column().is_none() => Prefill::No,
        Prefilled::Auto => match row.prompt()? {
            Prompt::Text(text) if text.trim_end().ends_with("<think>") => Prefill::Yes,
            _ => Prefill::No,
        },
    })
}
