//! Scoring: the log-probabilities of completions that are there, under this policy.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use r1_cli::{Progress, Sink, signals};
use r1_kernels::head::Top;
use r1_model::Packed;
use r1_model::batch::Sequence;
use r1_records::{RecordError, Row, Scores, each_round};
use serde::Serialize;

use crate::{Args, tasks};

/// A row waiting to be scored with its neighbours.
struct Waiting {
    row: Row,
    prompt: Vec<u32>,
    completion: Vec<u32>,
    inv_temperature: f32,
}

/// The run's numbers, for `--metrics` and the last line on stderr.
#[derive(Default, Serialize)]
struct Summary {
    completions: usize,
    tokens: usize,
    mean_logprob: f64,
    seconds: f64,
    tokens_per_second: f64,
}

/// Runs the mode: rows in order, as many together as the token budget allows.
pub fn run(args: &Args, key: &str) -> Result<()> {
    let taken = ["id", "prompt", "answer", "task", "language", "rollout", "judgement", "reward", "advantage"];
    if key.is_empty() || taken.contains(&key) {
        return Err(r1_cli::misuse(
            format!("--score {key} would overwrite another stage's column"),
            "use a key such as reference or teacher",
        ));
    }
    let mut metrics = args.metrics.open()?;
    let loaded = tasks::load(args)?;
    let vocabulary = loaded.policy.config.vocab_size;
    if args.top.is_some_and(|n| n == 0 || n > vocabulary) {
        let fact = format!("--top {} of a vocabulary of {vocabulary}", args.top.unwrap_or(0));
        return Err(r1_cli::misuse(fact, "ask for at least one token, and for no more than there are"));
    }
    let mut out = args.output.create()?;
    let mut progress = Progress::new("completions", None);
    signals::watch();
    let started = Instant::now();
    let mut summary = Summary::default();
    let unread = |e| args.input.unread(e);
    let worked = each_round(args.input.open()?, &mut out, unread, Sink::mark, |rows, out| {
        round(args, key, &loaded, rows, out, &mut progress, &mut summary)
    })?;
    if !worked {
        return out.finish();
    }
    progress.finish();
    out.finish()?;
    summary.seconds = started.elapsed().as_secs_f64();
    summary.tokens_per_second = summary.tokens as f64 / summary.seconds.max(1e-9);
    summary.mean_logprob /= summary.tokens.max(1) as f64;
    metrics.write(&summary)?;
    r1_cli::note(&format!(
        "{} completions scored, mean log-probability {:.4}, {:.0} tokens/s",
        summary.completions, summary.mean_logprob, summary.tokens_per_second
    ));
    Ok(())
}

/// Scores the rows of one round.
fn round(
    args: &Args,
    key: &str,
    loaded: &tasks::Loaded,
    rows: impl Iterator<Item = Result<Row, RecordError>>,
    out: &mut Sink,
    progress: &mut Progress,
    summary: &mut Summary,
) -> Result<()> {
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut tokens = 0;
    for row in rows {
        let row = row.map_err(|e| args.input.blame(e))?;
        let next = prepare(row, key, loaded).map_err(|e| match e.downcast::<RecordError>() {
            Ok(e) => args.input.blame(e),
            Err(e) => e,
        })?;
        let size = next.prompt.len() + next.completion.len();
        if tokens > 0 && tokens + size > args.micro_tokens {
            flush(args, key, loaded, &mut waiting, out, progress, summary)?;
            tokens = 0;
        }
        tokens += size;
        waiting.push(next);
        if signals::stop_requested() {
            return Err(r1_cli::stopped());
        }
    }
    flush(args, key, loaded, &mut waiting, out, progress, summary)
}

/// A row's token ids: as recorded, or from the text where none were recorded.
fn prepare(row: Row, key: &str, loaded: &tasks::Loaded) -> Result<Waiting> {
    // A column of the user's is not overwritten; earlier scores are.
    row.scores(key)?;
    let rollout = row.rollout()?;
    let (prompt, completion) = match (rollout.prompt_ids, rollout.completion_ids, &loaded.words) {
        (Some(prompt), Some(completion), _) => (prompt, completion),
        (_, _, Some((tokenizer, template))) => {
            let prompt = tasks::prompt_ids(&row, &row.prompt()?, tokenizer, template)?;
            (prompt, template.completion_ids(&rollout.completion, tokenizer)?)
        }
        _ => {
            let error = row.error_in(
                "rollout",
                "no prompt_ids and completion_ids",
                "this policy has no tokenizer to make them",
            );
            return Err(error.into());
        }
    };
    let c = &loaded.policy.config;
    let fact = if prompt.is_empty() || completion.is_empty() {
        Some("an empty prompt or completion".to_string())
    } else if let Some(id) = prompt.iter().chain(&completion).find(|&&id| id as usize >= c.vocab_size) {
        Some(format!("token id {id} is beyond the policy's vocabulary of {}", c.vocab_size))
    } else if prompt.len() + completion.len() > c.max_position_embeddings {
        let n = prompt.len() + completion.len();
        Some(format!("{n} tokens are more than the policy's {} positions", c.max_position_embeddings))
    } else {
        None
    };
    if let Some(fact) = fact {
        return Err(row
            .error_in("rollout", fact, "score with a policy that shares the sampler's tokenizer")
            .into());
    }
    let inv_temperature = match rollout.temperature {
        Some(t) if !(t >= 0.0 && t.is_finite()) => {
            return Err(row.error_in("rollout", format!("temperature {t}"), "sample the row again").into());
        }
        Some(t) if t > 0.0 => 1.0 / t,
        // Greedy completions are scored at temperature 1: at 0 every token has probability 0 or 1.
        _ => 1.0,
    };
    Ok(Waiting { row, prompt, completion, inv_temperature })
}

fn flush(
    args: &Args,
    key: &str,
    loaded: &tasks::Loaded,
    waiting: &mut Vec<Waiting>,
    out: &mut Sink,
    progress: &mut Progress,
    summary: &mut Summary,
) -> Result<()> {
    let sequences: Vec<Sequence> =
        waiting.iter().map(|w| Sequence { prompt: &w.prompt, completion: &w.completion }).collect();
    if sequences.is_empty() {
        return Ok(());
    }
    let batch = Packed::pack(&sequences);
    let inv: Vec<f32> =
        waiting.iter().flat_map(|w| std::iter::repeat_n(w.inv_temperature, w.completion.len())).collect();
    let (scored, top) = match args.top {
        None => (loaded.policy.logprobs(&batch, &inv, false)?, Top::default()),
        Some(n) => loaded.policy.logprobs_with_top(&batch, &inv, n)?,
    };
    let n = args.top.unwrap_or(1);
    let (mut top_ids, mut top_logprobs) = (top.ids.chunks_exact(n), top.logprobs.chunks_exact(n));
    let mut left = scored.logprobs.as_slice();
    for mut w in waiting.drain(..) {
        let (own, rest) = left.split_at(w.completion.len());
        left = rest;
        summary.completions += 1;
        summary.tokens += own.len();
        summary.mean_logprob += own.iter().map(|&x| f64::from(x)).sum::<f64>();
        let has_top = args.top.is_some();
        let scores = Scores {
            logprobs: own.to_vec(),
            policy: Some(loaded.hash.clone()),
            top_ids: has_top.then(|| top_ids.by_ref().take(own.len()).map(<[u32]>::to_vec).collect()),
            top_logprobs: has_top
                .then(|| top_logprobs.by_ref().take(own.len()).map(<[f32]>::to_vec).collect()),
        };
        w.row.set(key, &scores).map_err(|e| args.input.blame(e))?;
        let written = writeln!(out, "{}", w.row.text());
        out.judge(written)?;
        progress.add(1);
    }
    out.flush_group()
}
