//! The teacher's text, made into what the student imitates: which rows, and how much of the thinking.

use anyhow::Result;
use r1_model::Tokenizer;
use r1_records::{FinishReason, RecordError, Row};
use r1_train::examples::{self, Example, Examples, Words, imitated};
use r1_train::supervised::{Defaults, Imitation, Preparation};
use serde_json::{Map, json};

use crate::{Args, toward};

/// The paper's distillation: batches of 64, 1e-4 (for its smallest student) falling to a tenth of it.
const PAPER: Defaults = Defaults { batch_size: 64, lr: 1e-4 };

/// What becomes of the thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    /// The student learns to think as the teacher does
    Keep,
    /// The student learns only what stands after `</think>`
    Strip,
}

/// Which rows are taught, and how.
#[derive(clap::Args, Clone, Debug)]
pub struct Lesson {
    /// Only rows whose `reward.accuracy` is 1; a row that was never judged is refused too
    #[arg(long)]
    pub correct_only: bool,
    /// Whether the student learns the thinking too
    #[arg(long, value_enum, default_value_t = Thinking::Keep)]
    pub thinking: Thinking,
}

/// Rows used, and rows refused by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// rows that are learned from
    pub used: usize,
    wrong: usize,
    not_judged: usize,
    truncated: usize,
    /// rows with nothing to say
    pub empty: usize,
    not_spelled: usize,
    /// rows longer than --max-length, where rows come as tokens
    pub too_long: usize,
}

impl Count {
    /// All of it in one line.
    pub fn words(&self) -> String {
        let refused: Vec<String> = [
            ("wrong", self.wrong),
            ("never judged", self.not_judged),
            ("truncated", self.truncated),
            ("empty", self.empty),
            ("too long", self.too_long),
            ("not spelled by the student's tokenizer", self.not_spelled),
        ]
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(why, n)| format!("{n} {why}"))
        .collect();
        let refused = if refused.is_empty() { "none".to_string() } else { refused.join(", ") };
        format!("{} rows used; refused: {refused}", self.used)
    }
}

/// Whether a row's judgement lets it be taught; counted where not.
pub fn judged(row: &Row, lesson: &Lesson, count: &mut Count) -> Result<bool, RecordError> {
    if !lesson.correct_only {
        return Ok(true);
    }
    let accuracy = if row.has("reward") { row.reward()?.part("accuracy") } else { None };
    match accuracy {
        Some(accuracy) if accuracy >= 1.0 => return Ok(true),
        Some(_) => count.wrong += 1,
        None => count.not_judged += 1,
    }
    Ok(false)
}

/// What a row teaches; `None`, counted, where it is refused.
pub fn taught(row: &Row, lesson: &Lesson, count: &mut Count) -> Result<Option<Example>, RecordError> {
    let mut example = match row.has("rollout") {
        true => {
            let outline = row.outline()?;
            if outline.finish_reason == Some(FinishReason::Length) {
                count.truncated += 1;
                return Ok(None);
            }
            let prompt = row.prompt()?;
            Example::of(row, prompt, outline.completion)?
        }
        false => match imitated(row)? {
            Some(example) => example,
            None => return Ok(None),
        },
    };
    if !judged(row, lesson, count)? {
        return Ok(None);
    }
    example.completion = reshape(&example.completion, lesson.thinking).to_string();
    if example.completion.trim().is_empty() {
        count.empty += 1;
        return Ok(None);
    }
    count.used += 1;
    Ok(Some(example))
}

/// The completion with its thinking whole, or without it. A teacher whose template opened the thinking itself wrote only the
/// closing tag: the opening one is put back, and the student's template may take it away again if it opens the thinking too.
fn reshape(completion: &str, thinking: Thinking) -> std::borrow::Cow<'_, str> {
    match (thinking, completion.rfind("</think>")) {
        (Thinking::Strip, Some(end)) => completion[end + "</think>".len()..].trim_start().into(),
        // Thinking that never ends leaves nothing to keep.
        (Thinking::Strip, None) if completion.contains("<think>") => "".into(),
        (Thinking::Keep, Some(_)) if !completion.contains("<think>") => {
            format!("<think>\n{completion}").into()
        }
        _ => completion.into(),
    }
}

/// Whether the student's tokenizer can say the text: what it would learn reads back as the same text.
fn spells(tokenizer: &Tokenizer, text: &str) -> bool {
    tokenizer
        .encode(text, false)
        .and_then(|ids| tokenizer.decode(&ids, false))
        .is_ok_and(|again| again.trim() == text.trim())
}

/// Runs the tool.
pub fn run(args: Args) -> Result<()> {
    let lesson = args.lesson.clone();
    args.loss.check(&lesson)?;
    let mut extra = Map::new();
    extra.insert("correct-only".into(), lesson.correct_only.into());
    extra.insert("thinking".into(), json!(lesson.thinking));
    args.loss.record(&mut extra);
    let preparation = Preparation {
        tool: "r1-distill",
        policy: &args.student,
        out: &args.output,
        template: &args.template,
        input: &args.input,
        flags: &args.training,
        lora: &args.lora,
        defaults: PAPER,
        extra,
        inputs: Map::new(),
    };
    if args.loss.is_of_logprobs() {
        return toward::run(&args, preparation);
    }
    let precision = preparation.begin()?;
    let mut count = Count::default();
    let examples = examples::read(&args.input, |row| taught(row, &lesson, &mut count))?;
    let examples = only_spelled(examples, &Words::load(&args.student, &args.template)?, &mut count);
    said(&count, &args)?;
    preparation
        .run(precision, &examples, Imitation::default(), |row| taught(row, &lesson, &mut Count::default()))
}

/// Says what was used and what refused.
///
/// # Errors
/// Exit 2: nothing is left to learn.
pub fn said(count: &Count, args: &Args) -> Result<()> {
    r1_cli::note(&count.words());
    if count.used > 0 {
        return Ok(());
    }
    let fact = format!("nothing to learn: {}", count.words());
    Err(r1_cli::bad_input(args.input.name(), fact, "sample more, or drop --correct-only"))
}

/// Leaves out, and counts, what the student's tokenizer cannot say.
fn only_spelled(examples: Examples, words: &Words, count: &mut Count) -> Examples {
    let (list, refused): (Vec<Example>, Vec<Example>) =
        examples.list.into_iter().partition(|example| spells(&words.tokenizer, &example.completion));
    count.used -= refused.len();
    count.not_spelled += refused.len();
    Examples { list, hash: examples.hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LESSON: Lesson = Lesson { correct_only: true, thinking: Thinking::Keep };

    #[test]
    fn rows_are_used_or_refused_with_a_reason() {
        let rows = [
            (
                r#"{"prompt":"q","rollout":{"completion":"<think>a</think> 4","finish_reason":"stop"},"reward":{"accuracy":1}}"#,
                true,
            ),
            (r#"{"prompt":"q","completion":"4","reward":{"accuracy":1}}"#, true),
            (r#"{"prompt":"q","rollout":{"completion":"5"},"reward":{"accuracy":0.0}}"#, false),
            (r#"{"prompt":"q","rollout":{"completion":"5"}}"#, false),
            (
                r#"{"prompt":"q","rollout":{"completion":"5","finish_reason":"length"},"reward":{"accuracy":1}}"#,
                false,
            ),
            (r#"{"prompt":"q","rollout":{"completion":" "},"reward":{"accuracy":1}}"#, false),
        ];
        let mut count = Count::default();
        for (text, used) in rows {
            let row = Row::parse(text).unwrap();
            assert_eq!(taught(&row, &LESSON, &mut count).unwrap().is_some(), used, "{text}");
        }
        let expected =
            Count { used: 2, wrong: 1, not_judged: 1, truncated: 1, empty: 1, not_spelled: 0, too_long: 0 };
        assert_eq!(count, expected);
        assert_eq!(count.words(), "2 rows used; refused: 1 wrong, 1 never judged, 1 truncated, 1 empty");
        let nothing = Row::parse(r#"{"prompt":"q"}"#).unwrap();
        assert!(taught(&nothing, &LESSON, &mut count).is_err());
    }

    #[test]
    fn thinking_is_kept_whole_or_left_out() {
        for (text, kept, stripped) in [
            (
                "<think>a</think> <answer>4</answer>",
                "<think>a</think> <answer>4</answer>",
                "<answer>4</answer>",
            ),
            ("a\n</think>\n\n4", "<think>\na\n</think>\n\n4", "4"),
            ("just 4", "just 4", "just 4"),
            ("<think>never ends", "<think>never ends", ""),
        ] {
            assert_eq!(reshape(text, Thinking::Keep), kept);
            assert_eq!(reshape(text, Thinking::Strip), stripped);
        }
    }
}
