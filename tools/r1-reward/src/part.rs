//! The parts of a reward.

use crate::accuracy::Outcome;
use crate::settings::Settings;
use r1_records::{Outline, Prompt, RecordError, Row};
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
    /// The form of R1's cold start.
    SpecialTokenFormat,
    /// Steps shown, at most three, as a share.
    ReasoningSteps,
    /// Cosine of the length between bounds that depend on accuracy.
    CosineLength,
    /// DAPO's soft overlong punishment.
    SoftOverlong,
    /// Penalty for repeated n-grams.
    Repetition,
    /// Kimi's length reward within a group; known only when the group is whole.
    GroupLength,
    /// The answer of an `--exec` program; known only when it has answered.
    Program(String),
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
            "special_token_format" => Part::SpecialTokenFormat,
            "reasoning_steps" => Part::ReasoningSteps,
            "cosine_length" => Part::CosineLength,
            "soft_overlong" => Part::SoftOverlong,
            "repetition" => Part::Repetition,
            "group_length" => Part::GroupLength,
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
            Part::SpecialTokenFormat => "special_token_format",
            Part::ReasoningSteps => "reasoning_steps",
            Part::CosineLength => "cosine_length",
            Part::SoftOverlong => "soft_overlong",
            Part::Repetition => "repetition",
            Part::GroupLength => "group_length",
            Part::Program(name) | Part::Judged(name) => name,
        }
    }

    /// Its value for one completion; absent where it does not apply.
    pub fn value(&self, seen: &Seen<'_>, settings: &Settings) -> Result<Option<f64>, RecordError> {
        let text = seen.outline.completion.as_str();
        Ok(match self {
            Part::Accuracy => seen.outcome.reward(),
            Part::Format => Some(format::r1(text, seen.prefill)),
            Part::ThinkFormat => Some(format::think(text)),
            Part::OpenR1Format => Some(format::open_r1(text)),
            Part::TagCount => Some(format::tag_count(text)),
            Part::SpecialTokenFormat => {
                let token = settings.special_token.as_str();
                let opened = seen.row.prompt_column().is_some()
                    && matches!(seen.row.prompt()?, Prompt::Text(text) if text.trim_end().ends_with(token));
                Some(format::special_token(text, token, if opened { Prefill::Yes } else { Prefill::No }))
            }
            Part::ReasoningSteps => {
                let reasoning = split(text, seen.prefill).reasoning;
                Some(steps::reasoning_steps(reasoning.map_or(text, |r| &text[r])))
            }
            Part::CosineLength => {
                let cosine = Cosine::with_max_len(settings.max_len);
                seen.outcome.reward().map(|right| cosine.reward(seen.length, right == 1.0))
            }
            Part::SoftOverlong => Some(soft_overlong(seen.length, settings.max_len, settings.overlong_cache)),
            Part::Repetition => Some(match seen.outline.completion_tokens {
                Some(_) => {
                    let ids = seen.row.rollout()?.completion_ids.unwrap_or_default();
                    repetition::penalty(&ids, settings.ngram, -1.0)
                }
                None => repetition::penalty(&repetition::words(text), settings.ngram, -1.0),
            }),
            Part::Language => match target(seen, settings)? {
                Some(target) => {
                    let cold_start = in_tags(text, &settings.special_token);
                    let text = cold_start.as_deref().unwrap_or(text);
                    Some(language::consistency(text, seen.prefill, &target).map_err(|unknown| {
                        seen.row.error_in("language", unknown.to_string(), "or give --language")
                    })?)
                }
                None => None,
            },
            Part::GroupLength | Part::Program(_) => None,
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
    /// Tokens where the row has ids, else characters.
    pub length: usize,
}

/// The cold-start form, `token reasoning token summary`, with its reasoning in tags; nothing where the text has another form.
fn in_tags(text: &str, token: &str) -> Option<String> {
    let (reasoning, summary) = text.trim_start().strip_prefix(token)?.split_once(token)?;
    Some(format!("<think>{reasoning}</think>{summary}"))
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
