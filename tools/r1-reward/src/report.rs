//! What is said on stderr: the reason of each verdict, and the summary at the end.

use crate::accuracy::{Expected, Outcome};
use crate::judge::Rewarded;
use crate::settings::Settings;
use r1_verify::extract::{Extraction, Missing};
use serde::Serialize;
use std::collections::BTreeMap;

/// One line: what was found where, both normal forms, and the rule that decided.
pub fn why(
    place: &str,
    found: &Result<Extraction<'_>, Missing>,
    expected: &Expected,
    outcome: Outcome,
    settings: &Settings,
) -> String {
    if let Outcome::Tested { passed, total } = outcome {
        return format!("{place}: {}: {passed} of {total} tests passed", outcome.class());
    }
    let found = match found {
        Ok(found) => found,
        Err(missing) => return format!("{place}: no answer: {}", missing.reason()),
    };
    let answer = brief(&found.answer);
    let place = format!(
        "{place}: answer {answer:?} ({}, bytes {}..{})",
        found.source.name(),
        found.span.start,
        found.span.end
    );
    match outcome {
        Outcome::Judged(judgement) => {
            let (left, right) = expected.forms(&found.answer, settings);
            let verdict = outcome.class();
            format!(
                "{place}: {verdict} by rule {:?}: {} against {}",
                judgement.rule,
                brief(&left),
                brief(&right)
            )
        }
        _ => format!("{place}: not judged, the row has no expected answer"),
    }
}

/// At most 120 characters of a text, on one line.
fn brief(text: &str) -> String {
    let mut out: String = text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(120).is_some() {
        out.push('…');
    }
    out
}

/// Counts over all rows.
#[derive(Default)]
pub struct Summary {
    rows: u64,
    without_total: u64,
    total: f64,
    /// Sum and number of each part, in the order asked for.
    parts: Vec<(String, f64, u64)>,
    classes: BTreeMap<&'static str, u64>,
    /// Rows of the task code that nothing has judged.
    code: u64,
    /// Completions that close a reasoning which neither they nor the prompt's text has opened.
    closes_unopened: u64,
}

/// The summary as a line of metrics.
#[derive(Serialize)]
struct Line<'s> {
    rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<f64>,
    #[serde(flatten)]
    parts: BTreeMap<String, f64>,
    verdicts: &'s BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Adds one row.
    pub fn add(&mut self, rewarded: &Rewarded) {
        let reward = &rewarded.reward;
        self.rows += 1;
        self.code += u64::from(rewarded.task == "code" && rewarded.right.is_none());
        self.closes_unopened += u64::from(rewarded.closes_unopened);
        match reward.total {
            Some(total) => self.total += total,
            None => self.without_total += 1,
        }
        for (name, value) in &reward.parts {
            match self.parts.iter_mut().find(|(known, ..)| known == name) {
                Some((_, sum, n)) => {
                    *sum += value;
                    *n += 1;
                }
                None => self.parts.push((name.clone(), *value, 1)),
            }
        }
        *self.classes.entry(rewarded.class).or_default() += 1;
    }

    /// One line for a person.
    pub fn text(&self) -> String {
        let mut out = format!("{} rows", self.rows);
        if let Some(mean) = self.mean() {
            out.push_str(&format!(", reward {mean:.4}"));
        }
        for (name, sum, n) in &self.parts {
            out.push_str(&format!(", {name} {:.4}", sum / *n as f64));
            if *n < self.rows {
                out.push_str(&format!(" (of {n})"));
            }
        }
        let classes: Vec<String> = self.classes.iter().map(|(class, n)| format!("{n} {class}")).collect();
        out.push_str(&format!("; answers: {}", classes.join(", ")));
        if self.without_total > 0 {
            out.push_str(&format!("; {} rows without any part have no total", self.without_total));
        }
        out
    }

    /// What the user may have to set, where the completions look so.
    pub fn advice(&self) -> Vec<String> {
        let mut advice = Vec::new();
        if self.code > 0 {
            advice.push(format!(
                "{} rows of the task code are not judged; --allow-code runs their programs against the row's tests, in a sandbox",
                self.code
            ));
        }
        if self.closes_unopened > 0 {
            advice.push(format!(
                "{} completions close a <think> that they have not opened; if the prompt opens it, give --prefilled yes",
                self.closes_unopened
            ));
        }
        advice
    }

    /// One line for --metrics.
    pub fn line(&self) -> impl Serialize + '_ {
        Line {
            rows: self.rows,
            reward: self.mean(),
            parts: self
                .parts
                .iter()
                .map(|(name, sum, n)| (format!("reward/{name}"), sum / *n as f64))
                .collect(),
            verdicts: &self.classes,
        }
    }

    fn mean(&self) -> Option<f64> {
        let n = self.rows - self.without_total;
        (n > 0).then(|| self.total / n as f64)
    }
}
