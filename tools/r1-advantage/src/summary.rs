//! What one run saw, in one line.

use crate::estimator::{mean, squares};
use crate::filter::Verdict;
use r1_records::{FinishReason, RecordError, Reward, Row};
use serde::Serialize;

/// Counts and statistics over all rows of the input.
#[derive(Debug, Default)]
pub struct Summary {
    rewards: Vec<f64>,
    lengths: Vec<usize>,
    truncated: u64,
    rows: u64,
    groups: u64,
    with_spread: u64,
    usable: u64,
    dropped: u64,
    pass_rates: Vec<f64>,
}

/// The line for `--metrics`.
#[derive(Serialize)]
pub struct Line {
    tool: &'static str,
    rows: u64,
    rows_unjudged: u64,
    groups: u64,
    groups_dropped: u64,
    /// Share of groups whose rewards are all equal.
    frac_reward_zero_std: f64,
    /// Absent where no row was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<f64>,
    /// Population standard deviation over all judged rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    reward_std: Option<f64>,
    /// Mean over groups of the share of correct completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pass_rate: Option<f64>,
    /// Completion tokens; absent where no row says.
    #[serde(rename = "completions/mean_length", skip_serializing_if = "Option::is_none")]
    length: Option<f64>,
    #[serde(rename = "completions/min_length", skip_serializing_if = "Option::is_none")]
    length_min: Option<usize>,
    #[serde(rename = "completions/max_length", skip_serializing_if = "Option::is_none")]
    length_max: Option<usize>,
    /// Share of rows that ended at the token limit.
    #[serde(rename = "completions/clipped_ratio", skip_serializing_if = "Option::is_none")]
    truncated: Option<f64>,
}

impl Summary {
    /// One more row.
    pub fn row(&mut self, row: &Row, reward: &Reward) -> Result<(), RecordError> {
        self.rows += 1;
        self.rewards.extend(reward.total);
        if row.has("rollout") {
            let outline = row.outline()?;
            self.lengths.extend(outline.completion_tokens);
            self.truncated += u64::from(outline.finish_reason == Some(FinishReason::Length));
        }
        Ok(())
    }

    /// One more group.
    pub fn group(&mut self, verdict: &Verdict) {
        self.groups += 1;
        self.with_spread += u64::from(verdict.has_spread);
        self.usable += u64::from(verdict.has_spread && verdict.keeps);
        self.dropped += u64::from(!verdict.keeps);
        self.pass_rates.extend(verdict.pass_rate);
    }

    /// Groups that are kept and whose rewards differ.
    pub fn usable(&self) -> u64 {
        self.usable
    }

    /// For a program.
    pub fn line(&self) -> Line {
        let reward = mean(&self.rewards);
        let count = self.rewards.len();
        let known = !self.lengths.is_empty();
        let total: usize = self.lengths.iter().sum();
        Line {
            tool: "r1-advantage",
            rows: self.rows,
            rows_unjudged: self.rows - count as u64,
            groups: self.groups,
            groups_dropped: self.dropped,
            frac_reward_zero_std: if self.groups == 0 {
                0.0
            } else {
                1.0 - self.with_spread as f64 / self.groups as f64
            },
            reward: (count > 0).then_some(reward),
            reward_std: (count > 0).then(|| (squares(&self.rewards, reward) / count as f64).sqrt()),
            pass_rate: (!self.pass_rates.is_empty()).then(|| mean(&self.pass_rates)),
            length: known.then(|| total as f64 / self.lengths.len() as f64),
            length_min: self.lengths.iter().min().copied(),
            length_max: self.lengths.iter().max().copied(),
            truncated: known.then(|| self.truncated as f64 / self.rows as f64),
        }
    }

    /// For a person.
    pub fn text(&self) -> String {
        let line = self.line();
        let reward = match (line.reward, line.reward_std) {
            (Some(mean), Some(std)) => format!("reward {mean:.4} (std {std:.4})"),
            _ => "no reward".to_string(),
        };
        let mut more = String::new();
        if let Some(rate) = line.pass_rate {
            more += &format!(", correct {:.1} %", 100.0 * rate);
        }
        if let (Some(length), Some(min), Some(max)) = (line.length, line.length_min, line.length_max) {
            more += &format!(", tokens {length:.1} ({min} to {max})");
        }
        if let Some(share) = line.truncated.filter(|share| *share > 0.0) {
            more += &format!(", truncated {:.1} %", 100.0 * share);
        }
        if line.rows_unjudged > 0 {
            more += &format!(", rows not judged {}", line.rows_unjudged);
        }
        if line.groups_dropped > 0 {
            more += &format!(", groups left out {}", line.groups_dropped);
        }
        format!(
            "rows {}, groups {}, {reward}, groups without spread {:.1} %{more}",
            line.rows,
            line.groups,
            100.0 * line.frac_reward_zero_std
        )
    }
}
