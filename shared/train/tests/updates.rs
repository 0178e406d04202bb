//! Updates of tiny random policies: what may change their bits and what may not, and what is refused.

mod groups;
mod policies;

use std::sync::Mutex;

use groups::{rows, sequences};
use policies::{configs, policy};
use r1_kernels::threads;
use r1_model::Policy;
use r1_model::parameters::Kind;
use r1_train::optimizer::{AdamW, Hyper};
use r1_train::update::{Limits, Row, Scored, Trainer};

/// The thread count belongs to the whole process: tests that set it take turns.
static THREADS: Mutex<()> = Mutex::new(());

const HYPER: Hyper = Hyper { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.01, freeze_router: false };

fn trainer(policy: Policy, micro_tokens: usize) -> Trainer {
    let optimizer = AdamW::fresh(&policy, HYPER);
    Trainer::new(policy, optimizer, Limits { micro_tokens, clip_norm: 1.0, router_bias_rate: 0.001 }).unwrap()
}

/// One supervised update; the batch's mean loss.
fn imitate(trainer: &mut Trainer, rows: &[Row], lr: f64) -> f64 {
    let tokens: usize = rows.iter().map(|r| r.completion.len()).sum();
    let mut loss = 0.0;
    let mut of = |_: usize, scored: Scored, d: &mut [f32]| {
        loss -= scored.logprobs.iter().map(|&x| f64::from(x)).sum::<f64>() / tokens as f64;
        d.fill(-1.0 / tokens as f32);
    };
    trainer.accumulate(rows, false, &mut of).unwrap();
    trainer.apply(rows, lr).unwrap();
    loss
}

fn weights(trainer: &Trainer) -> Vec<u32> {
    trainer.policy.parameters().iter().flat_map(|p| p.value.iter().map(|x| x.to_bits())).collect()
}

#[test]
fn the_thread_count_changes_no_bit() {
    let _turn = THREADS.lock().unwrap_or_else(|e| e.into_inner());
    let sequences = sequences();
    for (name, config) in configs() {
        let mut results = Vec::new();
        for count in [1, 2, 5] {
            threads::set(count);
            let mut trainer = trainer(policy(&config, 3), 64);
            let losses: Vec<u64> =
                (0..4).map(|_| imitate(&mut trainer, &rows(&sequences), 0.01).to_bits()).collect();
            results.push((losses, weights(&trainer)));
        }
        assert!(results[0] == results[1] && results[0] == results[2], "{name}");
    }
}

#[test]
fn the_token_budget_changes_gradients_by_rounding_only() {
    let sequences = sequences();
    for (name, config) in configs() {
        let gradients = |micro_tokens: usize| {
            let mut trainer = trainer(policy(&config, 3), micro_tokens);
            let mut of = |_: usize, _: Scored, d: &mut [f32]| d.fill(-0.02);
            trainer.accumulate(&rows(&sequences), false, &mut of).unwrap();
            trainer.gradients().values.concat()
        };
        let whole = gradients(100_000);
        let largest = whole.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for budget in [1, 17, 40] {
            let cut = gradients(budget);
            let off = whole.iter().zip(&cut).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(off <= 1e-5 * largest, "{name}, budget {budget}: {off} of {largest}");
        }
        assert_eq!(gradients(17), gradients(17));
    }
}

#[test]
fn the_loss_falls_and_log_probabilities_do_not_depend_on_the_cut() {
    let sequences = sequences();
    for (name, config) in configs() {
        let mut trainer = trainer(policy(&config, 3), 50);
        let rows = rows(&sequences);
        let first = imitate(&mut trainer, &rows, 0.02);
        let last = (0..30).map(|_| imitate(&mut trainer, &rows, 0.02)).last().unwrap();
        assert!(last < 0.5 * first, "{name}: {first} to {last}");
        // Scoring alone, in another cut, gives the very bits that a pass with gradient saw.
        let mut scored = vec![Vec::new(); rows.len()];
        trainer.score(&rows, false, &mut |i, s| scored[i] = s.logprobs.to_vec()).unwrap();
        let mut alone = trainer_like(&trainer);
        let mut same = true;
        alone
            .accumulate(&rows, true, &mut |i, s, _| {
                same &= s.logprobs == scored[i] && s.entropy.len() == s.logprobs.len();
            })
            .unwrap();
        assert!(same, "{name}");
    }
}

/// The same policy with a budget of one row at a time.
fn trainer_like(other: &Trainer) -> Trainer {
    let mut copy = policy(&other.policy.config.raw, 3);
    for (to, from) in copy.parameters_mut().iter_mut().zip(other.policy.parameters()) {
        to.value.copy_from_slice(&from.value);
    }
    copy.repack();
    trainer(copy, 1)
}

#[test]
fn rows_without_gradient_change_nothing_but_are_seen() {
    let sequences = sequences();
    let (_, config) = &configs()[0];
    let all = rows(&sequences);
    let half: Vec<Row> = all.iter().enumerate().map(|(i, r)| Row { gradient: i < 6, ..*r }).collect();
    let run = |rows: &[Row]| {
        let mut trainer = trainer(policy(config, 3), 1000);
        let mut seen = 0;
        let mut of = |i: usize, _: Scored, d: &mut [f32]| {
            seen += 1;
            if i < 6 {
                d.fill(-0.1);
            }
        };
        trainer.accumulate(rows, false, &mut of).unwrap();
        (seen, trainer.gradients().values.clone())
    };
    let (seen, skipped) = run(&half);
    let (all_seen, computed) = run(&all);
    assert_eq!((seen, all_seen), (12, 12));
    let largest = computed.concat().iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let off = skipped.concat().iter().zip(computed.concat()).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(off <= 1e-5 * largest, "{off} of {largest}");
}

#[test]
fn a_correction_bias_moves_towards_balance() {
    let (_, config) = &configs()[3];
    let sequences = sequences();
    let mut trainer = trainer(policy(config, 3), 1000);
    imitate(&mut trainer, &rows(&sequences), 0.0);
    let biases: Vec<&[f32]> = trainer
        .policy
        .parameters()
        .iter()
        .filter(|p| p.kind == Kind::CorrectionBias)
        .map(|p| &p.value[..])
        .collect();
    assert!(!biases.is_empty());
    for bias in biases {
        assert!(bias.iter().all(|b| b.abs() == 0.001 || *b == 0.0));
        assert!(bias.iter().any(|b| *b > 0.0) && bias.iter().any(|b| *b < 0.0), "{bias:?}");
    }
}

#[test]
fn what_is_not_finite_is_refused_with_row_and_token() {
    let sequences = sequences();
    let (_, config) = &configs()[0];
    let all = rows(&sequences);
    // The loss itself.
    let mut trainer_ = trainer(policy(config, 3), 40);
    let mut of = |i: usize, _: Scored, d: &mut [f32]| {
        if i == 4 {
            d[2] = f32::NAN;
        }
    };
    let refused = trainer_.accumulate(&all, false, &mut of).unwrap_err();
    assert_eq!((refused.row, refused.token), (Some(4), Some(2)), "{refused}");
    // A gradient that overflows on the way back: every log-probability is finite, one row weighs too much.
    let mut trainer_ = trainer(policy(config, 3), 40);
    let before = weights(&trainer_);
    let mut of = |i: usize, _: Scored, d: &mut [f32]| {
        d.fill(0.01);
        if i == 7 {
            d[1] = 3e38;
        }
    };
    trainer_.accumulate(&all, false, &mut of).unwrap();
    let refused = trainer_.apply(&all, 0.1).unwrap_err();
    assert_eq!((refused.row, refused.token), (Some(7), Some(1)), "{refused}");
    assert!(refused.fact.contains("gradient of"), "{refused}");
    assert_eq!(before, weights(&trainer_));
    // Weights that blew up: the log-probability is not a number.
    let mut spoiled = policy(config, 3);
    spoiled
        .parameters_mut()
        .iter_mut()
        .filter(|p| p.kind == Kind::Norm)
        .for_each(|p| p.value.fill(f32::INFINITY));
    let refused = trainer(spoiled, 40).score(&all, false, &mut |_, _| ()).unwrap_err();
    assert!(refused.fact.contains("log-probability is"), "{refused}");
}
