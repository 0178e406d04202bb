//! Times sampling from a freshly drawn policy: the engine alone, no files and no text.
//!
//! ```text
//! cargo run --release -p r1-model --features cuda --example draw -- CONFIG.json SEQUENCES PROMPT NEW [auto|f32|bf16] [cpu|cuda]
//! ```
//! Prints one line of JSON: new tokens a second, prompts included. `scripts/bench/gpu.sh` puts it beside transformers.

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
        anyhow::bail!("usage: draw CONFIG.json SEQUENCES PROMPT NEW [auto|f32|bf16] [cpu|cuda]");
    };
    let (count, prompt, new): (usize, usize, usize) = (count.parse()?, prompt.parse()?, new.parse()?);
    if rest.get(1).is_some_and(|place| place == "cuda") {
        device::set(Some(device::open(0)?));
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
    println!(
        "{{\"precision\":\"{:?}\",\"seconds\":{seconds:.4},\"steps\":{steps},\"tokens_per_second\":{:.1}}}",
        policy.precision(),
        (count * new) as f64 / seconds
    );
    Ok(())
}
