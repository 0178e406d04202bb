//! The parts of a reward.

use crate::accuracy::Outcome;
use crate::settings::Settings;
use r1_records::{Outline, RecordError, Row};
use r1_verify::extract::{Prefill, split};
use r1_verify::length::{Cosine, soft_overlong};
use r1_verify::{format, language, repetition, steps};

/// One number about a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// 1 where the answer is right, else 0; absent where nothing tells.
    Accuracy,
    /// 1 for the R1 form, else 0.
    Format,
    /// Share of the reasoning's words that are in the target language.
    Language,
    /// TRL's think form.
    ThinkFormat,
    /// open-r1's form.
    OpenR1Format,
    /// open-r1's tag count.
    TagCount,
    /// Steps shown, at most three, as a share.
    ReasoningSteps,
    /// Cosine of the length between bounds that depend on accuracy.
    CosineLength,
    /// DAPO's soft overlong punishment.
    SoftOverlong,
    /// Penalty for repeated n-grams.
    Repetition,
    /// A number of the row's `judgement`.
    Judged(String),
}

impl Part {
    /// The part of that name; a name that is none of ours is looked for in the row's `judgement`.
    pub fn from_name(name: &str) -> Part {
        match name {
            "accuracy" => Part::Accuracy,
            "format" => Part::Format,
            "language" => Part::Language,
            "think_format" => Part::ThinkFormat,
            "open_r1_format" => Part::OpenR1Format,
            "tag_count" => Part::TagCount,
            "reasoning_steps" => Part::ReasoningSteps,
            "cosine_length" => Part::CosineLength,
            "soft_overlong" => Part::SoftOverlong,
            "repetition" => Part::Repetition,
            other => Part::Judged(other.to_string()),
        }
    }

    /// Its name, the key in the record.
    pub fn name(&self) -> &str {
        match self {
            Part::Accuracy => "accuracy",
            Part::Format => "format",
            Part::Language => "language",
            Part::ThinkFormat => "think_format",
            Part::OpenR1Format => "open_r1_format",
            Part::TagCount => "tag_count",
            Part::ReasoningSteps => "reasoning_steps",
            Part::CosineLength => "cosine_length",
            Part::SoftOverlong => "soft_overlong",
            Part::Repetition => "repetition",
            Part::Judged(name) => name,
        }
    }

    /// Its value for one completion; absent where it does not apply.
    pub fn value(&self, seen: &Seen<'_>, settings: &Settings) -> Result<Option<f64>, RecordError> {
        let text = seen.outline.completion.as_str();
        let len = || seen.outline.completion_tokens.unwrap_or_else(|| text.chars().count());
        Ok(match self {
            Part::Accuracy => seen.outcome.reward(),
            Part::Format => Some(format::r1(text, seen.prefill)),
            Part::ThinkFormat => Some(format::think(text)),
            Part::OpenR1Format => Some(format::open_r1(text)),
            Part::TagCount => Some(format::tag_count(text)),
            Part::ReasoningSteps => {
                let reasoning = split(text, seen.prefill).reasoning;
                Some(steps::reasoning_steps(reasoning.map_or(text, |r| &text[r])))
            }
            Part::CosineLength => {
                let cosine = Cosine::with_max_len(settings.max_len);
                seen.outcome.reward().map(|right| cosine.reward(len(), right == 1.0))
            }
            Part::SoftOverlong => Some(soft_overlong(len(), settings.max_len, settings.overlong_cache)),
            Part::Repetition => Some(match seen.outline.completion_tokens {
                Some(_) => {
                    let ids = seen.row.rollout()?.completion_ids.unwrap_or_default();
                    repetition::penalty(&ids, settings.ngram, -1.0)
                }
                None => repetition::penalty(&repetition::words(text), settings.ngram, -1.0),
            }),
            Part::Language => match target(seen, settings)? {
                Some(target) => {
                    Some(language::consistency(text, seen.prefill, &target).map_err(|unknown| {
                        seen.row.error_in("language", unknown.to_string(), "or give --language")
                    })?)
                }
                None => None,
            },
            Part::Judged(name) => seen.row.judgement()?.and_then(|j| j.number(name)),
        })
    }
}

/// What the parts look at.
pub struct Seen<'r> {
    pub row: &'r Row,
    pub outline: &'r Outline,
    pub prefill: Prefill,
    pub outcome: Outcome,
}

/// The language the reasoning should be in: the flag's, the row's, or that of the prompt's script.
fn target(seen: &Seen<'_>, settings: &Settings) -> Result<Option<String>, RecordError> {
    if let Some(language) = &settings.language {
        return Ok(Some(language.clone()));
    }
    if let Some(language) = seen.row.language()? {
        return Ok(Some(language));
    }
    if seen.row.prompt_column().is_none() {
        return Ok(None);
    }
    Ok(language::detect(seen.row.prompt()?.question()).map(str::to_string))
}
