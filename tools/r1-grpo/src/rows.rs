//! The rows of a round: what was sampled, how likely it was then, and how good it was.
//!
//! Ids and log-probabilities come from the row; text is never tokenized again.

use std::io::BufRead;

use anyhow::Result;
use r1_model::Config;
use r1_records::{FinishReason, Reader, RecordError, Reward, Round, Row};
use r1_train::checkpoint::{Hashing, State};
use r1_train::update;
use serde_json::Value;

/// One completion.
#[derive(Clone, Debug)]
pub struct Sample {
    /// line in the input
    pub line: usize,
    /// rows of one prompt that follow each other have one number
    pub group: usize,
    /// what the policy was given
    pub prompt: Vec<u32>,
    /// what it sampled
    pub completion: Vec<u32>,
    /// log-probability of each completion token as the sampler recorded it
    pub sampled: Vec<f32>,
    /// log-probability of each completion token under the reference
    pub reference: Option<Vec<f32>>,
    /// the row's advantage
    pub advantage: f64,
    /// the row's total reward, where it says
    pub reward: Option<f64>,
    /// the raw parts of the reward, where it says
    pub parts: Vec<(String, f64)>,
    /// 1 / sampling temperature
    pub inv_temperature: f32,
    /// it ran into the token limit
    pub truncated: bool,
    /// `sha256:…` of the weights that sampled it, where it says
    pub policy: Option<String>,
}

/// All rows of a round.
#[derive(Clone, Debug)]
pub struct Rows {
    /// in the order of the input
    pub samples: Vec<Sample>,
    /// `sha256:…` of the input's bytes
    pub hash: String,
    /// number of groups
    pub groups: usize,
}

impl Sample {
    fn of(row: &Row, kl: bool) -> Result<Sample, RecordError> {
        let rollout = row.rollout()?;
        let missing = |name: &str| {
            row.error_in(
                "rollout",
                format!("no `rollout.{name}`"),
                "r1-grpo trains on ids and logprobs: sample with r1-rollout",
            )
        };
        let prompt = rollout.prompt_ids.ok_or_else(|| missing("prompt_ids"))?;
        let completion = rollout.completion_ids.ok_or_else(|| missing("completion_ids"))?;
        let sampled = rollout.logprobs.ok_or_else(|| missing("logprobs"))?;
        let advantage = row.advantage()?;
        if !advantage.is_finite() {
            return Err(row.error_in("advantage", "`advantage` is not finite", "run r1-advantage again"));
        }
        let reference = if kl {
            let scores = row.reference()?.ok_or_else(|| {
                let remedy = "score the rows with r1-rollout --score reference, or use --kl-beta 0";
                row.error("no `reference.logprobs`, which --kl-beta needs", remedy)
            })?;
            if scores.logprobs.len() != completion.len() {
                let fact =
                    format!("{} logprobs for {} completion ids", scores.logprobs.len(), completion.len());
                return Err(row.error_in("reference", fact, "score the rows again"));
            }
            Some(scores.logprobs)
        } else {
            None
        };
        let temperature = rollout.temperature.unwrap_or(1.0);
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(row.error_in(
                "rollout",
                format!("temperature {temperature}"),
                "sample the rows again",
            ));
        }
        let reward = if row.has("reward") { row.reward()? } else { Reward::default() };
        Ok(Sample {
            line: row.line(),
            group: 0,
            prompt,
            completion,
            sampled,
            reference,
            advantage,
            reward: reward.total,
            parts: reward.parts,
            // Greedy completions are scored at temperature 1: at 0 every token has probability 0 or 1.
            inv_temperature: if temperature == 0.0 { 1.0 } else { 1.0 / temperature },
            truncated: rollout.finish_reason == Some(FinishReason::Length),
            policy: rollout.policy,
        })
    }

    /// As the trainer takes it; `gradient` says whether the loss can have one in this row.
    pub fn row(&self, gradient: bool) -> update::Row<'_> {
        update::Row {
            prompt: &self.prompt,
            completion: &self.completion,
            inv_temperature: self.inv_temperature,
            gradient,
        }
    }
}

/// Reads all rows; `kl` asks for the reference's log-probabilities.
///
/// # Errors
/// Exit 2, naming line and field: what is missing, misshapen or not finite.
pub fn read(input: &r1_cli::Input, kl: bool) -> Result<Rows> {
    let mut bytes = Hashing::new(input.open()?);
    let samples = samples(input, Reader::new(&mut bytes), kl)?;
    Ok(Rows::of(samples, bytes.finish()))
}

/// Reads the rows of one round of several, none where the stages before left none.
///
/// # Errors
/// Those of [`read`].
pub fn read_round<R: BufRead>(input: &r1_cli::Input, round: &mut Round<R>, kl: bool) -> Result<Rows> {
    let lines = round.before();
    let none = round.is_empty().map_err(|error| input.unread(error))?;
    let mut bytes = Hashing::new(round);
    let samples = if none { Vec::new() } else { samples(input, Reader::after(&mut bytes, lines), kl)? };
    Ok(Rows::of(samples, bytes.finish()))
}

fn samples<R: BufRead>(input: &r1_cli::Input, rows: Reader<R>, kl: bool) -> Result<Vec<Sample>> {
    let mut samples: Vec<Sample> = Vec::new();
    for row in rows {
        let mut sample = row.and_then(|row| Sample::of(&row, kl)).map_err(|error| input.blame(error))?;
        if let Some(last) = samples.last() {
            sample.group = last.group + usize::from(last.prompt != sample.prompt);
        }
        samples.push(sample);
    }
    Ok(samples)
}

/// How many of these rows name another policy than the one that the round began with.
pub fn of_other_policies(samples: &[&Sample], state: &State) -> usize {
    let Some(own) = state.inputs.get("policy").and_then(Value::as_str) else { return 0 };
    samples.iter().filter(|s| s.policy.as_deref().is_some_and(|p| p != own)).count()
}

impl Rows {
    fn of(samples: Vec<Sample>, hash: String) -> Rows {
        let groups = samples.last().map_or(0, |s| s.group + 1);
        Rows { samples, hash, groups }
    }

    /// Checks that the policy can be given these rows: ids inside the vocabulary, prompts not empty, sequences no longer than
    /// the positions it knows.
    ///
    /// # Errors
    /// Exit 2, naming the line.
    pub fn check(&self, input: &r1_cli::Input, config: &Config) -> Result<()> {
        for sample in &self.samples {
            let wrong = |fact: String, remedy: &str| {
                Err(input.blame(RecordError::new(fact, remedy).at_line(sample.line)))
            };
            if sample.prompt.is_empty() {
                return wrong("`rollout.prompt_ids` is empty".into(), "a prompt needs at least one token");
            }
            let all = sample.prompt.iter().chain(&sample.completion);
            if let Some(id) = all.clone().find(|id| **id as usize >= config.vocab_size) {
                let fact =
                    format!("token id {id} is beyond the policy's vocabulary of {}", config.vocab_size);
                return wrong(fact, "train the policy that sampled the rows");
            }
            let (length, most) = (all.count(), config.max_position_embeddings);
            if length > most {
                let fact = format!("{length} tokens, the policy's positions end at {most}");
                return wrong(fact, "sample shorter completions");
            }
        }
        Ok(())
    }
}
