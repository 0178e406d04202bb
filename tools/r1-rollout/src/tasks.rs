//! From rows to prompts: ids, templates, token ids.

use std::collections::HashMap;

use anyhow::{Context, Result};
use r1_model::lora::{self, Saved};
use r1_model::template::Template;
use r1_model::{LoadOptions, Policy, Tokenizer};
use r1_records::{Reader, Row};

use crate::Args;

/// What every mode needs: the policy and the hash of its weights, and the words' side of it where there is one.
pub struct Loaded {
    /// the policy, to sample
    pub policy: Policy,
    /// `sha256:…` of its weight files, of the adapter's among them
    pub hash: String,
    /// absent in a policy directory without `tokenizer.json`: then only rows with ids can be scored
    pub words: Option<(Tokenizer, Template)>,
}

/// Loads the policy that the arguments name.
pub fn load(args: &Args) -> Result<Loaded> {
    let bad = |e: anyhow::Error| r1_cli::misuse(format!("{e:#}"), "name a policy directory (see r1-init)");
    if args.micro_tokens == 0 {
        return Err(r1_cli::misuse("--micro-tokens 0 computes nothing", "ask for at least one"));
    }
    let precision = r1_model::network::precision_named(&args.dtype)?;
    let adapter = args.adapter.as_deref();
    // The hash reads every byte of the weights once more: beside the loading, not behind it.
    let (policy, hash) = std::thread::scope(|scope| {
        let hash = scope.spawn(|| lora::identify(&args.policy, adapter));
        let policy = Policy::load(&args.policy, LoadOptions::frozen(precision));
        (policy, hash.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let mut policy = policy.map_err(bad)?;
    let words = if args.policy.join("tokenizer.json").exists() {
        let (tokenizer, template) = words(args)?;
        tokenizer.check_fits(&policy.config).map_err(bad)?;
        for fact in template.lint(&tokenizer, &policy.config) {
            r1_cli::warn(&fact);
        }
        policy.config.eos_token_ids = tokenizer.stop_ids(&policy.config);
        Some((tokenizer, template))
    } else {
        None
    };
    let unfit = |e: anyhow::Error| {
        r1_cli::misuse(format!("{e:#}"), "name an adapter directory that was made for this policy")
    };
    if let Some(dir) = adapter {
        Saved::open(dir, &policy.config).and_then(|saved| saved.attach(&mut policy)).map_err(unfit)?;
    }
    Ok(Loaded { policy, hash: hash.map_err(unfit)?.policy, words })
}

/// The tokenizer and the template that the arguments name.
pub fn words(args: &Args) -> Result<(Tokenizer, Template)> {
    let tokenizer = Tokenizer::load(&args.policy)
        .map_err(|e| r1_cli::misuse(format!("{e:#}"), "name a policy directory (see r1-init)"))?;
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
    /// the rendered template, and what completions are made to begin with; empty where a server renders it
    pub prompt_ids: Vec<u32>,
}

/// Token ids of a row's prompt.
pub fn prompt_ids(row: &Row, tokenizer: &Tokenizer, template: &Template) -> Result<Vec<u32>> {
    template.render(&row.prompt()?, tokenizer).context("the template cannot render the prompt")
}

/// Reads the tasks of a policy that must have a tokenizer.
pub fn read_with_words(args: &Args, loaded: &Loaded) -> Result<Vec<Task>> {
    if loaded.words.is_none() {
        return Err(r1_cli::misuse(
            format!("{}: no tokenizer.json", args.policy.display()),
            "sampling needs one; r1-init --tokenizer makes a directory complete",
        ));
    }
    read(args, loaded.words.as_ref(), args.draw.limit)
}

/// Reads all tasks; an id that comes twice is an error that names both lines.
pub fn read(args: &Args, words: Option<&(Tokenizer, Template)>, limit: Option<usize>) -> Result<Vec<Task>> {
    let prefill = match words {
        Some((tokenizer, template)) => args.draw.prefill_ids(tokenizer, template)?,
        None => Vec::new(),
    };
    let mut tasks = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for row in Reader::new(args.input.open()?).take(limit.unwrap_or(usize::MAX)) {
        let mut row = row.map_err(|e| args.input.blame(e))?;
        let id = row.group_id().map_err(|e| args.input.blame(e))?;
        if let Some(first) = seen.insert(id.clone(), row.line()) {
            let error = row.error(
                format!("the id `{id}` stands on line {first} already"),
                "give every prompt an id of its own; --samples asks for more completions of one prompt",
            );
            return Err(args.input.blame(error));
        }
        if row.id().map_err(|e| args.input.blame(e))?.is_none() {
            row.set("id", &id).map_err(|e| args.input.blame(e))?;
        }
        let unfit = |e: anyhow::Error| match e.downcast::<r1_records::RecordError>() {
            Ok(e) => args.input.blame(e),
            Err(e) => args.input.blame(row.error(format!("{e:#}"), "mend the prompt or the template")),
        };
        let mut prompt_ids = match words {
            Some((tokenizer, template)) => prompt_ids(&row, tokenizer, template).map_err(unfit)?,
            None => row.prompt().map(|_| Vec::new()).map_err(|e| args.input.blame(e))?,
        };
        prompt_ids.extend_from_slice(&prefill);
        tasks.push(Task { row, id, prompt_ids });
    }
    Ok(tasks)
}
