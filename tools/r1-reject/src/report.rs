//! Counts of what was kept and refused, with the first few of each reason.

use crate::choose::Candidate;
use crate::reason::Reason;
use crate::review::Tally;
use r1_records::Row;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How much of a refused text is shown, in characters.
const SHOWN: usize = 400;
/// How many of each reason are shown.
const EXAMPLES: usize = 3;

/// The counts so far.
#[derive(Debug, Default)]
pub struct Report {
    rows: u64,
    kept: u64,
    groups: u64,
    groups_kept: u64,
    labelled: u64,
    refused: BTreeMap<Reason, (u64, Vec<Specimen>)>,
}

/// A refused completion.
#[derive(Debug)]
struct Specimen {
    id: String,
    line: usize,
    sample: Option<u32>,
    found: String,
    completion: String,
}

/// What else was written.
#[derive(Debug, Default)]
pub struct Besides {
    /// Bad rows that were set aside.
    pub bad: u64,
    /// Files that were mixed in.
    pub mixed: Vec<Value>,
    /// Pairs, where they were asked for.
    pub pairs: Option<u64>,
    /// The reader's word, where there was one.
    pub review: Option<Tally>,
}

impl Report {
    /// One more group: its rows with the verdict on each.
    pub fn add(&mut self, id: &str, rows: &[Row], candidates: &[Candidate], labelled: bool) {
        self.groups += 1;
        self.groups_kept += u64::from(candidates.iter().any(|candidate| candidate.refusal.is_none()));
        self.labelled += u64::from(labelled);
        for (row, candidate) in rows.iter().zip(candidates) {
            self.rows += 1;
            let Some((reason, found)) = &candidate.refusal else {
                self.kept += 1;
                continue;
            };
            let (count, shown) = self.refused.entry(*reason).or_default();
            *count += 1;
            if shown.len() < EXAMPLES {
                shown.push(Specimen {
                    id: id.to_string(),
                    line: row.line(),
                    sample: candidate.rollout.sample,
                    found: found.clone(),
                    completion: candidate.rollout.completion.chars().take(SHOWN).collect(),
                });
            }
        }
    }

    /// How many rows were kept.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// For a program. `rows` is always `kept` plus the sum of the counts.
    pub fn json(&self, besides: &Besides) -> Value {
        let show = |specimen: &Specimen| {
            let mut shown = json!({"id": specimen.id, "line": specimen.line, "found": specimen.found,
                "completion": specimen.completion});
            if let Some(sample) = specimen.sample {
                shown["sample"] = json!(sample);
            }
            shown
        };
        let refused: Map<String, Value> = self
            .refused
            .iter()
            .map(|(reason, (count, shown))| {
                let shown: Vec<Value> = shown.iter().map(show).collect();
                (reason.name().to_string(), json!({"count": count, "examples": shown}))
            })
            .collect();
        let mut report = json!({"rows": self.rows, "kept": self.kept, "groups": self.groups,
            "groups_kept": self.groups_kept, "bad_rows": besides.bad, "refused": refused});
        if self.labelled > 0 {
            report["labelled_by_majority"] = json!(self.labelled);
        }
        if !besides.mixed.is_empty() {
            report["mixed"] = json!(besides.mixed);
        }
        if let Some(pairs) = besides.pairs {
            report["pairs"] = json!(pairs);
        }
        if let Some(Tally { kept, edited, dropped }) = besides.review {
            report["review"] = json!({"kept": kept, "edited": edited, "dropped": dropped});
        }
        report
    }

    /// For a person.
    pub fn text(&self, besides: &Besides) -> String {
        let share = |count: u64| 100.0 * count as f64 / self.rows.max(1) as f64;
        let mut text = format!(
            "    kept   share\n{:>8}  {:>6}  of {} completions, {} of {} prompts\n",
            self.kept,
            format!("{:.1} %", share(self.kept)),
            self.rows,
            self.groups_kept,
            self.groups
        );
        if !self.refused.is_empty() {
            text.push_str(" refused   share  reason          first\n");
        }
        for (reason, (count, shown)) in &self.refused {
            let Some(first) = shown.first() else { continue };
            let sample = first.sample.map_or(String::new(), |sample| format!(" sample {sample}"));
            text.push_str(&format!(
                "{count:>8}  {:>6}  {:<14}  {}{sample}, line {}: {}\n",
                format!("{:.1} %", share(*count)),
                reason.name(),
                first.id,
                first.line,
                first.found
            ));
        }
        if self.labelled > 0 {
            text.push_str(&format!("{} prompts were labelled by their majority\n", self.labelled));
        }
        for mixed in &besides.mixed {
            let file = mixed["file"].as_str().unwrap_or_default();
            text.push_str(&format!(
                "{} examples of {file}, {} for each kept\n",
                mixed["written"], mixed["ratio"]
            ));
        }
        if let Some(pairs) = besides.pairs {
            text.push_str(&format!("{pairs} pairs of a chosen and a rejected completion\n"));
        }
        if let Some(Tally { kept, edited, dropped }) = besides.review {
            text.push_str(&format!(
                "the reader kept {kept} as they are, edited {edited}, dropped {dropped}\n"
            ));
        }
        text
    }
}
