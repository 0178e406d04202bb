//! Sampling: tasks in, one row per completion out, groups in the order of the tasks.

use std::time::Instant;

use anyhow::Result;
use r1_cli::{Progress, signals};
use r1_model::engine::{Completion, Engine, Finish, Limits, Request};
use r1_model::random::hash;
use r1_model::sample::Sampling;
use r1_records::{FinishReason, Rollout};
use serde::Serialize;

use crate::{Args, tasks};

/// What and how much is drawn.
#[derive(clap::Args)]
pub struct Flags {
    /// Completions per prompt (the group size G)
    #[arg(short = 'n', long, default_value_t = 1, value_name = "G")]
    samples: usize,
    /// Softmax temperature; 0 is greedy
    #[arg(long, default_value_t = 1.0, value_name = "T")]
    temperature: f32,
    /// Draw from the K most probable tokens; 0 for all
    #[arg(long, default_value_t = 0, value_name = "K")]
    top_k: usize,
    /// Draw from the most probable tokens that together hold this mass
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    top_p: f32,
    /// Drop tokens less probable than this share of the most probable one
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    min_p: f32,
    /// Longest completion in tokens
    #[arg(long, default_value_t = 256, value_name = "N")]
    max_tokens: usize,
    /// No end-of-sequence token before this many tokens
    #[arg(long, default_value_t = 0, value_name = "N")]
    min_tokens: usize,
    /// End a completion with this text, which stays part of it (repeatable)
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Sequences decoded together
    #[arg(long, default_value_t = 256, value_name = "N")]
    sequences: usize,
    /// Memory for keys and values, in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    kv_memory: usize,
    /// Only the first N tasks
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Names of the flags that say how to draw, and would be ignored by `--score`.
pub const FLAGS: [&str; 12] = [
    "samples",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "max_tokens",
    "min_tokens",
    "stop",
    "sequences",
    "kv_memory",
    "limit",
    "seed",
];

/// The run's numbers, for `--metrics` and the last line on stderr.
#[derive(Serialize)]
struct Summary {
    prompts: usize,
    completions: usize,
    tokens: usize,
    mean_length: f64,
    truncated_share: f64,
    seconds: f64,
    tokens_per_second: f64,
    prefilled_tokens: usize,
    peak_pages: usize,
}

/// Runs the mode.
pub fn run(args: &Args) -> Result<()> {
    let flags = &args.draw;
    for (flag, zero) in [("--samples", flags.samples == 0), ("--limit", flags.limit == Some(0))] {
        if zero {
            return Err(r1_cli::misuse(format!("{flag} 0 draws nothing"), "ask for at least one"));
        }
    }
    let mut metrics = args.metrics.open()?;
    let loaded = tasks::load(args)?;
    let tasks = tasks::read(args, &loaded, flags.limit)?;
    let Some((tokenizer, template)) = &loaded.words else {
        unreachable!("tasks::read refuses a policy without a tokenizer")
    };
    let requests: Vec<Request> = tasks
        .iter()
        .map(|t| Request { prompt: t.prompt_ids.clone(), key: hash(&t.id), samples: flags.samples })
        .collect();
    let sampling = Sampling {
        temperature: flags.temperature,
        top_k: flags.top_k,
        top_p: flags.top_p,
        min_p: flags.min_p,
    };
    let limits = Limits {
        max_tokens: flags.max_tokens,
        min_tokens: flags.min_tokens,
        max_sequences: flags.sequences,
        prefill_tokens: args.micro_tokens,
        kv_bytes: flags.kv_memory.saturating_mul(1 << 20),
        stop: flags.stop.clone(),
        seed: args.seed.seed,
    };
    let bad = |e: anyhow::Error| r1_cli::misuse(format!("{e:#}"), "see --help for the flag's meaning");
    let mut engine = Engine::plan(&loaded.policy, Some(tokenizer), sampling, limits).map_err(bad)?;
    for (task, request) in tasks.iter().zip(&requests) {
        let unfit =
            |e: anyhow::Error| task.row.error(format!("{e:#}"), "change the flag, or leave the row out");
        engine.check(request).map_err(|e| args.input.blame(unfit(e)))?;
    }
    let mut out = args.output.create()?;
    let mut progress = Progress::new("completions", Some((requests.len() * flags.samples) as u64));
    signals::watch();
    engine.ask_between_steps(stop_when_asked);
    let started = Instant::now();
    let (mut completions, mut tokens, mut truncated) = (0usize, 0usize, 0usize);
    engine.run(&requests, |i, group, now| {
        for (sample, completion) in group.into_iter().enumerate() {
            completions += 1;
            tokens += completion.ids.len();
            truncated += usize::from(completion.finish == Finish::Length);
            let section = section(args, &loaded, (tokenizer, template), &tasks[i], sample, completion)?;
            let mut row = tasks[i].row.clone();
            row.set("rollout", &section).map_err(|e| args.input.blame(e))?;
            let written = row.write_line(&mut out);
            out.judge(written)?;
        }
        out.flush_group()?;
        progress.set(now.completions as u64);
        stop_when_asked()
    })?;
    progress.finish();
    out.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    let end = engine.progress();
    let summary = Summary {
        prompts: tasks.len(),
        completions,
        tokens,
        mean_length: tokens as f64 / completions.max(1) as f64,
        truncated_share: truncated as f64 / completions.max(1) as f64,
        seconds,
        tokens_per_second: end.tokens as f64 / seconds.max(1e-9),
        prefilled_tokens: end.prefilled,
        peak_pages: end.peak_pages,
    };
    metrics.write(&summary)?;
    r1_cli::note(&format!(
        "{} completions of {} prompts, mean length {:.1} tokens, {:.1} % truncated, {:.0} tokens/s",
        summary.completions,
        summary.prompts,
        summary.mean_length,
        100.0 * summary.truncated_share,
        summary.tokens_per_second
    ));
    Ok(())
}

/// Ends the run after a signal: groups that are complete have been written.
fn stop_when_asked() -> Result<()> {
    if signals::stop_requested() { Err(r1_cli::stopped()) } else { Ok(()) }
}

/// The `rollout` section of one completion. The text is what the ids decode to without special tokens such as the
/// end-of-sequence one; markup like `<think>` that a tokenizer keeps as one ordinary token stays in it.
fn section(
    args: &Args,
    loaded: &tasks::Loaded,
    (tokenizer, template): (&r1_model::Tokenizer, &r1_model::template::Template),
    task: &tasks::Task,
    sample: usize,
    completion: Completion,
) -> Result<Rollout> {
    let eos = &loaded.policy.config.eos_token_ids;
    let text_ids = match completion.ids.split_last() {
        Some((last, rest)) if eos.contains(last) => rest,
        _ => &completion.ids,
    };
    let decoded = tokenizer.decode(text_ids, true)?;
    let text = template.completion_text(&decoded).to_string();
    Ok(Rollout {
        sample: Some(sample as u32),
        completion: text,
        prompt_ids: Some(task.prompt_ids.clone()),
        completion_ids: Some(completion.ids),
        logprobs: Some(completion.logprobs),
        finish_reason: Some(match completion.finish {
            Finish::Stop => FinishReason::Stop,
            Finish::Length => FinishReason::Length,
        }),
        temperature: Some(args.draw.temperature),
        top_p: Some(args.draw.top_p),
        seed: Some(args.seed.seed),
        policy: Some(loaded.hash.clone()),
    })
}
