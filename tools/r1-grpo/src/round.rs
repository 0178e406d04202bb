//! One round: the rows of one rollout, cut into optimizer batches, shown once or several times, one update a batch.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, anyhow};
use r1_train::checkpoint::{self, State, Status};
use r1_train::corpus::order;
use r1_train::flags::{not_negative, positive};
use r1_train::refusal;
use r1_train::schedule::{Schedule, Shape};
use r1_train::update::{Row, Trainer};

use crate::Args;
use crate::agreement::Agreement;
use crate::loss::{Sums, Totals};
use crate::report::Report;
use crate::rows::{Rows, Sample};

/// How the rows of a round are used.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Truncated completions (finish_reason length) are given no loss and do not count as tokens
    #[arg(long)]
    pub mask_truncated: bool,
    /// Rows of one update [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,
    /// How often the rows are shown (inner epochs)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: u32,
    /// Learning rate (the paper: 3e-6, for a policy of 671 billion parameters)
    #[arg(long, value_name = "X", default_value_t = 1e-6, value_parser = not_negative)]
    pub lr: f64,
    /// Updates, over all rounds, in which the learning rate rises from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub warmup: u64,
    /// γ of the router's bias update after every update; 0 freezes it
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = not_negative)]
    pub router_bias_rate: f64,
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

/// Takes the trainer through what is left of the round (`state.cursor` updates are done) and publishes the policy.
///
/// # Errors
/// Exit 1: an update was refused, or recorded log-probabilities are not this policy's. Exit 130 or 143 after a signal, with what
/// was done saved.
pub fn run(args: &Args, rows: &Rows, trainer: &mut Trainer, state: &mut State) -> Result<()> {
    r1_cli::signals::watch();
    let epochs = u64::from(args.round.epochs);
    let seed = args.seed.seed;
    let mut current = batches(rows, args.round.batch_size, seed, 0);
    let per_epoch = current.len() as u64;
    let total = epochs * per_epoch;
    let schedule = Schedule {
        shape: Shape::Constant,
        peak: args.round.lr,
        warmup: args.round.warmup,
        total: u64::MAX,
        min_ratio: 1.0,
    };
    let mut metrics = args.metrics.resume(state.step)?;
    if let (Some(limit), 0, true) = (args.check_logprobs, state.cursor, per_epoch > 1) {
        // The first update changes the policy, so all rows are compared before it.
        let all: Vec<Row> = rows.samples.iter().map(|s| s.row(false)).collect();
        let mut agreement = Agreement::default();
        let scored =
            trainer.score(&all, false, &mut |i, scored| agreement.add(&rows.samples[i], scored.logprobs));
        scored
            .map_err(|r| refusal::report(&args.output, state.step + 1, &all, |i| rows.samples[i].line, &r))?;
        agreement.check(limit)?;
    }
    let mut epoch = 0;
    while state.cursor < total {
        let began = Instant::now();
        if state.cursor / per_epoch != epoch {
            epoch = state.cursor / per_epoch;
            current = batches(rows, args.round.batch_size, seed, epoch);
        }
        let chosen = &current[(state.cursor % per_epoch) as usize];
        let lr = schedule.rate(state.step);
        let mut report = update(args, rows, trainer, chosen, state, lr)?;
        state.step += 1;
        state.cursor += 1;
        state.tokens += report.tokens;
        report.seconds = began.elapsed().as_secs_f64();
        metrics.write(&report.line(state, lr))?;
        r1_cli::note(&report.words(state, lr));
        if state.cursor < total && r1_cli::signals::stop_requested() {
            publish(args, trainer, state)?;
            return Err(r1_cli::stopped());
        }
    }
    state.status = Status::Done;
    publish(args, trainer, state)
}

fn publish(args: &Args, trainer: &Trainer, state: &State) -> Result<()> {
    checkpoint::publish(&args.output, &args.policy, trainer, state, true)
}

/// One update on the chosen rows.
fn update(
    args: &Args,
    rows: &Rows,
    trainer: &mut Trainer,
    chosen: &[usize],
    state: &State,
    lr: f64,
) -> Result<Report> {
    let samples: Vec<&Sample> = chosen.iter().map(|&i| &rows.samples[i]).collect();
    let masked = |s: &Sample| args.round.mask_truncated && s.truncated;
    let kl = args.loss.kl_beta > 0.0;
    let batch: Vec<Row> = samples.iter().map(|s| s.row(!masked(s) && (s.advantage != 0.0 || kl))).collect();
    let tokens = samples.iter().filter(|s| !masked(s)).map(|s| s.completion.len()).sum();
    let totals = Totals { rows: samples.len(), tokens };
    let mut sums = Sums::default();
    let mut agreement = Agreement::default();
    let mut entropy = 0.0;
    let accumulated = trainer.accumulate(&batch, true, &mut |i, scored, d| {
        let s = samples[i];
        if state.cursor == 0 {
            agreement.add(s, scored.logprobs);
        }
        entropy += scored.entropy.iter().map(|&h| f64::from(h)).sum::<f64>();
        if !masked(s) {
            let both = [scored.logprobs, &s.old[..]];
            args.loss.row(s.advantage, both, s.reference.as_deref(), totals, d, &mut sums);
        }
    });
    let refuse = |r| refusal::report(&args.output, state.step + 1, &batch, |i| samples[i].line, &r);
    accumulated.map_err(refuse)?;
    if let (Some(limit), 0) = (args.check_logprobs, state.cursor) {
        agreement.check(limit)?;
    }
    let applied = trainer.apply(&batch, lr).map_err(refuse)?;
    Ok(Report::of(&samples, &sums, agreement, entropy, kl, applied))
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

    fn rows(groups: &[usize]) -> Rows {
        let mut samples = Vec::new();
        for (group, n) in groups.iter().enumerate() {
            for _ in 0..*n {
                samples.push(Sample {
                    line: samples.len() + 1,
                    group,
                    prompt: vec![group as u32],
                    completion: vec![1],
                    old: vec![-1.0],
                    reference: None,
                    advantage: 1.0,
                    reward: None,
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
