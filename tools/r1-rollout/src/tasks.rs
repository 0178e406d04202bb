//! From rows to prompts: ids, templates, token ids.

use std::collections::HashMap;
use std::io::BufRead;
use std::iter::Take;
use std::panic::resume_unwind;
use std::path::Path;

use anyhow::{Context, Result};
use r1_model::lora::{self, Saved};
use r1_model::template::Template;
use r1_model::{LoadOptions, Policy, Tokenizer, device};
use r1_records::{Prompt, Reader, Row};

use crate::Args;
use crate::ask::Ask;

/// Tokenizer and template.
pub type Words = (Tokenizer, Template);

/// What every mode needs: the policy and the hash of its weights, and the words' side of it where there is one.
pub struct Loaded {
    /// the policy, to sample
    pub policy: Policy,
    /// `sha256:…` of its weight files, of the adapter's among them
    pub hash: String,
    /// absent in a policy directory without `tokenizer.json`: then only rows with ids can be scored
    pub words: Option<Words>,
}

/// Loads the policy that the arguments name.
pub fn load(args: &Args) -> Result<Loaded> {
    // A tokenizer is built on one thread: beside the weights, not behind them.
    let (policy, words) = std::thread::scope(|scope| {
        let words = scope.spawn(|| args.policy.join("tokenizer.json").exists().then(|| words(args)));
        let policy = weights(args, &args.policy, args.adapter.as_deref());
        (policy, words.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let policy = policy?;
    let loaded = fit(policy, words.transpose()?)?;
    lint(&loaded);
    Ok(loaded)
}

/// Warns of what does not fit together.
pub fn lint(loaded: &Loaded) {
    if let Some((tokenizer, template)) = &loaded.words {
        template.lint(tokenizer, &loaded.policy.config).iter().for_each(|fact| r1_cli::warn(fact));
    }
}

/// A policy, with an adapter over it where one is given, and their name.
pub fn weights(args: &Args, dir: &Path, adapter: Option<&Path>) -> Result<(Policy, String)> {
    if args.micro_tokens == 0 {
        return Err(r1_cli::misuse("--micro-tokens 0 computes nothing", "ask for at least one"));
    }
    let precision = r1_model::network::precision_named(&args.dtype)?;
    if device::chosen().is_none() {
        device::set(args.machine.device.choose(device::BUILT, device::count, device::open)?);
    }
    // The hash reads every byte of the weights once more: beside the loading, not behind it.
    let (policy, hash) = std::thread::scope(|scope| {
        let hash = scope.spawn(|| lora::identify(dir, adapter));
        let policy = Policy::load(dir, LoadOptions::frozen(precision));
        (policy, hash.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let mut policy = policy.map_err(no_policy)?;
    let unfit = |e: anyhow::Error| {
        r1_cli::misuse(format!("{e:#}"), "name an adapter directory that was made for this policy")
    };
    if let Some(dir) = adapter {
        Saved::open(dir, &policy.config).and_then(|saved| saved.attach(&mut policy)).map_err(unfit)?;
    }
    Ok((policy, hash.map_err(unfit)?.policy))
}

/// A policy and its words together, where they fit.
pub fn fit((mut policy, hash): (Policy, String), words: Option<Words>) -> Result<Loaded> {
    if let Some((tokenizer, _)) = &words {
        tokenizer.check_fits(&policy.config).map_err(no_policy)?;
        policy.config.eos_token_ids = tokenizer.stop_ids(&policy.config);
    }
    Ok(Loaded { policy, hash, words })
}

fn no_policy(error: anyhow::Error) -> anyhow::Error {
    r1_cli::misuse(format!("{error:#}"), "name a policy directory (see r1-init)")
}

/// The tokenizer and the template that the arguments name.
pub fn words(args: &Args) -> Result<Words> {
    let tokenizer = Tokenizer::load(&args.policy).map_err(no_policy)?;
    let template = Template::parse(&args.template, &tokenizer).map_err(|e| {
        r1_cli::misuse(
            format!("{e:#}"),
            "see --help for the templates by name, and that a file's path is right",
        )
    })?;
    Ok((tokenizer, template))
}

/// A row and what the policy is given for it.
pub struct Task {
    /// the row with its id filled in
    pub row: Row,
    /// its id
    pub id: String,
    /// what is asked: its prompt, or what `--ask` makes of it
    pub prompt: Prompt,
    /// the rendered template, and what completions are made to begin with; empty where a server renders it
    pub prompt_ids: Vec<u32>,
}

/// Token ids of what is asked about a row.
pub fn prompt_ids(
    row: &Row,
    prompt: &Prompt,
    tokenizer: &Tokenizer,
    template: &Template,
) -> Result<Vec<u32>> {
    let rendered = match row.tools()?.as_slice() {
        [] => template.render(prompt, tokenizer),
        tools => template.with_tools(tools).render(prompt, tokenizer),
    };
    rendered.context("the template cannot render the prompt")
}

/// Reads the tasks of a policy that must have a tokenizer.
pub fn read_with_words(args: &Args, loaded: &Loaded) -> Result<Vec<Task>> {
    read(args, Some(need_words(args, loaded.words.as_ref())?), args.draw.limit)
}

/// The words, without which nothing can be sampled.
pub fn need_words<T>(args: &Args, words: Option<T>) -> Result<T> {
    words.ok_or_else(|| {
        r1_cli::misuse(
            format!("{}: no tokenizer.json", args.policy.display()),
            "sampling needs one; r1-init --tokenizer makes a directory complete",
        )
    })
}

/// Reads all tasks; an id that comes twice is an error that names both lines.
pub fn read(args: &Args, words: Option<&Words>, limit: Option<usize>) -> Result<Vec<Task>> {
    Stream::open(args, words, limit)?.next(usize::MAX, words)
}

/// Tasks as they come.
pub struct Stream<'a> {
    args: &'a Args,
    rows: Take<Reader<Box<dyn BufRead + Send>>>,
    ask: Option<Ask>,
    prefill: Vec<u32>,
}

impl<'a> Stream<'a> {
    /// At the first task, with at most `limit` to come.
    pub fn open(args: &'a Args, words: Option<&Words>, limit: Option<usize>) -> Result<Stream<'a>> {
        let prefill = match words {
            Some((tokenizer, template)) => args.draw.prefill_ids(tokenizer, template)?,
            None => Vec::new(),
        };
        let ask = args.draw.ask.as_deref().map(Ask::load).transpose()?;
        let rows = Reader::new(args.input.open()?).take(limit.unwrap_or(usize::MAX));
        Ok(Stream { args, rows, ask, prefill })
    }

    /// Passes over tasks; gives how many there were of `count`.
    pub fn skip(&mut self, count: usize) -> Result<usize> {
        for passed in 0..count {
            match self.rows.next() {
                None => return Ok(passed),
                Some(row) => drop(row.map_err(|e| self.args.input.blame(e))?),
            }
        }
        Ok(count)
    }

    /// The next `count` tasks, fewer at the end; among them an id that comes twice is an error that names both lines.
    pub fn next(&mut self, count: usize, words: Option<&Words>) -> Result<Vec<Task>> {
        let input = &self.args.input;
        let mut tasks = Vec::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for row in self.rows.by_ref().take(count) {
            let mut row = row.map_err(|e| input.blame(e))?;
            let id = row.group_id().map_err(|e| input.blame(e))?;
            if let Some(first) = seen.insert(id.clone(), row.line()) {
                let error = row.error(
                    format!("the id `{id}` stands on line {first} already"),
                    "give every prompt an id of its own; --samples asks for more completions of one prompt",
                );
                return Err(input.blame(error));
            }
            if row.id().map_err(|e| input.blame(e))?.is_none() {
                row.set("id", &id).map_err(|e| input.blame(e))?;
            }
            let unfit = |e: anyhow::Error| match e.downcast::<r1_records::RecordError>() {
                Ok(e) => input.blame(e),
                Err(e) => input.blame(row.error(format!("{e:#}"), "mend the prompt or the template")),
            };
            let prompt = match &self.ask {
                Some(ask) => ask.about(&row).map_err(unfit)?,
                None => row.prompt().map_err(|e| input.blame(e))?,
            };
            let mut prompt_ids = match words {
                Some((tokenizer, template)) => {
                    prompt_ids(&row, &prompt, tokenizer, template).map_err(unfit)?
                }
                None => Vec::new(),
            };
            prompt_ids.extend_from_slice(&self.prefill);
            tasks.push(Task { row, id, prompt, prompt_ids });
        }
        Ok(tasks)
    }
}
