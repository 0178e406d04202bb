//! `--pairs`: preferences from the right and wrong completions of a prompt, in the columns that TRL reads.
//!
//! Chosen is the best of those that are kept; rejected is a wrong one, of several the one whose length is nearest to the chosen
//! one's: the paper keeps both sides comparably long, or a reward model would learn to count.

use crate::choose::{Candidate, Chosen, better};
use crate::example::example;
use r1_cli::AtomicFile;
use r1_records::{Group, RecordError, Row};
use std::path::PathBuf;

/// The flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Pairing {
    /// Write a pair (prompt, chosen, rejected) to FILE for each prompt with a kept and a wrong completion
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// Instead of a wrong one, --pairs rejects a completion whose reward is at least M below the chosen one's
    #[arg(long, value_name = "M", requires = "pairs", value_parser = positive)]
    pair_margin: Option<f64>,
}

/// The open file, where one was asked for.
pub struct Pairs {
    file: Option<AtomicFile>,
    margin: Option<f64>,
    /// How many pairs were written.
    pub written: u64,
}

impl Pairing {
    /// Opens the file.
    pub fn create(&self) -> anyhow::Result<Pairs> {
        let file = self.pairs.as_ref().map(AtomicFile::create).transpose()?;
        Ok(Pairs { file, margin: self.pair_margin, written: 0 })
    }
}

impl Pairs {
    /// The pair of a group, where it has one and pairs are asked for.
    pub fn pair(&self, group: &Group, chosen: &Chosen) -> Result<Option<Row>, RecordError> {
        if self.file.is_none() {
            return Ok(None);
        }
        let all = &chosen.candidates;
        let kept = (0..all.len()).filter(|at| all[*at].refusal.is_none());
        let Some(best) = kept.min_by(|a, b| better(&all[*a], &all[*b]).then(a.cmp(b))) else {
            return Ok(None);
        };
        let length = |candidate: &Candidate| candidate.rollout.completion.chars().count();
        let worse =
            |candidate: &Candidate| match (self.margin, all[best].reward.total, candidate.reward.total) {
                (Some(margin), Some(high), Some(low)) => high - low >= margin,
                (Some(_), _, _) => false,
                (None, _, _) => candidate.right == Some(false),
            };
        let rejected = (0..all.len())
            .filter(|at| *at != best && worse(&all[*at]) && !all[*at].rollout.completion.trim().is_empty())
            .min_by_key(|at| (length(&all[*at]).abs_diff(length(&all[best])), *at));
        let Some(rejected) = rejected else { return Ok(None) };
        // A wrong completion may have no form to rewrite; then it stands as it was sampled.
        let text = |at: usize| all[at].rewritten.as_ref().unwrap_or(&all[at].rollout.completion).as_str();
        let texts = [("chosen", text(best)), ("rejected", text(rejected))];
        example(&group.id, &group.rows[best], &texts, chosen.label.as_deref()).map(Some)
    }

    /// Writes a pair.
    pub fn write(&mut self, pair: &Row) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            pair.write_line(file).map_err(|error| file.failure(error))?;
            self.written += 1;
        }
        Ok(())
    }

    /// Brings the file to the disk; how many pairs there are, where they were asked for.
    pub fn finish(self) -> anyhow::Result<Option<u64>> {
        let Some(file) = self.file else { return Ok(None) };
        file.publish()?;
        Ok(Some(self.written))
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a number above 0 is needed".to_string()),
    }
}
