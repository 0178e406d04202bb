//! Times sampling from a freshly drawn policy: the engine alone, no files and no text.
//!
//! ```text
//! cargo run --release -p r1-model --features cuda --example draw -- CONFIG.json SEQUENCES PROMPT NEW [auto|f32|bf16] [cpu|cuda|cuda-batch-invariant]
//! ```
//! Prints one line of JSON: new tokens a second, prompts included; the bytes that a step must read; and the peak of the device's memory. `scripts/bench/gpu.sh` puts it beside transformers.

use std::time::Instant;

use r1_model::device;
use r1_model::engine::{Engine, Limits, Request};
use r1_model::network::precision_named;
use r1_model::random::mix;
use r1_model::sample::Sampling;
use r1_model::{Config, LoadOptions, Policy};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, count, prompt, new, rest @ ..] = args.as_slice() else {
        anyhow::bail!(
            "usage: draw CONFIG.json SEQUENCES PROMPT NEW [auto|f32|bf16] [cpu|cuda|cuda-batch-invariant]"
        );
    };
    let (count, prompt, new): (usize, usize, usize) = (count.parse()?, prompt.parse()?, new.parse()?);
    match rest.get(1).map_or("cpu", |place| place) {
        "cpu" => {}
        "cuda" => device::set(Some(device::open(0, false)?)),
        "cuda-batch-invariant" => device::set(Some(device::open(0, true)?)),
        other => anyhow::bail!("no place {other}: cpu, cuda or cuda-batch-invariant"),
    }
    let config = Config::parse(serde_json::from_slice(&std::fs::read(file)?)?, None)?;
    let precision = precision_named(rest.first().map_or("auto", |s| s))?;
    let mut policy = Policy::initialize(config, 0, LoadOptions::frozen(precision))?;
    policy.config.eos_token_ids.clear();
    let vocab = policy.config.vocab_size as u64;
    let ids = |s: usize| (0..prompt as u64).map(|t| (mix(s as u64 * 7919 + t) % vocab) as u32).collect();
    let requests: Vec<Request> =
        (0..count).map(|s| Request { prompt: ids(s), key: s as u64, samples: 1 }).collect();
    let limits = Limits {
        max_tokens: new,
        min_tokens: 0,
        max_sequences: count,
        prefill_tokens: 8192,
        kv_bytes: 24 << 30,
        latents: false,
        longest_first: false,
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        seed: 0,
    };
    // The first run finds the algorithms and fills the memory's store.
    let mut seconds = 0.0;
    let mut steps = 0;
    for _ in 0..2 {
        let mut engine = Engine::plan(&policy, None, Sampling::default(), limits.clone())?;
        let start = Instant::now();
        engine.run(&requests, |_, _| Ok(()))?;
        seconds = start.elapsed().as_secs_f64();
        steps = engine.progress().steps;
    }
    // What a step reads: all weights, and on the average step the keys and values of the prompts and of half of what is drawn.
    let c = &policy.config;
    let each = if policy.precision() == r1_model::Precision::Bf16 { 2 } else { 4 };
    let cached = count * (prompt + new / 2) * c.layers * c.kv_heads() * (c.dk() + c.dv());
    let step_bytes = each * (policy.trainable_count() + cached);
    println!(
        "{{\"precision\":\"{:?}\",\"seconds\":{seconds:.4},\"steps\":{steps},\"step_bytes\":{step_bytes},\"device_bytes\":{},\"tokens_per_second\":{:.1}}}",
        policy.precision(),
        device::chosen().map_or(0, |device| device.peak()),
        (count * new) as f64 / seconds
    );
    Ok(())
}
