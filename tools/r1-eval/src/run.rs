//! Reads the files and puts their measures together.

use crate::Args;
use crate::interval::{bootstrap, wilson};
use crate::measure::{Sample, consensus_at, pass_at};
use crate::show::{self, Shown};
use crate::table::{Entry, Measured, render};
use r1_cli::Input;
use r1_records::{FinishReason, Groups, Reader, RecordError, Row};

/// Everything one prompt's completions tell.
#[derive(Debug, Default)]
struct Prompt {
    id: String,
    by: Option<String>,
    samples: Vec<Sample>,
    unjudged: usize,
    tokens: Vec<f64>,
    characters: Vec<f64>,
    finished: Vec<f64>,
    format: Vec<f64>,
    language: Vec<f64>,
    totals: Vec<f64>,
}

/// Reads every file, then writes the table or the JSON lines.
pub fn run(args: Args) -> anyhow::Result<()> {
    let inputs: Vec<Input> = if args.files.is_empty() {
        vec![Input::default()]
    } else {
        args.files.iter().map(Input::of).collect()
    };
    let mut entries = Vec::new();
    let mut shown = Vec::new();
    let mut out = None;
    for input in &inputs {
        let reader = Reader::new(input.open()?);
        if out.is_none() {
            out = Some(args.output.create()?);
        }
        let mut prompts = Vec::new();
        let mut faces = Shown { file: input.name(), rows: Vec::new() };
        for group in Groups::new(reader) {
            let group = group.map_err(|error| input.blame(error))?;
            group.check(true).map_err(|error| input.blame(error))?;
            if faces.rows.len() < args.show {
                show::take(&mut faces, &group).map_err(|error| input.blame(error))?;
            }
            prompts.push(
                prompt(&group.id, &group.rows, args.by.as_deref()).map_err(|error| input.blame(error))?,
            );
        }
        shown.push(faces);
        let all: Vec<&Prompt> = prompts.iter().collect();
        entries.push(entry(&args, input, None, &all)?);
        let mut values: Vec<&str> = prompts.iter().filter_map(|prompt| prompt.by.as_deref()).collect();
        values.sort_unstable();
        values.dedup();
        for value in values {
            let some: Vec<&Prompt> =
                prompts.iter().filter(|prompt| prompt.by.as_deref() == Some(value)).collect();
            entries.push(entry(&args, input, Some(value), &some)?);
        }
    }
    let Some(mut out) = out else { return Ok(()) };
    if args.json {
        for entry in &entries {
            out.line(&r1_records::to_json(&entry.json(args.by.as_deref()))?)?;
        }
    } else {
        out.put(render(&entries, args.by.as_deref(), inputs.len() > 1).as_bytes())?;
        out.put(show::render(&shown).as_bytes())?;
    }
    out.finish()
}

/// Reads the completions of one prompt.
fn prompt(id: &str, rows: &[Row], by: Option<&str>) -> Result<Prompt, RecordError> {
    let mut prompt = Prompt { id: id.to_string(), ..Prompt::default() };
    for row in rows {
        let reward = row.reward()?;
        match reward.part("accuracy") {
            Some(accuracy) => {
                prompt.samples.push(Sample { correct: accuracy == 1.0, answer: reward.answer.clone() })
            }
            None => prompt.unjudged += 1,
        }
        prompt.format.extend(reward.part("format"));
        prompt.language.extend(reward.part("language"));
        prompt.totals.extend(reward.total);
        if row.has("rollout") {
            let rollout = row.outline()?;
            prompt.tokens.extend(rollout.completion_tokens.map(|count| count as f64));
            prompt.characters.push(rollout.completion.chars().count() as f64);
            prompt
                .finished
                .extend(rollout.finish_reason.map(|why| f64::from(u8::from(why == FinishReason::Stop))));
        }
        if let Some(column) = by {
            let value = column_value(row, column)?;
            match &prompt.by {
                Some(known) if *known != value => {
                    let fact = format!("`{column}` differs within the group `{id}`");
                    return Err(row.error_in(column, fact, "choose a column that belongs to the prompt"));
                }
                _ => prompt.by = Some(value),
            }
        }
    }
    Ok(prompt)
}

/// A column as a table label: a string as it is, anything else as its JSON; `task` as the row's verifier, also by default.
fn column_value(row: &Row, column: &str) -> Result<String, RecordError> {
    match row.raw(column) {
        Some(raw) if raw.starts_with('"') => row.require(column),
        Some(raw) => Ok(raw.to_string()),
        None if column == "task" => row.task(),
        None => Err(row.error(format!("no `{column}`"), "--by needs a column that every row has")),
    }
}

/// One table row.
fn entry(args: &Args, input: &Input, by: Option<&str>, prompts: &[&Prompt]) -> anyhow::Result<Entry> {
    let judged: Vec<&Prompt> = prompts.iter().copied().filter(|prompt| !prompt.samples.is_empty()).collect();
    let Some(smallest) = judged.iter().min_by_key(|prompt| prompt.samples.len()) else {
        let place = by.map_or_else(|| input.name(), |value| format!("{}: {value}", input.name()));
        return Err(r1_cli::bad_input(
            place,
            "no row has `reward.accuracy`",
            "score the rows with r1-reward --reward accuracy=1",
        ));
    };
    let least = smallest.samples.len();
    if let Some(k) = args.k.iter().find(|k| **k as usize > least) {
        return Err(r1_cli::bad_input(
            input.name(),
            format!("`{}` has {least} judged completions, too few for k = {k}", smallest.id),
            "sample more, or ask for a smaller k",
        ));
    }
    let mut ks: Vec<usize> = args.k.iter().map(|k| *k as usize).collect();
    if ks.is_empty() {
        ks = std::iter::successors(Some(1), |k| Some(2 * k)).take_while(|k| *k <= least).collect();
    }
    ks.sort_unstable();
    ks.dedup();

    let samples: usize = judged.iter().map(|prompt| prompt.samples.len()).sum();
    let measure = |name: String, of: &dyn Fn(&Prompt) -> f64| {
        let values: Vec<f64> = judged.iter().map(|prompt| of(prompt)).collect();
        let value = values.iter().sum::<f64>() / values.len() as f64;
        let wilson = (name == "pass@1").then(|| wilson(value, samples));
        Measured { bootstrap: bootstrap(&values, args.resamples, args.seed.seed), name, value, wilson }
    };
    let mut measured = Vec::new();
    for k in &ks {
        let correct = |prompt: &Prompt| prompt.samples.iter().filter(|sample| sample.correct).count();
        measured
            .push(measure(format!("pass@{k}"), &|prompt| pass_at(*k, prompt.samples.len(), correct(prompt))));
    }
    // A majority of one or two is no majority, and without answers nobody knows what the wrong completions voted for.
    let answered = judged.iter().flat_map(|prompt| &prompt.samples).any(|sample| sample.answer.is_some());
    for k in ks.iter().filter(|k| answered && **k > 2) {
        measured.push(measure(format!("cons@{k}"), &|prompt| consensus_at(*k, &prompt.samples)));
    }
    let mut means = Vec::new();
    let mut add = |name: &'static str, of: &dyn Fn(&Prompt) -> &[f64]| {
        let values: Vec<f64> = prompts.iter().flat_map(|prompt| of(prompt).iter().copied()).collect();
        if !values.is_empty() {
            means.push((name, values.iter().sum::<f64>() / values.len() as f64));
        }
    };
    add("format", &|prompt| &prompt.format);
    add("language", &|prompt| &prompt.language);
    add("finished", &|prompt| &prompt.finished);
    add("tokens", &|prompt| &prompt.tokens);
    add("characters", &|prompt| &prompt.characters);
    add("reward", &|prompt| &prompt.totals);
    let unjudged = prompts.iter().map(|prompt| prompt.unjudged).sum();
    let by = by.map(str::to_string);
    Ok(Entry { file: input.name(), by, prompts: judged.len(), samples, unjudged, measured, means })
}
