//! Times whole training steps of a freshly drawn policy: forward, backward, AdamW (with the packing of the new weights).
//!
//! ```text
//! cargo run --release -p r1-train --example step -- CONFIG.json SEQUENCES TOKENS [auto|f32|bf16] [STEPS] [cpu|cuda|cuda-batch-invariant]
//! ```
//! Prints one line of JSON: medians over the steps after the first, in seconds, and the peaks of resident memory and of the device's.
//! `scripts/bench/train.sh` puts it beside PyTorch.

use std::time::Instant;

use r1_model::network::precision_named;
use r1_model::{Config, LoadOptions, Policy, device};
use r1_train::memory::{Budget, Place};
use r1_train::optimizer::{AdamW, Hyper};
use r1_train::refusal::Refused;
use r1_train::update::{Limits, Row, Scored, Trainer};

fn median(times: &[[f64; 2]], part: impl Fn(&[f64; 2]) -> f64) -> f64 {
    let mut times: Vec<f64> = times.iter().map(part).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Peak of resident memory, bytes, where the system tells it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, count, length, rest @ ..] = args.as_slice() else {
        anyhow::bail!(
            "usage: step CONFIG.json SEQUENCES TOKENS [auto|f32|bf16] [STEPS] [cpu|cuda|cuda-batch-invariant]"
        );
    };
    let (count, length): (usize, usize) = (count.parse()?, length.parse()?);
    let config = Config::parse(serde_json::from_slice(&std::fs::read(file)?)?, None)?;
    let precision = precision_named(rest.first().map_or("auto", |s| s))?;
    let steps: usize = rest.get(1).map_or(Ok(4), |s| s.parse())?;
    match rest.get(2).map_or("cpu", |place| place) {
        "cpu" => {}
        "cuda" => device::set(Some(device::open(0, false)?)),
        "cuda-batch-invariant" => device::set(Some(device::open(0, true)?)),
        other => anyhow::bail!("no place {other}: cpu, cuda or cuda-batch-invariant"),
    }
    let policy = Policy::initialize(config, 0, LoadOptions::trainable(precision))?;
    let hyper = Hyper { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, freeze_router: false };
    let optimizer = AdamW::fresh(&policy, hyper);
    let place = Place::of(policy.device())?;
    let micro_tokens = Budget::of(&policy.config, policy.precision(), place).default_tokens();
    let limits = Limits { micro_tokens, clip_norm: 0.0, router_bias_rate: 0.0 };
    let mut trainer = Trainer::new(policy, optimizer, limits)?;
    let vocab = trainer.policy.config.vocab_size as u64;
    let ids: Vec<Vec<u32>> = (0..count as u64)
        .map(|s| (0..length as u64).map(|t| (r1_model::random::mix(s * 7919 + t) % vocab) as u32).collect())
        .collect();
    let rows: Vec<Row> = ids
        .iter()
        .map(|s| Row { prompt: &s[..1], completion: &s[1..], inv_temperature: 1.0, gradient: true })
        .collect();
    let n = count * (length - 1);
    let (mut times, mut loss) = (Vec::new(), 0.0);
    for _ in 0..=steps {
        let start = Instant::now();
        loss = 0.0;
        let refused = |refused: Refused| anyhow::anyhow!(refused.fact);
        let mut cross_entropy = |_: usize, scored: Scored, d: &mut [f32]| {
            loss -= scored.logprobs.iter().map(|l| f64::from(*l)).sum::<f64>() / n as f64;
            d.fill(-1.0 / n as f32);
        };
        trainer.accumulate(&rows, false, &mut cross_entropy).map_err(refused)?;
        let passes = start.elapsed().as_secs_f64();
        trainer.apply(&rows, 1e-5).map_err(refused)?;
        times.push([passes, start.elapsed().as_secs_f64() - passes]);
    }
    let times = &times[1..];
    let all = median(times, |t| t.iter().sum());
    let tokens = (count * length) as f64 / all;
    println!(
        "{}",
        serde_json::json!({
            "precision": format!("{:?}", trainer.policy.precision()), "parameters": trainer.policy.trainable_count(),
            "seconds": all, "passes": median(times, |t| t[0]), "optimizer": median(times, |t| t[1]), "tokens_per_second": tokens, "peak_bytes": peak(),
            "device_bytes": device::chosen().map(|device| device.peak()), "micro_tokens": trainer.limits().micro_tokens, "loss": loss,
        })
    );
    Ok(())
}
