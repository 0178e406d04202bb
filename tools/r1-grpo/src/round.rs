//! One round: the rows of one rollout, cut into optimizer batches, shown once or several times, one update a batch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use r1_model::Precision;
use r1_model::device;
use r1_train::checkpoint::{self, State, Status};
use r1_train::corpus::order;
use r1_train::flags::{not_negative, positive, share};
use r1_train::refusal;
use r1_train::schedule::{Schedule, Shape};
use r1_train::update::{Row, Trainer};

use crate::Args;
use crate::agreement::Agreement;
use crate::before;
use crate::begin::{self, Beginning};
use crate::follow;
use crate::loss::options::Objective;
use crate::reference;
use crate::rows::{self, Rows};
use crate::update::Update;

/// Where the old policy's log-probabilities come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Old {
    /// the rows: what the sampler recorded
    Recorded,
    /// this engine, from the policy as it was before the round
    Recompute,
}

/// How the rows of a round are used.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Round")]
pub struct Flags {
    /// Where the old policy's log-probabilities come from
    #[arg(long, value_enum, default_value_t = Old::Recorded)]
    pub old: Old,
    /// Truncated completions (finish_reason length) are given no loss and do not count as tokens
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub mask_truncated: bool,
    /// Rows of one update [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,
    /// Updates of one inner epoch, of equal size up to one row
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "batch_size")]
    pub batches: Option<usize>,
    /// How often the rows are shown (inner epochs)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    /// Learning rate (the paper: 3e-6, for a policy of 671 billion parameters)
    #[arg(long, value_name = "X", default_value_t = 1e-6, value_parser = not_negative)]
    pub lr: f64,
    /// Updates, over all rounds, in which the learning rate rises from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub warmup: u64,
    /// How the learning rate falls after the warm-up; linear and cosine need --total-updates
    #[arg(long, value_enum, default_value_t = Shape::Constant)]
    pub schedule: Shape,
    /// Updates of all rounds together, at whose end the learning rate has fallen
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub total_updates: Option<u64>,
    /// Where the learning rate ends, as a share of the highest
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = share, requires = "total_updates")]
    pub min_lr_ratio: f64,
    /// γ of the router's bias update after every update; 0 freezes it
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = not_negative)]
    pub router_bias_rate: f64,
    /// Policy that the divergence is from, for rows without `reference`; scored here before the round
    #[arg(long, value_name = "DIR")]
    pub reference: Option<PathBuf>,
    /// Renew the reference at the end of a round in which the updates of all rounds passed a multiple of N (the paper: 400); it is kept
    /// in OUTPUT/reference, which goes before --reference from then on
    #[arg(long, value_name = "N", requires = "reference", value_parser = clap::value_parser!(u64).range(1..))]
    pub reference_every: Option<u64>,
    /// The renewed reference is SHARE of the policy and the rest of itself, a moving average (TRL: 0.6) [default: 1]
    #[arg(long, value_name = "SHARE", requires = "reference_every", value_parser = portion)]
    pub reference_mix: Option<f64>,
    /// Save every N updates of a long round, too; 0 saves at its end and on SIGINT or SIGTERM
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "follow")]
    pub checkpoint_every: u64,
    /// Fail, before anything is trained, when a recorded log-probability differs from the recomputed one by more than X
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub check_logprobs: Option<f64>,
    /// Say after each update what its numbers mean
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub follow: follow::Flags,
}

/// A share: above 0, at most 1.
fn portion(text: &str) -> Result<f64, String> {
    let outside = || "must be above 0 and at most 1".to_string();
    not_negative(text).and_then(|x| if x > 0.0 && x <= 1.0 { Ok(x) } else { Err(outside()) })
}

impl Flags {
    /// Refuses flags that nothing would look at.
    ///
    /// # Errors
    /// Exit 2.
    pub fn check(&self, objective: &Objective) -> Result<()> {
        if self.reference.is_some() && objective.kl_beta == 0.0 {
            let fact = "--reference has no effect without --kl-beta";
            return Err(r1_cli::misuse(fact, "give both, or neither"));
        }
        self.rate().map(|_| ())
    }

    /// The learning rate of every update, over all rounds.
    ///
    /// # Errors
    /// Exit 2: a rate that falls without an end, or an end without a rate that falls.
    pub fn rate(&self) -> Result<Schedule> {
        if (self.schedule == Shape::Constant) != self.total_updates.is_none() {
            let fact = "--schedule linear or cosine and --total-updates need each other";
            return Err(r1_cli::misuse(fact, "give both, or neither"));
        }
        Ok(Schedule {
            shape: self.schedule,
            peak: self.lr,
            warmup: self.warmup,
            total: self.total_updates.unwrap_or(u64::MAX),
            min_ratio: self.min_lr_ratio,
        })
    }

    /// Rows of one update, of `rows` in all.
    fn size(&self, rows: usize) -> Option<usize> {
        self.batches.map(|n| rows.div_ceil(n).max(1)).or(self.batch_size)
    }
}

/// Which rows each optimizer batch of one inner epoch has: `size` rows each, groups shuffled (a permutation of this epoch's own)
/// but kept in one piece where the cut allows it; all rows in the order of the input where one batch holds them all.
pub fn batches(rows: &Rows, size: Option<usize>, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let n = rows.samples.len();
    let size = size.unwrap_or(n).min(n).max(1);
    if size >= n {
        return vec![(0..n).collect()];
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, sample) in rows.samples.iter().enumerate() {
        members.entry(sample.group).or_default().push(i);
    }
    let shuffled: Vec<usize> =
        order(seed, epoch, rows.groups).into_iter().flat_map(|g| members[&(g as usize)].clone()).collect();
    shuffled.chunks(size).map(<[usize]>::to_vec).collect()
}

/// Takes rounds as they come, where asked to. Else reads the rows, and answers what was asked before the round, or finds out where
/// it begins, and runs it.
///
/// # Errors
/// Those of [`run`], and exit 2 for a policy, reference or output that cannot be used.
pub fn begin(args: Args, objective: &Objective, precision: Precision) -> Result<()> {
    if args.round.follow.follow {
        return follow::run(args, objective, precision);
    }
    let args = &args;
    let mut rows = rows::read(&args.input, wants_scores(args, objective))?;
    if args.before.asks() {
        reference::score_rows(args, &mut rows, precision)?;
        return before::answer(args, objective, &rows, precision);
    }
    let mut beginning = Beginning::find(args, objective, &rows, precision)?;
    if beginning.is_finished() {
        r1_cli::note(&format!("{} has taken these rows already: nothing to do", args.output.display()));
        return Ok(());
    }
    // Before the trained policy is loaded: the two need not be in memory at once.
    reference::score_rows(args, &mut rows, precision)?;
    let mut trainer = beginning.load(args, precision)?;
    rows.check(&args.input, &trainer.policy.config)?;
    begin::warn_of_other_policies(&rows, &beginning.state);
    run(args, objective, &rows, &mut trainer, &mut beginning.state, 0)
}

/// Whether the rows must bring the reference's log-probabilities.
pub fn wants_scores(args: &Args, objective: &Objective) -> bool {
    objective.kl_beta > 0.0 && args.round.reference.is_none()
}

/// Takes the trainer through what is left of the round (`state.cursor` updates are done) and publishes the policy. The rows were
/// sampled `behind` updates before the round.
///
/// # Errors
/// Exit 1: an update was refused, or recorded log-probabilities are not this policy's. Exit 130 or 143 after a signal, with what
/// was done saved; in a stream of rounds with the round before saved, whose rows can be drawn again from it.
pub fn run(
    args: &Args,
    objective: &Objective,
    rows: &Rows,
    trainer: &mut Trainer,
    state: &mut State,
    behind: u64,
) -> Result<()> {
    r1_cli::signals::watch();
    let epochs = u64::from(args.round.epochs);
    let seed = args.seed.seed;
    let size = args.round.size(rows.samples.len());
    let mut current = batches(rows, size, seed, 0);
    let per_epoch = current.len() as u64;
    let total = if rows.samples.is_empty() { 0 } else { epochs * per_epoch };
    let schedule = args.round.rate()?;
    let events = args.tensorboard.resume(&state.tool, state.step)?;
    let mut metrics = args.metrics.resume(&state.tool, state.step)?.and(events);
    let old = before_the_round(args, rows, trainer, state, per_epoch > 1)?;
    let mut epoch = 0;
    while state.cursor < total {
        let began = Instant::now();
        if state.cursor / per_epoch != epoch {
            epoch = state.cursor / per_epoch;
            current = batches(rows, size, seed, epoch);
        }
        let chosen = &current[(state.cursor % per_epoch) as usize];
        let lr = schedule.rate(state.step);
        let update = Update { args, objective, rows, old: old.as_deref(), chosen };
        let mut report = update.take(trainer, state, lr)?;
        state.step += 1;
        state.cursor += 1;
        state.tokens += report.tokens;
        report.lag += behind;
        report.seconds = began.elapsed().as_secs_f64();
        metrics.write(&report.line(state, lr))?;
        r1_cli::note(&report.words(state, lr));
        if args.round.explain {
            report.explain(lr).iter().for_each(|line| r1_cli::note(&format!("  {line}")));
        }
        let stop = r1_cli::signals::stop_requested();
        if stop && state.cursor < total && args.round.follow.follow {
            return Err(r1_cli::stopped());
        }
        let every = args.round.checkpoint_every;
        if state.cursor < total && (stop || (every > 0 && state.cursor.is_multiple_of(every))) {
            publish(args, trainer, state, old.as_deref())?;
            if stop {
                return Err(r1_cli::stopped());
            }
        }
    }
    state.status = Status::Done;
    // Whoever samples next, on the same GPU perhaps, begins when this is published.
    device::release()?;
    publish(args, trainer, state, None)
}

/// Saves the state; `old` where the round goes on and has log-probabilities that only the policy of its beginning could give again.
fn publish(args: &Args, trainer: &Trainer, state: &State, old: Option<&[Vec<f32>]>) -> Result<()> {
    let beside: Vec<(&str, serde_json::Value)> =
        old.iter().map(|old| (checkpoint::OLD, serde_json::json!(old))).collect();
    let reference = reference::at_the_end(args, state);
    let reference = reference.as_ref().map(reference::Fate::borrow);
    checkpoint::publish_with(&args.output, &args.policy, trainer, state, true, &beside, reference.as_ref())
}

/// What must be known of all rows before the first update changes the policy: whether the recorded log-probabilities are this
/// policy's (where asked for, and where the first update does not see all rows itself), and with `--old recompute` the old
/// policy's own, which are given back.
fn before_the_round(
    args: &Args,
    rows: &Rows,
    trainer: &Trainer,
    state: &State,
    several: bool,
) -> Result<Option<Vec<Vec<f32>>>> {
    let recompute = args.round.old == Old::Recompute;
    if state.cursor > 0 {
        return if recompute { saved(&args.output, rows).map(Some) } else { Ok(None) };
    }
    let compares = args.round.check_logprobs.is_some() && several;
    if !recompute && !compares {
        return Ok(None);
    }
    let all: Vec<Row> = rows.samples.iter().map(|s| s.row(false)).collect();
    let mut agreement = Agreement::default();
    let mut old: Vec<Vec<f32>> = vec![Vec::new(); rows.samples.len()];
    let scored = trainer.score(&all, false, &mut |i, scored| {
        agreement.add(&rows.samples[i], scored.logprobs);
        old[i] = scored.logprobs.to_vec();
    });
    scored.map_err(|r| refusal::report(&args.output, state.step + 1, &all, |i| rows.samples[i].line, &r))?;
    if let Some(limit) = args.round.check_logprobs {
        agreement.check(limit)?;
    }
    Ok(recompute.then_some(old))
}

/// The old policy's log-probabilities as a stopped run of this round left them.
fn saved(out: &Path, rows: &Rows) -> Result<Vec<Vec<f32>>> {
    let file = out.join(checkpoint::OLD);
    let place = || format!("{}", file.display());
    let old: Vec<Vec<f32>> =
        serde_json::from_slice(&std::fs::read(&file).with_context(place)?).with_context(place)?;
    let fits = old.len() == rows.samples.len()
        && old.iter().zip(&rows.samples).all(|(own, sample)| own.len() == sample.completion.len());
    if !fits {
        let fact = "its lists do not have the lengths of the rows";
        return Err(r1_cli::bad_input(file.display(), fact, "remove the output directory to start over"));
    }
    Ok(old)
}

/// The settled place of a directory, to tell whether two names are one.
pub fn same_place(a: &Path, b: &Path) -> Result<bool> {
    if !a.exists() || !b.exists() {
        return Ok(a == b);
    }
    let settle = |p: &Path| p.canonicalize().map_err(|e| anyhow!("{}: {e}", p.display()));
    Ok(settle(a)? == settle(b)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Sample;

    fn rows(groups: &[usize]) -> Rows {
        let mut samples = Vec::new();
        for (group, n) in groups.iter().enumerate() {
            for _ in 0..*n {
                samples.push(Sample {
                    line: samples.len() + 1,
                    group,
                    prompt: vec![group as u32],
                    completion: vec![1],
                    sampled: vec![-1.0],
                    reference: None,
                    advantage: 1.0,
                    reward: None,
                    parts: Vec::new(),
                    inv_temperature: 1.0,
                    truncated: false,
                    policy: None,
                });
            }
        }
        Rows { samples, hash: String::new(), groups: groups.len() }
    }

    #[test]
    fn batches_hold_every_row_once_and_groups_in_one_piece() {
        let rows = rows(&[4, 4, 4, 4, 4, 4]);
        for epoch in 0..3 {
            let cut = batches(&rows, Some(8), 7, epoch);
            assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 8]);
            let mut all = cut.concat();
            for part in cut {
                let groups: Vec<usize> = part.iter().map(|&i| rows.samples[i].group).collect();
                assert!(groups.chunks(4).all(|g| g.iter().all(|x| *x == g[0])), "{groups:?}");
            }
            all.sort_unstable();
            assert_eq!(all, (0..24).collect::<Vec<_>>());
        }
        assert_ne!(batches(&rows, Some(8), 7, 0), batches(&rows, Some(8), 7, 1));
        assert_eq!(batches(&rows, None, 7, 3), vec![(0..24).collect::<Vec<_>>()]);
        assert_eq!(batches(&rows, Some(100), 7, 3).len(), 1);
        assert_eq!(batches(&rows, Some(5), 7, 0).iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 5, 5, 4]);
    }
}
