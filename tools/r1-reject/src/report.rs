//! Counts of what was kept and refused, with one specimen for each reason.

use crate::filters::{Reason, Refusal};
use r1_records::Row;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// How much of a specimen's text is shown, in characters.
const SHOWN: usize = 400;

/// The counts so far.
#[derive(Debug, Default)]
pub struct Report {
    rows: u64,
    kept: u64,
    groups: u64,
    groups_kept: u64,
    refused: BTreeMap<Reason, (u64, Specimen)>,
}

/// The first completion refused for a reason.
#[derive(Debug)]
struct Specimen {
    id: String,
    line: usize,
    sample: Option<u32>,
    found: String,
    completion: String,
}

impl Report {
    /// One more group: its rows with the verdict on each.
    pub fn add(&mut self, id: &str, rows: &[Row], verdicts: &[Option<Refusal>]) {
        self.groups += 1;
        self.groups_kept += u64::from(verdicts.iter().any(Option::is_none));
        for (row, verdict) in rows.iter().zip(verdicts) {
            self.rows += 1;
            let Some((reason, found)) = verdict else {
                self.kept += 1;
                continue;
            };
            let entry = self.refused.entry(*reason).or_insert_with(|| {
                let rollout = row.outline().ok();
                let text = rollout.as_ref().map_or("", |rollout| rollout.completion.as_str());
                let specimen = Specimen {
                    id: id.to_string(),
                    line: row.line(),
                    sample: rollout.as_ref().and_then(|rollout| rollout.sample),
                    found: found.clone(),
                    completion: text.chars().take(SHOWN).collect(),
                };
                (0, specimen)
            });
            entry.0 += 1;
        }
    }

    /// Whether no row was kept.
    pub fn kept_nothing(&self) -> bool {
        self.kept == 0
    }

    /// For a program. `rows` is always `kept` plus the sum of the counts.
    pub fn json(&self, bad: u64) -> Value {
        let refused: Map<String, Value> = self
            .refused
            .iter()
            .map(|(reason, (count, specimen))| {
                let mut shown = json!({"id": specimen.id, "line": specimen.line, "found": specimen.found,
                    "completion": specimen.completion});
                if let Some(sample) = specimen.sample {
                    shown["sample"] = json!(sample);
                }
                (reason.name().to_string(), json!({"count": count, "first": shown}))
            })
            .collect();
        json!({"rows": self.rows, "kept": self.kept, "groups": self.groups, "groups_kept": self.groups_kept,
            "bad_rows": bad, "refused": refused})
    }

    /// For a person.
    pub fn text(&self) -> String {
        let share = |count: u64| 100.0 * count as f64 / self.rows.max(1) as f64;
        let mut text = format!(
            "{:>8}  {:>6}  of {} completions, {} of {} prompts\n",
            self.kept,
            format!("{:.1} %", share(self.kept)),
            self.rows,
            self.groups_kept,
            self.groups
        );
        text.insert_str(0, "    kept   share\n");
        if !self.refused.is_empty() {
            text.push_str(" refused   share  reason          first\n");
        }
        for (reason, (count, first)) in &self.refused {
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
        text
    }
}
