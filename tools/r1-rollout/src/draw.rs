//! Sampling: tasks in, one row per completion out, groups in the order of the tasks.

use std::time::{Duration, Instant};

use anyhow::Result;
use r1_cli::signals;
use r1_model::engine::{self, Completion, Engine, Finish, Request};
use r1_model::random::hash;
use r1_records::{FinishReason, Rollout};
use serde::Serialize;

use crate::Args;
use crate::resume::Outlet;
use crate::tasks::{self, Loaded, Task};

/// How often the words beside the progress change.
const TALK: Duration = Duration::from_millis(200);

/// The numbers of what was drawn, for `--metrics` and the last line on stderr.
#[derive(Serialize)]
pub struct Summary {
    prompts: usize,
    completions: usize,
    tokens: usize,
    mean_length: f64,
    truncated_share: f64,
    seconds: f64,
    tokens_per_second: f64,
    completions_per_second: f64,
    prefilled_tokens: usize,
    reused_tokens: usize,
    recomputed_tokens: usize,
    interrupted: usize,
    resumed_prompts: usize,
    steps: usize,
    peak_pages: usize,
    kv_peak_share: f64,
}

/// What is counted of the completions that were written.
#[derive(Default)]
struct Written {
    completions: usize,
    tokens: usize,
    truncated: usize,
}

/// Tasks about to be drawn: everything is checked, nothing is written.
pub struct Drawing<'a> {
    args: &'a Args,
    loaded: &'a Loaded,
    tasks: &'a [Task],
    requests: Vec<Request>,
    engine: Engine<'a>,
    /// names the flags that decide what is drawn
    settings: u64,
}

/// Runs the mode.
pub fn run(args: &Args) -> Result<()> {
    args.draw.check()?;
    let mut metrics = args.metrics.open()?;
    let loaded = tasks::load(args)?;
    let tasks = tasks::read_with_words(args, &loaded)?;
    let mut progress = progress(args, &tasks);
    let drawing = Drawing::plan(args, &loaded, &tasks)?;
    let (mut out, kept) = Outlet::open(args, &loaded.hash, &tasks, drawing.settings)?;
    if kept > 0 {
        r1_cli::note(&format!("going on after {kept} of {} prompts", tasks.len()));
    }
    signals::watch();
    let summary = drawing.draw(kept, &mut progress, &mut out)?;
    progress.finish();
    out.finish()?;
    metrics.write(&summary)?;
    r1_cli::note(&summary.words());
    Ok(())
}

/// A bar for the completions of these tasks.
pub fn progress(args: &Args, tasks: &[Task]) -> r1_cli::Progress {
    r1_cli::Progress::new("completions", Some((tasks.len() * args.draw.samples) as u64))
}

impl<'a> Drawing<'a> {
    /// Plans the engine and checks every task.
    ///
    /// # Errors
    /// Exit 2, naming flag or line.
    pub fn plan(args: &'a Args, loaded: &'a Loaded, tasks: &'a [Task]) -> Result<Drawing<'a>> {
        let flags = &args.draw;
        let (tokenizer, _) = tasks::need_words(args, loaded.words.as_ref())?;
        let requests: Vec<Request> = tasks
            .iter()
            .map(|t| Request { prompt: t.prompt_ids.clone(), key: hash(&t.id), samples: flags.samples })
            .collect();
        let bad = |e: anyhow::Error| r1_cli::misuse(format!("{e:#}"), "see --help for the flag's meaning");
        let (sampling, limits) = (flags.sampling(tokenizer)?, flags.limits(args, tokenizer, &loaded.policy)?);
        let settings = flags.fingerprint(&limits, &sampling, &loaded.policy);
        let engine = Engine::plan(&loaded.policy, Some(tokenizer), sampling, limits).map_err(bad)?;
        for (task, request) in tasks.iter().zip(&requests) {
            let unfit =
                |e: anyhow::Error| task.row.error(format!("{e:#}"), "change the flag, or leave the row out");
            engine.check(request).map_err(|e| args.input.blame(unfit(e)))?;
        }
        Ok(Drawing { args, loaded, tasks, requests, engine, settings })
    }

    /// Draws what is left after the first `kept` tasks.
    ///
    /// # Errors
    /// A row cannot be written, or a signal: groups that are complete have been written.
    pub fn draw(self, kept: usize, bar: &'a mut r1_cli::Progress, out: &mut Outlet) -> Result<Summary> {
        let Drawing { args, loaded, tasks, requests, mut engine, .. } = self;
        let samples = args.draw.samples;
        let started = Instant::now();
        let mut told = started;
        engine.ask_between_steps(move |now| {
            if told.elapsed() >= TALK {
                told = Instant::now();
                bar.message(&tell(&now, started.elapsed().as_secs_f64()));
            }
            bar.set((kept * samples + now.completions) as u64);
            stop_when_asked()
        });
        let mut written = Written::default();
        engine.run(&requests[kept..], |i, group| {
            let task = &tasks[kept + i];
            for (sample, completion) in group.into_iter().enumerate() {
                written.completions += 1;
                written.tokens += completion.ids.len();
                written.truncated += usize::from(completion.finish == Finish::Length);
                let section = section(args, loaded, task, sample, completion)?;
                let mut row = task.row.clone();
                row.set("rollout", &section).map_err(|e| args.input.blame(e))?;
                out.row(&row)?;
            }
            out.flush_group()?;
            stop_when_asked()
        })?;
        let end = engine.progress();
        Ok(summary(&written, &end, tasks.len(), kept, started.elapsed().as_secs_f64()))
    }
}

impl Summary {
    /// One line for a person.
    pub fn words(&self) -> String {
        format!(
            "{} completions of {} prompts, mean length {:.1} tokens, {:.1} % truncated, {:.0} tokens/s",
            self.completions,
            self.prompts - self.resumed_prompts,
            self.mean_length,
            100.0 * self.truncated_share,
            self.tokens_per_second
        )
    }
}

/// The words beside the progress.
fn tell(now: &engine::Progress, seconds: f64) -> String {
    format!(
        "{:.0} tokens/s, {} sequences, KV memory {:.0} % of {} MiB used",
        now.tokens as f64 / seconds.max(1e-9),
        now.running,
        100.0 * now.pages as f64 / now.total_pages.max(1) as f64,
        (now.total_pages * now.page_bytes) >> 20
    )
}

fn summary(w: &Written, end: &engine::Progress, prompts: usize, kept: usize, seconds: f64) -> Summary {
    let completions = w.completions.max(1) as f64;
    Summary {
        prompts,
        completions: w.completions,
        tokens: w.tokens,
        mean_length: w.tokens as f64 / completions,
        truncated_share: w.truncated as f64 / completions,
        seconds,
        tokens_per_second: end.tokens as f64 / seconds.max(1e-9),
        completions_per_second: w.completions as f64 / seconds.max(1e-9),
        prefilled_tokens: end.prefilled,
        reused_tokens: end.reused,
        recomputed_tokens: end.recomputed,
        interrupted: end.interrupted,
        resumed_prompts: kept,
        steps: end.steps,
        peak_pages: end.peak_pages,
        kv_peak_share: end.peak_pages as f64 / end.total_pages.max(1) as f64,
    }
}

/// Ends the run after a signal: groups that are complete have been written.
fn stop_when_asked() -> Result<()> {
    if signals::stop_requested() { Err(r1_cli::stopped()) } else { Ok(()) }
}

/// The `rollout` section of one completion. The text is `--prefill`'s and what the ids decode to without special tokens
/// such as the end-of-sequence one; markup like `<think>` that a tokenizer keeps as one ordinary token stays in it.
fn section(
    args: &Args,
    loaded: &Loaded,
    task: &Task,
    sample: usize,
    completion: Completion,
) -> Result<Rollout> {
    let Some((tokenizer, template)) = &loaded.words else { unreachable!("sampling has words") };
    let ends = |id: &u32| loaded.policy.config.eos_token_ids.contains(id);
    let text_ids = match completion.ids.split_last() {
        Some((last, rest)) if ends(last) => rest,
        _ => &completion.ids,
    };
    let decoded = tokenizer.decode(text_ids, true)?;
    let text = match args.draw.prefill.as_str() {
        "" => template.completion_text(&decoded).to_string(),
        prefill => format!("{prefill}{decoded}"),
    };
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
