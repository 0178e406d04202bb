//! `--plan` and `--selftest`: what a round will need, and whether its gradients are right, before it.

use anyhow::{Result, ensure};
use r1_model::Precision;
use r1_train::flags::{load_config, load_policy};
use r1_train::optimizer::AdamW;
use r1_train::update::{Row, Trainer};
use r1_train::{memory, selftest};

use crate::Args;
use crate::loss::options::{Kind, Objective};
use crate::loss::{Sequence, Sums, aggregate, kl};
use crate::rows::{Rows, Sample};
use crate::update::wide;

/// How far a log-probability is moved (nats).
const STEP: f64 = 1e-5;

/// Answers what was asked; nothing is trained or written.
///
/// # Errors
/// Exit 2: the policy cannot be loaded, or does not fit the rows. Exit 1: a slope differs.
pub fn answer(args: &Args, objective: &Objective, rows: &Rows, precision: Precision) -> Result<()> {
    let config = load_config(&args.policy)?;
    rows.check(&args.input, &config)?;
    let moves = |s: &Sample| {
        !(args.round.mask_truncated && s.truncated)
            && (objective.moves(s.advantage) || objective.bonus.is_some())
    };
    let all: Vec<Row> = rows.samples.iter().map(|s| s.row(moves(s))).collect();
    let micro_tokens = args.compute.micro_tokens(&config, precision)?;
    if args.before.plan {
        memory::tell(&config, precision, &all, micro_tokens)?;
    }
    if !args.before.selftest {
        return Ok(());
    }
    let policy = load_policy(&args.policy, Precision::F32)?;
    let optimizer = AdamW::fresh(&policy, args.optimization.hyper());
    let mut trainer = Trainer::new(policy, optimizer, args.optimization.limits(micro_tokens, 0.0))?;
    let (chosen, batch): (Vec<usize>, Vec<Row>) = selftest::chosen(&all).into_iter().unzip();
    let samples: Vec<&Sample> = chosen.iter().map(|&i| &rows.samples[i]).collect();
    let lengths: Vec<usize> = samples.iter().map(|s| s.completion.len()).collect();
    let groups: Vec<usize> = samples.iter().map(|s| s.group).collect();
    let weights = aggregate::weights(objective.aggregate, &lengths, &groups, objective.generation_limit);
    let bonus = match objective.bonus {
        // At its first weight, adaptive or not: there is a derivative to hold against the network's.
        Some(bonus) => bonus.weight(None).max(1e-3) / lengths.iter().sum::<usize>().max(1) as f64,
        None => 0.0,
    };
    let mut losses = Worst::default();
    let findings = selftest::measure(&mut trainer, &batch, &mut |i, scored, d, dentropy| {
        let now = wide(scored.logprobs);
        let own = losses.compare(objective, samples[i], &now, weights[i]);
        d.iter_mut().zip(&own).for_each(|(d, own)| *d = *own as f32);
        dentropy.fill(-bonus as f32);
    })?;
    findings.words().iter().for_each(|line| r1_cli::note(line));
    losses.say();
    findings.settle()?;
    let off = losses.off;
    ensure!(off <= 1e-4, "selftest: the loss's slope differs from its derivative by {off:.1e} of it");
    Ok(())
}

/// The loss's own derivatives against finite differences of its value.
#[derive(Default)]
struct Worst {
    tokens: usize,
    held: usize,
    off: f64,
}

impl Worst {
    /// The derivatives of a row; each token's is measured where the loss does not hold anything of it by definition.
    fn compare(&mut self, objective: &Objective, sample: &Sample, now: &[f64], weight: f64) -> Vec<f64> {
        let (old, reference) = (wide(&sample.sampled), sample.reference.as_deref().map(wide));
        let of = |now: &[f64]| {
            let s = Sequence {
                advantage: sample.advantage,
                logprobs: now,
                old: &old,
                sampled: &old,
                reference: reference.as_deref(),
                kept: None,
                chosen: None,
            };
            let (mut d, mut sums) = (vec![0.0; now.len()], Sums::default());
            objective.row(&s, weight, &mut d, &mut sums);
            (d, sums.loss)
        };
        let own = of(now).0;
        if holds(objective) {
            self.held += now.len();
            return own;
        }
        let scale = own.iter().fold(0.0f64, |most, d| most.max(d.abs()));
        for t in 0..now.len().min(16) {
            let moved = |by: f64| {
                let mut now = now.to_vec();
                now[t] += by;
                of(&now).1
            };
            let measured = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            self.off = self.off.max((measured - own[t]).abs() / scale.max(1e-12));
            self.tokens += 1;
        }
        own
    }

    fn say(&self) {
        if self.held > 0 {
            r1_cli::note(
                "the loss holds a part of itself (stop-gradient): its derivative is not the slope of its value, by definition",
            );
        } else {
            let (tokens, off) = (self.tokens, self.off);
            r1_cli::note(&format!(
                "the loss at {tokens} tokens: derivative and slope {off:.1e} of it apart at most"
            ));
        }
    }
}

/// Whether the derivative is another one than that of the value: something in it is held.
fn holds(objective: &Objective) -> bool {
    matches!(objective.kind, Kind::Cispo | Kind::Vespo | Kind::GspoToken | Kind::Dppo | Kind::DppoKl)
        || objective.kl_beta > 0.0 && matches!(objective.kl_kind, kl::Kind::K1Through | kl::Kind::K3Through)
}
