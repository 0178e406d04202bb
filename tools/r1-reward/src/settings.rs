//! Flags, and the settings they come to.

use crate::code::{CodeFlags, Runner};
use crate::program::Program;
use crate::weights::{Weight, Weights, program, weight};
use clap::ValueEnum;
use r1_verify::countdown;
use r1_verify::exact;
use r1_verify::extract::{DEFAULT_ORDER, Source};
use r1_verify::language::Script;
use r1_verify::math;

/// Which parts, and what each counts.
#[derive(clap::Args, Clone, Debug)]
pub struct RewardFlags {
    /// A part and its weight in the total, for all rows or for those of one task; repeat [default: those of --preset]
    #[arg(long = "reward", value_name = "[TASK:]NAME=WEIGHT", value_parser = weight)]
    reward: Vec<Weight>,
    /// Whose weights to use where no --reward is given
    #[arg(long, value_enum, default_value_t = Preset::R1Zero, conflicts_with = "reward")]
    preset: Preset,
    /// An executable that judges too: rows in, a line with a number or null out for each; weighs 1 or what --reward NAME says
    #[arg(long = "exec", value_name = "[NAME=]PROGRAM", value_parser = program)]
    programs: Vec<Program>,
    #[command(flatten)]
    code: CodeFlags,
    /// Greatest length for cosine_length and soft_overlong: tokens where the row has ids, else characters
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_len: usize,
    /// Length before --max-len from which soft_overlong punishes
    #[arg(long, value_name = "N", default_value_t = 200)]
    overlong_cache: usize,
    /// What special_token_format looks for around the reasoning
    #[arg(long, value_name = "TOKEN", default_value = "|special_token|", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    special_token: String,
    /// Size of the n-grams of repetition
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    ngram: u16,
}

/// How completions and answers are read.
#[derive(clap::Args, Clone, Debug)]
pub struct ReadingFlags {
    /// Where to look for the answer, in this order: tag, boxed, hash, phrase, line, number
    #[arg(long, value_name = "ORDER", value_delimiter = ',', value_parser = source)]
    extract: Vec<Source>,
    /// Whether the prompt has opened <think>: yes, no, or where its text ends so
    #[arg(long, value_enum, default_value_t = Prefilled::Auto)]
    prefilled: Prefilled,
    /// Target language of the reasoning, such as en or zh [default: the row's `language`, else that of the prompt]
    #[arg(long, value_name = "CODE", value_parser = language)]
    language: Option<String>,
    /// countdown: whether every given number must be used, or each at most once
    #[arg(long, value_enum, default_value_t = Numbers::Some)]
    countdown: Numbers,
    /// A unit that only one of answer and expected answer has makes them differ
    #[arg(long)]
    strict_units: bool,
    /// 50% is one half and never 50
    #[arg(long)]
    strict_percent: bool,
    /// Numbers have decimal commas: 3,5 is three and a half
    #[arg(long)]
    decimal_comma: bool,
    /// Capital and small letters are the same: 3X is 3x; and for the task exact
    #[arg(long)]
    ignore_case: bool,
    /// Values in parentheses have no order: (1, 2) is (2, 1)
    #[arg(long)]
    any_order: bool,
}

/// Weights with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// R1-Zero: accuracy=1 format=1
    R1Zero,
    /// R1, reasoning: accuracy=1 format=1 language=1
    R1,
    /// R1, all scenarios: accuracy=1 format=1 language=1 helpful=1 harmless=1, each where a row has it
    R1All,
}

/// Whether a prompt ends inside the reasoning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Prefilled {
    /// Where the text of the prompt ends with <think>
    Auto,
    /// Always (a chat template does it)
    Yes,
    /// Never
    No,
}

/// How many of the given numbers a countdown answer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Numbers {
    /// Each exactly once
    All,
    /// Each at most once
    Some,
}

/// Everything that is settled before the first row.
#[derive(Debug)]
pub struct Settings {
    pub weights: Weights,
    pub programs: Vec<Program>,
    /// What runs the programs of the task code, where that is allowed.
    pub code: Option<Runner>,
    pub order: Vec<Source>,
    pub prefilled: Prefilled,
    pub language: Option<String>,
    pub numbers: countdown::Use,
    pub policy: math::Policy,
    pub exact: exact::Policy,
    pub max_len: usize,
    pub overlong_cache: usize,
    pub ngram: usize,
    pub special_token: String,
}

impl Settings {
    /// Settles the flags.
    pub fn new(rewards: &RewardFlags, reading: &ReadingFlags) -> anyhow::Result<Settings> {
        let given = if rewards.reward.is_empty() { rewards.preset.weights() } else { rewards.reward.clone() };
        let weights = Weights::new(&given, &rewards.programs)?;
        let order = if reading.extract.is_empty() { DEFAULT_ORDER.to_vec() } else { reading.extract.clone() };
        Ok(Settings {
            weights,
            programs: rewards.programs.clone(),
            code: rewards.code.runner()?,
            order,
            prefilled: reading.prefilled,
            language: reading.language.clone(),
            numbers: match reading.countdown {
                Numbers::All => countdown::Use::All,
                Numbers::Some => countdown::Use::Some,
            },
            policy: math::Policy {
                drop_units: !reading.strict_units,
                strict_percent: reading.strict_percent,
                decimal_comma: reading.decimal_comma,
                ignore_case: reading.ignore_case,
                any_order: reading.any_order,
            },
            exact: exact::Policy { case: !reading.ignore_case, ..exact::Policy::default() },
            max_len: rewards.max_len,
            overlong_cache: rewards.overlong_cache,
            ngram: usize::from(rewards.ngram),
            special_token: rewards.special_token.clone(),
        })
    }
}

impl Preset {
    fn weights(self) -> Vec<Weight> {
        let names: &[&str] = match self {
            Preset::R1Zero => &["accuracy", "format"],
            Preset::R1 => &["accuracy", "format", "language"],
            Preset::R1All => &["accuracy", "format", "language", "helpful", "harmless"],
        };
        names.iter().map(|name| Weight { task: None, name: name.to_string(), weight: 1.0 }).collect()
    }
}

fn source(text: &str) -> Result<Source, String> {
    Source::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Source::ALL.iter().map(|s| s.name()).collect();
        format!("{text:?} is none of {}", names.join(", "))
    })
}

fn language(text: &str) -> Result<String, String> {
    match Script::of_language(text) {
        Some(_) => Ok(text.to_string()),
        None => Err("no language with a known script; give a two-letter code such as en or zh".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_languages_have_names() {
        assert_eq!(source("boxed").unwrap(), Source::Boxed);
        assert!(source("box").is_err());
        assert!(language("en").is_ok() && language("zh-Hant").is_ok() && language("xx").is_err());
    }
}
