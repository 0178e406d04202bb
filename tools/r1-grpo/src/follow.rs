//! `--follow`: round after round from one stream, policy and optimizer staying in memory. After each the policy is published, which
//! is what r1-rollout --follow waits for before it draws the next:
//!
//! ```sh
//! r1-rollout base tasks.jsonl --follow zero --prompts 32 -n 16 | r1-reward | r1-advantage | r1-grpo base -o zero --follow
//! ```
//!
//! The form feed that ends a round is its receipt: rows that break off before it are not trained on. A signal, too, gives the
//! round up, because its rows can be drawn again from the policy that stands. So what is published is always whole rounds, with
//! the bytes that the same rounds leave when they are run one by one from files.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::{Result, anyhow};
use r1_model::Precision;
use r1_model::directory::{Claim, recover};
use r1_records::{RecordError, Rounds, is_over};
use r1_train::checkpoint::{State, Status};
use r1_train::update::Trainer;

use crate::Args;
use crate::begin::Beginning;
use crate::loss::options::Objective;
use crate::rows::{self, Rows};
use crate::{reference, round};

/// Whether, and how closely.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Stay: take round after round from the input, as r1-rollout --follow ends them, and publish OUTPUT after each; where OUTPUT
    /// is there, go on from it
    #[arg(long, conflicts_with_all = ["plan", "selftest"])]
    pub follow: bool,
    /// Rounds that a policy may lie behind the one that is trained on its rows; other rows are refused
    #[arg(long, value_name = "N", default_value_t = 0, requires = "follow")]
    max_lag: usize,
}

/// The last policies that rows may come from, the newest last, and the updates behind each.
#[derive(Default)]
struct Lag {
    known: VecDeque<(String, u64)>,
}

impl Lag {
    /// A round begins at this policy.
    fn begin(&mut self, state: &State, most: usize) {
        if let Some(own) = state.inputs.get("policy").and_then(|hash| hash.as_str()) {
            self.known.push_back((own.to_string(), state.step));
        }
        while self.known.len() > most + 1 {
            self.known.pop_front();
        }
    }

    /// How many updates the oldest of the policies that sampled these rows is behind the newest.
    ///
    /// # Errors
    /// A row of a policy that is none of those known, with its line.
    fn of(&self, rows: &Rows) -> Result<u64, RecordError> {
        let newest = self.known.back().map_or(0, |(_, step)| *step);
        let mut oldest = newest;
        for sample in &rows.samples {
            let Some(policy) = &sample.policy else { continue };
            match self.known.iter().rev().find(|(hash, _)| hash == policy) {
                Some((_, step)) => oldest = oldest.min(*step),
                None => {
                    let fact = match self.known.len() {
                        1 => format!("sampled by {policy}, which is not the policy that is trained"),
                        n => format!("sampled by {policy}, which is none of the last {n} policies"),
                    };
                    let remedy = "sample with r1-rollout --follow OUTPUT, or allow a greater --max-lag, here and there";
                    return Err(RecordError::new(fact, remedy).at_line(sample.line));
                }
            }
        }
        Ok(newest - oldest)
    }
}

/// Takes rounds until the input ends.
///
/// # Errors
/// Those of a round; exit 1 where the input ends within one; exit 130 or 143 after a signal. What is published stands.
pub fn run(mut args: Args, objective: &Objective, precision: Precision) -> Result<()> {
    let _claim = Claim::take(&args.output)
        .map_err(|e| r1_cli::misuse(format!("{e:#}"), "wait for it, or give another -o"))?;
    if let Some(rounds) = behind(&args.output)? {
        r1_cli::note(&format!("{}: going on after its round {rounds}", args.output.display()));
        go_on(&mut args);
    }
    let scores = round::wants_scores(&args, objective);
    let mut input = args.input.open()?;
    if is_over(&mut input).map_err(|e| args.input.unread(e))? {
        r1_cli::note("the stages before have no round left: nothing to do");
        return Ok(());
    }
    let mut stream = Rounds::new(input);
    let mut trainer: Option<Trainer> = None;
    let mut lag = Lag::default();
    while let Some(mut one) = stream.next_round().map_err(|e| args.input.unread(e))? {
        let mut rows = rows::read_round(&args.input, &mut one, scores)?;
        if !one.is_whole() {
            return Err(broken_off(&args, &rows));
        }
        let mut beginning = Beginning::find(&args, objective, &rows, precision)?;
        lag.begin(&beginning.state, args.round.follow.max_lag);
        let behind = lag.of(&rows).map_err(|e| args.input.blame(e))?;
        reference::score_rows(&args, &mut rows, precision)?;
        let trainer = match &mut trainer {
            Some(trainer) => trainer,
            none => none.insert(beginning.load(&args, precision)?),
        };
        rows.check(&args.input, &trainer.policy.config)?;
        round::run(&args, objective, &rows, trainer, &mut beginning.state, behind)?;
        if rows.samples.is_empty() {
            r1_cli::warn("a round without rows: the stages before left none; the policy stays as it is");
        }
        go_on(&mut args);
    }
    Ok(())
}

/// The next round starts from what is published.
fn go_on(args: &mut Args) {
    if !args.lora.go_on(&args.output) {
        args.policy = args.output.clone();
    }
}

/// The rounds behind a directory that this tool has published; none where there is no such directory.
fn behind(out: &Path) -> Result<Option<u64>> {
    recover(out)?;
    let state = if out.exists() { State::load(out)? } else { None };
    Ok(state.filter(|s| s.tool == "r1-grpo" && s.status == Status::Done).map(|s| s.round.unwrap_or(0)))
}

/// The input ended within a round.
fn broken_off(args: &Args, rows: &Rows) -> anyhow::Error {
    if r1_cli::signals::stop_requested() {
        return r1_cli::stopped();
    }
    let name = args.output.display();
    let stands = match behind(&args.output) {
        Ok(Some(round)) => format!("{name} stands as after round {round}"),
        _ => format!("{name} is not there yet"),
    };
    anyhow!(
        "{}: ends within a round, after {} rows of it, which are not trained on; {stands}: run the same command again",
        args.input.name(),
        rows.samples.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn rows(policies: &[&str]) -> Rows {
        let text: String = policies
            .iter()
            .map(|policy| {
                let rollout = json!({"completion": "x", "prompt_ids": [1], "completion_ids": [2], "logprobs": [-1.0],
                    "policy": policy});
                format!("{}\n", json!({"rollout": rollout, "advantage": 1.0}))
            })
            .chain(["\u{c}\n".to_string()])
            .collect();
        let mut stream = Rounds::new(text.as_bytes());
        let mut round = stream.next_round().unwrap().unwrap();
        rows::read_round(&r1_cli::Input::of("rows.jsonl"), &mut round, false).unwrap()
    }

    #[test]
    fn rows_of_a_policy_that_is_too_old_are_refused() {
        let mut lag = Lag::default();
        let mut state = State::planned("r1-grpo", Map::new(), Map::new());
        for (hash, step) in [("a", 0), ("b", 2), ("c", 4)] {
            state.step = step;
            state.inputs.insert("policy".into(), json!(hash));
            lag.begin(&state, 1);
        }
        assert_eq!(lag.of(&rows(&["c", "c"])).unwrap(), 0);
        assert_eq!(lag.of(&rows(&["c", "b"])).unwrap(), 2);
        let error = lag.of(&rows(&["c", "b", "a"])).unwrap_err().to_string();
        assert!(error.starts_with("3: sampled by a, which is none of the last 2"), "{error}");
        lag.begin(&state, 0);
        let error = lag.of(&rows(&["b"])).unwrap_err().to_string();
        assert!(error.contains("is not the policy that is trained"), "{error}");
        assert_eq!(lag.of(&rows(&[])).unwrap(), 0);
    }
}
