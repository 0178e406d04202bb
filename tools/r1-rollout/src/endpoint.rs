//! Sampling through somebody else's engine: an OpenAI-compatible server (vLLM, SGLang, llama.cpp).
//!
//! POLICY is then a directory whose tokenizer and template make the prompts (its weights are not read), or `-`: the rows'
//! messages go to the server's chat template. A group is one request with `n`, and further ones where the server gives
//! fewer choices. Token ids are recorded where the server names them, log-probabilities where they are those of the
//! distribution that was drawn from (temperature 1): servers do not temper what they report. Rows come out in order.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};
use r1_cli::signals;
use r1_endpoint::{Choice, Client, Finish, Prompt, Question, in_order};
use r1_model::Tokenizer;
use r1_model::random::{Stream, hash};
use r1_model::template::Template;
use r1_records::{FinishReason, Rollout};
use serde_json::{Value, json};

use crate::resume::Outlet;
use crate::tasks::{self, Task};
use crate::{Args, settings};

/// What the requests share.
struct Work {
    client: Client,
    words: Option<(Tokenizer, Template)>,
    tasks: Vec<Task>,
    flags: settings::Flags,
    seed: u64,
}

/// What is counted of the completions that were written.
#[derive(Default)]
struct Written {
    completions: usize,
    tokens: usize,
    truncated: usize,
    /// came without token ids
    bare: usize,
    /// have log-probabilities of another temperature
    untempered: usize,
}

/// Runs the mode.
pub fn run(args: &Args, url: &str) -> Result<()> {
    let flags = &args.draw;
    flags.check()?;
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
    let client = args.server.connect(url)?;
    let model = format!("model:{}", client.model());
    let (mut out, kept) = Outlet::open(args, &model, &tasks, hash(&format!("{flags:?} {}", args.seed.seed)))?;
    signals::watch();
    let started = Instant::now();
    let total = tasks.len();
    let mut progress = r1_cli::Progress::new("prompts", Some(total as u64));
    let work = Arc::new(Work { client, words, tasks, flags: flags.clone(), seed: args.seed.seed });
    let mut written = Written::default();
    let ask = {
        let work = work.clone();
        move |i: usize, over: &AtomicBool| {
            let task = &work.tasks[i];
            work.group(task, over).with_context(|| format!("prompt `{}`", task.id))
        }
    };
    in_order(kept..total, args.server.concurrency as usize, ask, |i, choices| {
        let task = &work.tasks[i];
        for (sample, choice) in choices.into_iter().enumerate() {
            written.add(&choice, flags.temperature);
            let mut row = task.row.clone();
            row.set("rollout", &section(args, &model, task, sample, choice))
                .map_err(|e| args.input.blame(e))?;
            out.row(&row)?;
        }
        progress.set(i as u64 + 1);
        out.flush_group()
    })?;
    progress.finish();
    out.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    let Written { completions, tokens, truncated, bare, untempered } = written;
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

impl Written {
    fn add(&mut self, choice: &Choice, temperature: f32) {
        self.completions += 1;
        self.tokens += choice.tokens;
        self.truncated += usize::from(choice.finish == Some(Finish::Length));
        self.bare += usize::from(choice.ids.is_none());
        self.untempered += usize::from(choice.logprobs.is_some() && temperature != 1.0);
    }
}

impl Work {
    /// All completions of a task.
    fn group(&self, task: &Task, over: &AtomicBool) -> Result<Vec<Choice>> {
        let prompt = match task.prompt_ids.as_slice() {
            [] => Prompt::Messages(conversation(&task.prompt)),
            ids => Prompt::Tokens(ids.to_vec(), self.text(ids)?),
        };
        let mut question = Question { prompt, body: self.body(), tokens: true };
        if task.prompt_ids.is_empty() {
            let tools = task.row.tools()?;
            if !tools.is_empty() {
                question.body["tools"] = tools.into();
            }
        }
        let mut choices: Vec<Choice> = Vec::new();
        while choices.len() < self.flags.samples {
            let wanted = self.flags.samples - choices.len();
            // A server that gives one choice at a time is asked again, with another seed.
            let bits = Stream::of(self.seed, hash(&task.id), choices.len() as u64).bits(0);
            question.body["n"] = json!(wanted);
            question.body["seed"] = json!(bits & 0x7fff_ffff);
            let mut more = self.client.ask(&question, over)?;
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

    /// The sampling fields of a request; the client adds those that would change something where they are not said.
    fn body(&self) -> Value {
        let f = &self.flags;
        let mut body = json!({"max_tokens": f.max_tokens, "temperature": f.temperature, "top_p": f.top_p});
        let optional = [
            ("top_k", f.top_k > 0, json!(f.top_k)),
            ("min_p", f.min_p > 0.0, json!(f.min_p)),
            ("repetition_penalty", f.repetition_penalty != 1.0, json!(f.repetition_penalty)),
            // llama.cpp's name of it.
            ("repeat_penalty", f.repetition_penalty != 1.0, json!(f.repetition_penalty)),
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

/// What is asked as a conversation.
fn conversation(prompt: &r1_records::Prompt) -> Value {
    match prompt {
        r1_records::Prompt::Text(text) => json!([{"role": "user", "content": text}]),
        r1_records::Prompt::Messages(messages) => messages
            .iter()
            .map(|m| json!({"role": m.role, "content": m.content}))
            .collect::<Vec<Value>>()
            .into(),
    }
}

/// What a choice says, after what it thought where the server keeps that apart: in R1's form.
fn text(choice: &Choice) -> String {
    match &choice.reasoning {
        None => choice.text.clone(),
        Some(thought) => format!("<think>\n{}\n</think>\n\n{}", thought.trim(), choice.text.trim_start()),
    }
}

/// The `rollout` section of one choice.
fn section(args: &Args, model: &str, task: &Task, sample: usize, choice: Choice) -> Rollout {
    let given = (!task.prompt_ids.is_empty()).then(|| task.prompt_ids.clone());
    let said = text(&choice);
    let prompt_ids = choice.prompt_ids.or(given);
    let logprobs = choice.logprobs.filter(|_| choice.ids.is_some() && args.draw.temperature == 1.0);
    Rollout {
        sample: Some(sample as u32),
        completion: format!("{}{}", args.draw.prefill, said),
        prompt_ids,
        completion_ids: choice.ids,
        logprobs,
        finish_reason: choice.finish.map(|finish| match finish {
            Finish::Stop => FinishReason::Stop,
            Finish::Length => FinishReason::Length,
        }),
        temperature: Some(args.draw.temperature),
        top_p: Some(args.draw.top_p),
        seed: Some(args.seed.seed),
        policy: Some(model.to_string()),
    }
}
