//! From the command line to a run: what it was told, where it begins, what it is fed.

use anyhow::Result;
use r1_model::checkpoint::sha256_of_weights;
use r1_train::checkpoint::{self, Start, State};
use r1_train::examples::Words;
use r1_train::flags::load_config;
use r1_train::supervised::{Defaults, Flags};
use serde_json::{Map, json};
use std::time::Instant;

use crate::Args;
use crate::preferences::{self, Preferences};
use crate::train::Run;

/// The paper's reward models: batches of 256, 6e-6.
const PAPER: Defaults = Defaults { batch_size: 256, lr: 6e-6 };

/// The trainers share their flags; a few are about text, which a reward model does not continue.
fn refuse_what_has_no_use(flags: &Flags) -> Result<()> {
    let given = [
        ("--neftune", flags.neftune.is_some()),
        ("--keep-optimizer", flags.keep_optimizer),
        ("--plan", flags.before.plan),
        ("--selftest", flags.before.selftest),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            Err(r1_cli::misuse(format!("{flag} is of no use to a reward model"), "leave it away"))
        }
        None => Ok(()),
    }
}

/// Runs the tool.
pub fn run(mut args: Args) -> Result<()> {
    let out = &args.output;
    if out.exists() && args.policy.exists() && out.canonicalize()? == args.policy.canonicalize()? {
        let fact = format!("-o {} is the policy that it would start from", out.display());
        return Err(r1_cli::misuse(fact, "give another -o: a run must find its beginning when it goes on"));
    }
    let flags = &mut args.training;
    if flags.epochs.is_none() && flags.max_steps.is_none() {
        flags.epochs = Some(1);
    }
    let flags = &*flags;
    refuse_what_has_no_use(flags)?;
    let precision = flags.compute.begin()?;
    let read = preferences::read(&args.input, args.pointwise)?;

    let micro_tokens = flags.compute.micro_tokens(&load_config(&args.policy)?, precision)?;
    let mut command = flags.command(PAPER, precision, micro_tokens);
    command.insert("template".into(), args.template.as_str().into());
    command.insert("center".into(), args.center.into());
    command.insert("pointwise".into(), args.pointwise.into());
    if let Some(patience) = args.patience {
        command.insert("patience".into(), patience.into());
        // Measurements decide what is kept.
        command.insert("eval-every".into(), json!(flags.eval_every));
    }
    let mut inputs = Map::new();
    let weights = sha256_of_weights(&args.policy)
        .map_err(|e| r1_cli::misuse(format!("{e:#}"), "name a whole policy directory (see r1-init)"))?;
    inputs.insert("policy".into(), weights.into());
    inputs.insert("preferences".into(), read.hash.as_str().into());
    let eval = flags.eval.as_ref().map(r1_cli::Input::of);
    let held_out = eval.as_ref().map(|input| preferences::read(input, args.pointwise)).transpose()?;
    if let (Some(_), Some(held_out)) = (args.patience, &held_out) {
        inputs.insert("held-out".into(), held_out.hash.as_str().into());
    }

    let planned = State::planned("r1-prefer", command, inputs);
    let start = checkpoint::settle(out, &planned)?;
    match &start {
        Start::Finished(_) => {
            r1_cli::note(&format!("{} is finished: nothing to do", out.display()));
            return Ok(());
        }
        Start::Resume(state) => {
            r1_cli::note(&format!("{} goes on after step {}", out.display(), state.step));
        }
        Start::Fresh => {}
    }
    let words = Words::load(&args.policy, &args.template)?;
    let preferences = Preferences::tokenize(&read, &words, &args.input, flags.max_length)?;
    let held_out = match (&held_out, &eval) {
        (Some(read), Some(input)) => Some(Preferences::tokenize(read, &words, input, flags.max_length)?),
        _ => None,
    };
    let pairs = preferences.pairs();
    if args.center > 0.0 && pairs == 0 {
        return Err(r1_cli::misuse("--center has no effect on labels", "leave it away, or give pairs"));
    }
    r1_cli::note(&format!(
        "{pairs} pairs, {} labels, the longest completion with its prompt has {} tokens",
        preferences.rows.len() - pairs,
        preferences.longest()
    ));
    let began = Instant::now();
    let run = Run {
        policy: &args.policy,
        out,
        flags,
        defaults: PAPER,
        center: args.center,
        patience: args.patience,
        precision,
        planned,
        start,
        preferences,
        held_out,
    };
    let outcome = run.train()?;
    let held_out = outcome.held_out.map_or(String::new(), |m| format!("; {}", m.text()));
    r1_cli::note(&format!(
        "{} steps, last loss {:.4}, {:.1} s: {}{held_out}",
        outcome.steps,
        outcome.loss,
        began.elapsed().as_secs_f64(),
        out.display()
    ));
    Ok(())
}
