//! What one run saw, in one line.

use crate::estimator::{mean, squares};
use serde::Serialize;

/// Counts and statistics over all rows of the input.
#[derive(Debug, Default)]
pub struct Summary {
    rewards: Vec<f64>,
    rows: u64,
    groups: u64,
    with_spread: u64,
    dropped: u64,
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
    zero_std_share: f64,
    /// Absent where no row was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    reward_mean: Option<f64>,
    /// Population standard deviation over all judged rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    reward_std: Option<f64>,
}

impl Summary {
    /// One more group.
    pub fn add(&mut self, rewards: &[Option<f64>], has_spread: bool, dropped: bool) {
        self.rewards.extend(rewards.iter().flatten());
        self.rows += rewards.len() as u64;
        self.groups += 1;
        self.with_spread += u64::from(has_spread);
        self.dropped += u64::from(dropped);
    }

    /// Groups whose rewards differ.
    pub fn with_spread(&self) -> u64 {
        self.with_spread
    }

    /// For a program.
    pub fn line(&self) -> Line {
        let mean = mean(&self.rewards);
        let count = self.rewards.len();
        Line {
            tool: "r1-advantage",
            rows: self.rows,
            rows_unjudged: self.rows - count as u64,
            groups: self.groups,
            groups_dropped: self.dropped,
            zero_std_share: if self.groups == 0 {
                0.0
            } else {
                1.0 - self.with_spread as f64 / self.groups as f64
            },
            reward_mean: (count > 0).then_some(mean),
            reward_std: (count > 0).then(|| (squares(&self.rewards, mean) / count as f64).sqrt()),
        }
    }

    /// For a person.
    pub fn text(&self) -> String {
        let line = self.line();
        let reward = match (line.reward_mean, line.reward_std) {
            (Some(mean), Some(std)) => format!("reward {mean:.4} (std {std:.4})"),
            _ => "no reward".to_string(),
        };
        let unjudged = if line.rows_unjudged > 0 {
            format!(", rows not judged {}", line.rows_unjudged)
        } else {
            String::new()
        };
        let dropped = if line.groups_dropped > 0 {
            format!(", groups left out {}", line.groups_dropped)
        } else {
            String::new()
        };
        format!(
            "rows {}, groups {}, {reward}, groups without spread {:.1} %{unjudged}{dropped}",
            line.rows,
            line.groups,
            100.0 * line.zero_std_share
        )
    }
}
