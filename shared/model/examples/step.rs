//! Times the forward and the backward pass of a freshly initialized policy.
//!
//!     cargo run --release -p r1-model --example step -- config.json 64 128 [f32|bf16]
//!
//! Arguments: a config.json, sequences, tokens per sequence. Prints medians over several passes: seconds, tokens per
//! second and GFLOP/s (6 · active parameters per token, attention and head included in time but not in the count).

use std::time::Instant;

use r1_model::batch::Sequence;
use r1_model::network::{Gradients, Recompute, precision_named};
use r1_model::{Config, LoadOptions, Packed, Policy};

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, count, length, rest @ ..] = args.as_slice() else {
        anyhow::bail!("usage: step CONFIG.json SEQUENCES TOKENS [auto|f32|bf16]");
    };
    let (count, length): (usize, usize) = (count.parse()?, length.parse()?);
    let config = Config::parse(serde_json::from_slice(&std::fs::read(file)?)?, None)?;
    let precision = precision_named(rest.first().map_or("auto", |s| s))?;
    let policy = Policy::initialize(config, 0, LoadOptions::trainable(precision))?;
    let vocab = policy.config.vocab_size as u64;
    let ids: Vec<Vec<u32>> = (0..count as u64)
        .map(|s| (0..length as u64).map(|t| (r1_model::random::mix(s * 7919 + t) % vocab) as u32).collect())
        .collect();
    let sequences: Vec<Sequence> =
        ids.iter().map(|s| Sequence { prompt: &s[..1], completion: &s[1..] }).collect();
    let batch = Packed::pack(&sequences);
    let n = batch.target_rows.len();
    let (inv, dlogprob) = (vec![1.0; n], vec![-1.0 / n as f32; n]);
    let mut grads = Gradients::zeros(&policy);
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    for _ in 0..6 {
        let start = Instant::now();
        let (out, tape) = policy.forward(&batch, &inv, false, Recompute::None);
        forward.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        policy.backward(&batch, &inv, &out, tape, &dlogprob, None, &mut grads);
        backward.push(start.elapsed().as_secs_f64());
    }
    let (f, b) = (median(forward), median(backward));
    let rows = batch.rows() as f64;
    println!(
        "{:?}: {} parameters, {rows} rows: forward {f:.3} s, backward {b:.3} s, {:.0} tokens/s",
        policy.precision(),
        policy.trainable_count(),
        rows / (f + b),
    );
    Ok(())
}
