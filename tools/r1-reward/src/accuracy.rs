//! Whether the answer of a row is right, judged as the row's `task` asks.

use crate::code::Tests;
use crate::family;
use crate::settings::Settings;
use r1_records::{RecordError, Row};
use r1_verify::extract::{self, Extraction, Missing, Prefill};
use r1_verify::pattern::Pattern;
use r1_verify::{Judgement, Verdict, choice, code, countdown, exact, json, math, spelled};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;

/// What the answer of one row came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer was compared with the expected one.
    Judged(Judgement),
    /// A program was run against tests: how many it passed, of how many.
    Tested { passed: usize, total: usize },
    /// There is something to compare with, but no answer.
    NoAnswer(Missing),
    /// Nothing here can tell: there is no expected answer, or the task is judged elsewhere.
    NotJudged,
}

/// The classes of outcomes, in words.
pub const CLASSES: [&str; 5] = ["right", "wrong", "undecided", "no answer", "not judged"];

impl Outcome {
    /// Its class, one of [`CLASSES`].
    pub fn class(self) -> &'static str {
        CLASSES[match self {
            Outcome::Judged(judgement) => match judgement.verdict {
                Verdict::Equal => 0,
                Verdict::Unequal => 1,
                Verdict::Undecided => 2,
            },
            Outcome::Tested { passed, total } => usize::from(passed < total),
            Outcome::NoAnswer(_) => 3,
            Outcome::NotJudged => 4,
        }]
    }

    /// 1 for a right answer, 0 for a wrong, missing or undecided one; the share of tests passed; absent where nothing can tell.
    pub fn reward(self) -> Option<f64> {
        match self {
            Outcome::Judged(judgement) => Some(if judgement.is_equal() { 1.0 } else { 0.0 }),
            Outcome::Tested { passed, total } => Some(passed as f64 / total as f64),
            Outcome::NoAnswer(_) => Some(0.0),
            Outcome::NotJudged => None,
        }
    }
}

/// What a row's `task` compares with.
pub enum Expected {
    Math(String),
    Choice {
        answer: String,
        options: Vec<String>,
    },
    Exact(String),
    /// Like exact, without regard to case.
    Text(String),
    Spelled(String),
    /// The expression, as written and as read.
    Regex(String, Pattern),
    Countdown {
        numbers: Vec<i64>,
        target: i64,
    },
    Json {
        value: Option<Value>,
        schema: Option<Value>,
    },
    Code(Tests),
    Nothing,
}

impl Expected {
    /// Reads the row's task and the columns it needs.
    pub fn of(row: &Row, task: &str, settings: &Settings) -> Result<Expected, RecordError> {
        let answer =
            |row: &Row| Ok::<_, RecordError>(row.answer()?.map(|a| extract::expected(&a).into_owned()));
        Ok(match task {
            "math" => answer(row)?.map_or(Expected::Nothing, Expected::Math),
            "exact" => row.answer()?.map_or(Expected::Nothing, Expected::Exact),
            "choice" => match answer(row)? {
                Some(answer) => Expected::Choice { answer, options: options(row)? },
                None => Expected::Nothing,
            },
            "regex" => match row.answer()? {
                Some(text) => {
                    let pattern = pattern(&text).map_err(|fact| {
                        row.error_in(
                            "answer",
                            format!("no regular expression: {fact}"),
                            "mend it, or use the task exact",
                        )
                    })?;
                    Expected::Regex(text, pattern)
                }
                None => Expected::Nothing,
            },
            "reasoning_gym" => family::of(row, row.answer()?)?,
            "countdown" => puzzle(row)?,
            "json" => wanted(row)?,
            "code" if settings.code.is_some() => Tests::of(row)?.map_or(Expected::Nothing, Expected::Code),
            // Judged by running a program, or by a model.
            "code" | "general" => Expected::Nothing,
            // A program may know what this is.
            _ if !settings.programs.is_empty() => Expected::Nothing,
            other => {
                return Err(row.error_in(
                    "task",
                    format!("task {other:?} has no verifier"),
                    "use math, choice, exact, regex, countdown, reasoning_gym, json, code or general, or judge it with --exec",
                ));
            }
        })
    }

    /// Compares an extracted answer.
    pub fn judge(
        &self,
        found: &Result<Extraction<'_>, Missing>,
        completion: &str,
        prefill: Prefill,
        settings: &Settings,
    ) -> std::io::Result<Outcome> {
        if let (Expected::Code(tests), Some(runner)) = (self, &settings.code) {
            return Ok(match code::program(completion, prefill) {
                Ok(program) => runner.test(tests, program)?,
                Err(missing) => Outcome::NoAnswer(missing),
            });
        }
        Ok(self.compare(found, settings))
    }

    fn compare(&self, found: &Result<Extraction<'_>, Missing>, settings: &Settings) -> Outcome {
        if matches!(self, Expected::Nothing | Expected::Code(_)) {
            return Outcome::NotJudged;
        }
        let answer = match found {
            Ok(found) => found.answer.as_ref(),
            Err(missing) => return Outcome::NoAnswer(*missing),
        };
        Outcome::Judged(match self {
            Expected::Math(expected) => math::judge(answer, expected, &settings.policy),
            Expected::Choice { answer: expected, options } => {
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                choice::judge(answer, expected, &options)
            }
            Expected::Exact(expected) => exact::judge(answer, expected, settings.exact),
            Expected::Text(expected) => exact::judge(answer, expected, TEXT),
            Expected::Spelled(expected) => spelled::judge(answer, expected),
            Expected::Regex(_, pattern) => pattern.judge(answer),
            Expected::Countdown { numbers, target } => {
                countdown::judge(answer, numbers, *target, settings.numbers)
            }
            Expected::Json { value, schema } => json::judge(answer, value.as_ref(), schema.as_ref()),
            Expected::Code(_) | Expected::Nothing => return Outcome::NotJudged,
        })
    }

    /// Both sides in the form that is compared, for reports.
    pub fn forms(&self, answer: &str, settings: &Settings) -> (String, String) {
        match self {
            Expected::Math(expected) => {
                (math::normal_form(answer, &settings.policy), math::normal_form(expected, &settings.policy))
            }
            Expected::Choice { answer: expected, options } => {
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                (choice::normal_form(answer, &options), choice::normal_form(expected, &options))
            }
            Expected::Exact(expected) => {
                (exact::normal_form(answer, settings.exact), exact::normal_form(expected, settings.exact))
            }
            Expected::Text(expected) => {
                (exact::normal_form(answer, TEXT), exact::normal_form(expected, TEXT))
            }
            Expected::Spelled(expected) => (spelled::normal_form(answer), spelled::normal_form(expected)),
            Expected::Regex(text, _) => (answer.trim().to_string(), text.clone()),
            Expected::Countdown { numbers, target } => {
                (answer.trim().to_string(), format!("{target} from {numbers:?}"))
            }
            Expected::Json { value, schema } => {
                let side = |side: &Option<Value>| side.as_ref().map(Value::to_string);
                (answer.trim().to_string(), side(value).or(side(schema)).unwrap_or_default())
            }
            Expected::Code(_) | Expected::Nothing => (answer.to_string(), String::new()),
        }
    }
}

/// Plain texts without regard to case.
const TEXT: exact::Policy = exact::Policy { case: false, whitespace: false };

/// A regular expression, read once and remembered for the rows that follow.
fn pattern(text: &str) -> Result<Pattern, String> {
    const REMEMBERED: usize = 64;
    thread_local!(static KNOWN: RefCell<HashMap<String, Pattern>> = RefCell::new(HashMap::new()));
    KNOWN.with_borrow_mut(|known| {
        if let Some(pattern) = known.get(text) {
            return Ok(pattern.clone());
        }
        let pattern = Pattern::new(text)?;
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(text.to_string(), pattern.clone());
        Ok(pattern)
    })
}

/// The options of a multiple-choice row: `choices` or `options`, a list of strings.
fn options(row: &Row) -> Result<Vec<String>, RecordError> {
    for name in ["choices", "options"] {
        if let Some(options) = row.get::<Vec<String>>(name)? {
            return Ok(options);
        }
    }
    Ok(Vec::new())
}

/// What a JSON row expects: `answer`, a value or its text, and `schema`, an object or its text.
fn wanted(row: &Row) -> Result<Expected, RecordError> {
    let read = |name: &str| match row.get::<Value>(name)? {
        Some(Value::String(text)) => serde_json::from_str(&text).map(Some).map_err(|error| {
            row.error_in(
                name,
                format!("`{name}` is not JSON: {error}"),
                "write the value, or its text in JSON",
            )
        }),
        Some(Value::Null) | None => Ok(None),
        value => Ok(value),
    };
    let (value, schema) = (read("answer")?, read("schema")?);
    Ok(if value.is_none() && schema.is_none() { Expected::Nothing } else { Expected::Json { value, schema } })
}

/// The numbers and the target of a countdown row: `nums` or `numbers`, and `target`; or the same within `metadata`.
pub fn puzzle(row: &Row) -> Result<Expected, RecordError> {
    let mut numbers: Option<Vec<i64>> = None;
    for name in ["nums", "numbers"] {
        if numbers.is_none() {
            numbers = row.get(name)?;
        }
    }
    let mut target: Option<i64> = row.get("target")?;
    if (numbers.is_none() || target.is_none())
        && let Some(Value::Object(metadata)) = row.get::<Value>("metadata")?
    {
        let list = metadata.get("nums").or_else(|| metadata.get("numbers")).and_then(Value::as_array);
        numbers = numbers.or_else(|| list.and_then(|l| l.iter().map(Value::as_i64).collect()));
        target = target.or_else(|| metadata.get("target").and_then(Value::as_i64));
    }
    match (numbers, target) {
        (Some(numbers), Some(target)) => Ok(Expected::Countdown { numbers, target }),
        _ => Err(row.error(
            "a countdown row without its numbers or its target",
            "name the columns `nums` and `target`",
        )),
    }
}
