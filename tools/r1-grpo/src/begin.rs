//! Where a round begins: at the policy, at what a stopped run of the same round left, or nowhere because it is done.
//!
//! Rounds may be written over the policy they start from (`-o POLICY`). Then `train.json` is the memory: the same rows again
//! are recognized by their hash and do nothing, so that a make that was killed can simply be run again. Where an adapter is
//! trained, all of that holds for its directory, and the policy under it is only read.

use anyhow::Result;
use clap::ValueEnum;
use r1_model::Precision;
use r1_model::checkpoint::sha256_of_weights;
use r1_model::directory::recover;
use r1_train::checkpoint::{self, Start, State, Status};
use r1_train::flags::{load_config, load_optimizer, load_policy};
use r1_train::lora;
use r1_train::optimizer::{self, AdamW};
use r1_train::schedule::Shape;
use r1_train::update::Trainer;
use serde_json::{Map, Value, json};

use crate::Args;
use crate::loss::options::Objective;
use crate::reference;
use crate::round::same_place;
use crate::rows::{Rows, Sample, of_other_policies};

/// This tool's name in `train.json`.
const TOOL: &str = "r1-grpo";

/// Every flag that decides the result, settled, for `train.json`.
fn command(
    args: &Args,
    objective: &Objective,
    precision: Precision,
    micro_tokens: usize,
) -> Map<String, Value> {
    let mut command = Map::new();
    let preset = args.preset.and_then(|p| p.to_possible_value()).map(|p| p.get_name().to_string());
    let round = &args.round;
    for (name, value) in [
        ("preset", json!(preset)),
        ("old", json!(round.old)),
        ("mask-truncated", json!(round.mask_truncated)),
        ("batch-size", json!(round.batch_size)),
        ("batches", json!(round.batches)),
        ("epochs", json!(round.epochs)),
        ("lr", json!(round.lr)),
        ("warmup", json!(round.warmup)),
        ("router-bias-rate", json!(round.router_bias_rate)),
        ("schedule", json!((round.schedule != Shape::Constant).then_some(round.schedule))),
        ("total-updates", json!(round.total_updates)),
        ("min-lr-ratio", json!(round.total_updates.map(|_| round.min_lr_ratio))),
        ("reference-every", json!(round.reference_every)),
        ("reference-mix", json!(round.reference_mix)),
        ("seed", json!(args.seed.seed)),
    ] {
        if !value.is_null() {
            command.insert(name.into(), value);
        }
    }
    objective.record(&mut command);
    args.optimization.record(&mut command);
    args.compute.record(precision, micro_tokens, &mut command);
    command
}

/// The round as planned, and where it starts.
pub struct Beginning {
    /// the state before the round, or on the way
    pub state: State,
    start: Start,
    /// the adapter that is trained, where it is not the policy itself
    plan: Option<lora::Plan>,
}

impl Beginning {
    /// Whether there is nothing left to do.
    pub fn is_finished(&self) -> bool {
        matches!(self.start, Start::Finished(_))
    }

    /// Finds out where the round begins. One of a stream of rounds is new, even where its rows are those of the round before: such
    /// are drawn from a policy that has learned nothing, and whoever follows it waits for the next.
    ///
    /// # Errors
    /// Exit 2: the output holds something else; the message says what differs.
    pub fn find(args: &Args, objective: &Objective, rows: &Rows, precision: Precision) -> Result<Beginning> {
        let follows = args.round.follow.follow;
        recover(&args.output)?;
        let plan = args.lora.settle(&args.policy, &args.output, args.seed.seed)?;
        let micro_tokens = args.compute.micro_tokens(&load_config(&args.policy)?, precision)?;
        let command = command(args, objective, precision, micro_tokens);
        let mut planned = State::planned(TOOL, command, Map::new());
        if let Some(plan) = &plan {
            plan.record(&mut planned.command);
            if args.round.reference_every.is_some() {
                let fact = "--reference-every renews a whole policy, and an adapter is trained";
                return Err(r1_cli::misuse(
                    fact,
                    "leave it out: the reference is then the same in every round",
                ));
            }
        }
        planned.inputs.insert("rows".into(), rows.hash.as_str().into());
        let trained = lora::trained(&args.policy, plan.as_ref());
        let in_place = trained.map_or(Ok(false), |dir| same_place(dir, &args.output))?;
        let before = trained.map_or(Ok(None), State::load)?.filter(|s| s.tool == TOOL);
        let whole = |e: anyhow::Error| {
            r1_cli::misuse(format!("{e:#}"), "name a whole policy directory (see r1-init)")
        };
        if let Some(reference) = reference::directory(args) {
            planned.inputs.insert("reference".into(), sha256_of_weights(&reference).map_err(whole)?.into());
        }
        if in_place {
            checkpoint::check_replaceable(&args.output)?;
            let start = in_place_start(args, before.as_ref(), &planned)?;
            if let Some(start) = start.filter(|(_, start)| !(follows && matches!(start, Start::Finished(_))))
            {
                return Ok(Beginning { state: start.0, start: start.1, plan });
            }
        }
        lora::inputs(&args.policy, plan.as_ref(), &mut planned.inputs)?;
        if let Some(before) = &before {
            planned.step = before.step;
            planned.tokens = before.tokens;
            planned.memory = before.memory.clone();
        }
        planned.round = Some(before.as_ref().and_then(|s| s.round).unwrap_or(0) + 1);
        let start = if in_place { Start::Fresh } else { checkpoint::settle(&args.output, &planned)? };
        let state = match &start {
            Start::Fresh => planned,
            Start::Resume(state) | Start::Finished(state) => state.clone(),
        };
        Ok(Beginning { state, start, plan })
    }

    /// Loads policy and optimizer. Moments go on from round to round; those of another tool's run do not.
    ///
    /// # Errors
    /// A checkpoint that cannot be read, named with file and tensor.
    pub fn load(&self, args: &Args, precision: Precision) -> Result<Trainer> {
        let resumed = matches!(self.start, Start::Resume(_)).then_some(args.output.as_path());
        let from = resumed.or(lora::trained(&args.policy, self.plan.as_ref()));
        let policy = match &self.plan {
            Some(plan) => plan.load(&args.policy, resumed, precision)?,
            None => load_policy(resumed.unwrap_or(&args.policy), precision)?,
        };
        let hyper = args.optimization.hyper();
        let optimizer = match from.filter(|dir| self.state.step > 0 && dir.join(optimizer::FILE).exists()) {
            Some(dir) => load_optimizer(&policy, dir, hyper)?,
            None => AdamW::fresh(&policy, hyper),
        };
        let micro_tokens = args.compute.micro_tokens(&policy.config, precision)?;
        let limits = args.optimization.limits(micro_tokens, args.round.router_bias_rate);
        Trainer::new(policy, optimizer, limits)
    }
}

/// In place: what the state of what is trained says about these rows. `None` for a round that is new.
fn in_place_start(args: &Args, before: Option<&State>, planned: &State) -> Result<Option<(State, Start)>> {
    let Some(before) = before else { return Ok(None) };
    let name = args.output.display();
    let same_rows = before.inputs.get("rows") == planned.inputs.get("rows");
    // A round that renewed its reference has another one lying there when it is asked for again.
    let differences = before.differences(planned, &["policy", "base", "rows", "reference"]);
    match (same_rows, before.status) {
        (true, _) if !differences.is_empty() => Err(r1_cli::bad_input(
            name,
            format!("has taken these rows already, by another command: {}", differences.join(", ")),
            "sample new rows, or give the earlier policy and another -o",
        )),
        (true, Status::Done) => Ok(Some((before.clone(), Start::Finished(before.clone())))),
        (true, Status::Running) => Ok(Some((before.clone(), Start::Resume(before.clone())))),
        (false, Status::Running) => Err(r1_cli::bad_input(
            name,
            "stopped in the middle of a round over other rows",
            "run that round's command again first",
        )),
        (false, Status::Done) => Ok(None),
    }
}

/// Says so when rows name another policy than the one that is trained: their ratios are then not 1.
pub fn warn_of_other_policies(rows: &Rows, state: &State) {
    let samples: Vec<&Sample> = rows.samples.iter().collect();
    let other = of_other_policies(&samples, state);
    if other > 0 {
        let all = rows.samples.len();
        r1_cli::warn(&format!(
            "{other} of {all} rows were sampled by another policy than the one that is trained"
        ));
    }
}
