//! The reference: the policy that the divergence is measured from. Its log-probabilities come with the rows, or from a directory here.
//!
//! A reference that is renewed lives inside the policy directory, so that policy, optimizer and reference are published in one
//! step: a run that was killed and begins its round again begins it with the same reference.

use std::path::PathBuf;

use anyhow::Result;
use r1_model::{LoadOptions, Policy, Precision};
use r1_train::checkpoint::{REFERENCE, Reference, State, Status};
use r1_train::refusal;
use r1_train::update::{Row, score};

use crate::Args;
use crate::rows::Rows;

/// What becomes of the reference when the policy is published.
pub enum Fate {
    /// it goes along
    Kept(PathBuf),
    /// it moves towards the policy by this share
    Moved(PathBuf, f64),
}

impl Fate {
    /// As the checkpoint takes it.
    pub fn borrow(&self) -> Reference<'_> {
        match self {
            Fate::Kept(dir) => Reference::Kept(dir),
            Fate::Moved(dir, share) => Reference::Moved(dir, *share),
        }
    }
}

/// The directory of the reference of this round: the one that an earlier round renewed, else the one that was named.
pub fn directory(args: &Args) -> Option<PathBuf> {
    let named = args.round.reference.as_ref()?;
    let renewed = args.policy.join(REFERENCE);
    let goes_on = args.round.reference_every.is_some() && renewed.join("model.safetensors").exists();
    Some(if goes_on { renewed } else { named.clone() })
}

/// What the state that is about to be published has for a reference; `None` where it keeps none.
pub fn at_the_end(args: &Args, state: &State) -> Option<Fate> {
    let every = args.round.reference_every?;
    let dir = directory(args)?;
    let begun_at = state.step - state.cursor;
    if state.status == Status::Done && state.step / every > begun_at / every {
        return Some(Fate::Moved(dir, args.round.reference_mix.unwrap_or(1.0)));
    }
    (dir == args.policy.join(REFERENCE)).then_some(Fate::Kept(dir))
}

/// Gives every row the reference's log-probabilities.
///
/// # Errors
/// Exit 2: the directory holds no policy, or one of another vocabulary. Exit 1: a log-probability is not finite.
pub fn score_rows(args: &Args, rows: &mut Rows, precision: Precision) -> Result<()> {
    let Some(dir) = directory(args) else { return Ok(()) };
    let policy = Policy::load(&dir, LoadOptions::frozen(Some(precision)))
        .map_err(|e| r1_cli::misuse(format!("{e:#}"), "name a whole policy directory with --reference"))?;
    rows.check(&args.input, &policy.config)?;
    let mut found: Vec<Vec<f32>> = vec![Vec::new(); rows.samples.len()];
    let all: Vec<Row> = rows.samples.iter().map(|s| s.row(false)).collect();
    let micro_tokens = args.compute.micro_tokens(&policy.config, precision)?;
    score(&policy, &all, micro_tokens, false, &mut |i, scored| found[i] = scored.logprobs.to_vec())
        .map_err(|r| refusal::report(&args.output, 0, &all, |i| rows.samples[i].line, &r))?;
    for (sample, logprobs) in rows.samples.iter_mut().zip(found) {
        sample.reference = Some(logprobs);
    }
    Ok(())
}
