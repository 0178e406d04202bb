//! Sampling through somebody else's engine: an OpenAI-compatible server (vLLM, SGLang, llama.cpp).
//!
//! POLICY is then a directory whose tokenizer and template make the prompts (its weights are not read), or `-`: the rows'
//! messages go to the server's chat template. A group is one request with `n`, and further ones where the server gives
//! fewer choices. Token ids are recorded where the server names them, log-probabilities where they are those of the
//! distribution that was drawn from (temperature 1): servers do not temper what they report. Rows come out in order.

mod answer;
mod client;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;
use r1_cli::signals;
use r1_model::Tokenizer;
use r1_model::random::{Stream, hash};
use r1_model::template::Template;
use r1_records::{FinishReason, Prompt, Rollout};
use serde_json::{Value, json};

use crate::resume::Outlet;
use crate::tasks::{self, Task};
use crate::{Args, settings};
use answer::Choice;
use client::{Client, Question};

/// Where the server is and how patient we are with it.
#[derive(clap::Args)]
pub struct Flags {
    /// Sample through an OpenAI-compatible server, such as http://localhost:8000/v1; POLICY is then a directory with a
    /// tokenizer, or - for chat prompts as they are
    #[arg(long, value_name = "URL", conflicts_with_all = ["score", "adapter", "show_tokens", "sequences", "kv_memory", "bad_words"])]
    pub endpoint: Option<String>,
    /// The server's name of the model [default: the only one it has]
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    model: Option<String>,
    /// Requests in flight
    #[arg(long, default_value_t = 16, value_name = "N", requires = "endpoint")]
    concurrency: usize,
    /// Seconds to wait for an answer
    #[arg(long, default_value_t = 600, value_name = "SECONDS", requires = "endpoint")]
    timeout: u64,
    /// Times to ask again after a failure that may pass (each wait is twice the last one)
    #[arg(long, default_value_t = 6, value_name = "N", requires = "endpoint")]
    retries: u32,
}

/// What the workers share.
struct Work {
    client: Client,
    words: Option<(Tokenizer, Template)>,
    tasks: Vec<Task>,
    flags: settings::Flags,
    seed: u64,
    next: AtomicUsize,
    over: AtomicBool,
}

/// Runs the mode.
pub fn run(args: &Args, url: &str) -> Result<()> {
    let flags = &args.draw;
    flags.check()?;
    if args.remote.concurrency == 0 || args.remote.timeout == 0 {
        return Err(r1_cli::misuse("--concurrency 0 or --timeout 0 asks nothing", "ask for at least one"));
    }
    let mut metrics = args.metrics.open()?;
    let words = if args.policy.as_os_str() == "-" {
        if !["auto", "chat"].contains(&args.template.as_str()) || !flags.prefill.is_empty() {
            return Err(r1_cli::misuse(
                "without a tokenizer the server's own chat template is the only one",
                "name a policy directory instead of -",
            ));
        }
        None
    } else {
        Some(tasks::words(args)?)
    };
    let tasks = tasks::read(args, words.as_ref(), flags.limit)?;
    let timeout = Duration::from_secs(args.remote.timeout);
    let client = Client::connect(url, args.remote.model.as_deref(), timeout, args.remote.retries)?;
    let model = format!("model:{}", client.model());
    let (mut out, kept) = Outlet::open(args, &model, &tasks, hash(&format!("{flags:?} {}", args.seed.seed)))?;
    signals::watch();
    let started = Instant::now();
    let total = tasks.len();
    let mut progress = r1_cli::Progress::new("prompts", Some(total as u64));
    let work = Arc::new(Work {
        client,
        words,
        tasks,
        flags: flags.clone(),
        seed: args.seed.seed,
        next: AtomicUsize::new(kept),
        over: AtomicBool::new(false),
    });
    let (send, receive) = mpsc::channel();
    for _ in 0..args.remote.concurrency.min(total) {
        let (work, send) = (work.clone(), send.clone());
        // Not joined: a request may outlast a run that was stopped.
        std::thread::spawn(move || work.serve(&send));
    }
    drop(send);
    let mut early: BTreeMap<usize, Vec<Choice>> = BTreeMap::new();
    let (mut completions, mut tokens, mut truncated, mut bare, mut untempered) = (0, 0, 0, 0, 0);
    let mut next_out = kept;
    while next_out < total {
        match receive.recv_timeout(Duration::from_millis(100)) {
            Ok((i, Ok(choices))) => {
                early.insert(i, choices);
            }
            Ok((i, Err(error))) => {
                work.over.store(true, Ordering::SeqCst);
                return Err(anyhow::anyhow!(
                    "{}: prompt `{}`: {error:#}",
                    client_name(url),
                    work.tasks[i].id
                ));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if early.contains_key(&next_out) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("a request ended without an answer"),
        }
        if signals::stop_requested() {
            work.over.store(true, Ordering::SeqCst);
            return Err(r1_cli::stopped());
        }
        while let Some(choices) = early.remove(&next_out) {
            let task = &work.tasks[next_out];
            for (sample, choice) in choices.into_iter().enumerate() {
                completions += 1;
                tokens += choice.tokens;
                truncated += usize::from(choice.finish == Some(FinishReason::Length));
                bare += usize::from(choice.ids.is_none());
                untempered += usize::from(choice.logprobs.is_some() && flags.temperature != 1.0);
                let section = section(args, &model, task, sample, choice);
                let mut row = task.row.clone();
                row.set("rollout", &section).map_err(|e| args.input.blame(e))?;
                out.row(&row)?;
            }
            out.flush_group()?;
            next_out += 1;
            progress.set(next_out as u64);
        }
    }
    progress.finish();
    out.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    let share = |n: usize| n as f64 / (completions as f64).max(1.0);
    metrics.write(&json!({"prompts": total, "completions": completions, "tokens": tokens,
        "mean_length": share(tokens), "truncated_share": share(truncated), "seconds": seconds,
        "tokens_per_second": tokens as f64 / seconds.max(1e-9), "resumed_prompts": kept,
        "retries": work.client.retried()}))?;
    if bare > 0 {
        r1_cli::warn(&format!(
            "{bare} of {completions} completions came without token ids: they can be judged and imitated, r1-grpo needs ids"
        ));
    }
    if untempered > 0 {
        r1_cli::warn("the server's log-probabilities are not at the sampling temperature and were left out");
    }
    r1_cli::note(&format!(
        "{completions} completions of {} prompts from {}, mean length {:.1} tokens, {:.1} % truncated, {:.0} tokens/s",
        total - kept,
        work.client.model(),
        share(tokens),
        100.0 * share(truncated),
        tokens as f64 / seconds.max(1e-9)
    ));
    Ok(())
}

fn client_name(url: &str) -> &str {
    url.trim_end_matches('/')
}

type Served = (usize, Result<Vec<Choice>>);

impl Work {
    /// Takes prompts until none is left.
    fn serve(&self, send: &mpsc::Sender<Served>) {
        while !self.over.load(Ordering::SeqCst) {
            let i = self.next.fetch_add(1, Ordering::SeqCst);
            if i >= self.tasks.len() || send.send((i, self.group(&self.tasks[i]))).is_err() {
                return;
            }
        }
    }

    /// All completions of a task.
    fn group(&self, task: &Task) -> Result<Vec<Choice>> {
        let mut choices: Vec<Choice> = Vec::new();
        while choices.len() < self.flags.samples {
            let wanted = self.flags.samples - choices.len();
            // A server that gives one choice at a time is asked again, with another seed.
            let bits = Stream::of(self.seed, hash(&task.id), choices.len() as u64).bits(0);
            let mut question = Question { body: self.body(), prompt_ids: None, messages: None };
            question.body["n"] = json!(wanted);
            question.body["seed"] = json!(bits & 0x7fff_ffff);
            if task.prompt_ids.is_empty() {
                question.messages = Some(match task.row.prompt()? {
                    Prompt::Text(text) => json!([{"role": "user", "content": text}]),
                    Prompt::Messages(messages) => messages
                        .iter()
                        .map(|m| json!({"role": m.role, "content": m.content}))
                        .collect::<Vec<Value>>()
                        .into(),
                });
            } else {
                question.prompt_ids = Some((task.prompt_ids.clone(), self.text(&task.prompt_ids)?));
            }
            let mut more = self.client.ask(&question, &self.over)?;
            more.truncate(wanted);
            choices.append(&mut more);
        }
        Ok(choices)
    }

    /// A prompt as text, for servers that take no ids; BOS is theirs to add.
    fn text(&self, ids: &[u32]) -> Result<String> {
        let Some((tokenizer, _)) = &self.words else { return Ok(String::new()) };
        let theirs = ids.first().copied() == tokenizer.bos().map(|bos| bos.id) && tokenizer.adds_bos();
        let rest = &ids[usize::from(theirs)..];
        tokenizer.decode(rest, false)
    }

    /// The sampling fields of a request; what stands at its neutral value is left out, so that plain servers understand.
    fn body(&self) -> Value {
        let f = &self.flags;
        let mut body = json!({"max_tokens": f.max_tokens, "temperature": f.temperature, "top_p": f.top_p});
        let optional = [
            ("top_k", f.top_k > 0, json!(f.top_k)),
            ("min_p", f.min_p > 0.0, json!(f.min_p)),
            ("repetition_penalty", f.repetition_penalty != 1.0, json!(f.repetition_penalty)),
            ("presence_penalty", f.presence_penalty != 0.0, json!(f.presence_penalty)),
            ("frequency_penalty", f.frequency_penalty != 0.0, json!(f.frequency_penalty)),
            ("min_tokens", f.min_tokens > 0, json!(f.min_tokens)),
            (
                "stop",
                !(f.stop.is_empty() && f.stop_token.is_empty()),
                json!([&f.stop[..], &f.stop_token[..]].concat()),
            ),
            ("include_stop_str_in_output", !f.stop.is_empty(), json!(true)),
        ];
        for (name, wanted, value) in optional {
            if wanted {
                body[name] = value;
            }
        }
        body
    }
}

/// The `rollout` section of one choice.
fn section(args: &Args, model: &str, task: &Task, sample: usize, choice: Choice) -> Rollout {
    let given = (!task.prompt_ids.is_empty()).then(|| task.prompt_ids.clone());
    let prompt_ids = choice.prompt_ids.or(given);
    let logprobs = choice.logprobs.filter(|_| choice.ids.is_some() && args.draw.temperature == 1.0);
    Rollout {
        sample: Some(sample as u32),
        completion: format!("{}{}", args.draw.prefill, choice.text),
        prompt_ids,
        completion_ids: choice.ids,
        logprobs,
        finish_reason: choice.finish,
        temperature: Some(args.draw.temperature),
        top_p: Some(args.draw.top_p),
        seed: Some(args.seed.seed),
        policy: Some(model.to_string()),
    }
}
