//! Reads the files and puts their measures together.

use crate::Args;
use crate::contrast::{self, Contrast};
use crate::read::Run;
use crate::show;
use crate::table::{Entry, render};
use r1_cli::Input;
use r1_measure::measure::consensus_at;
use r1_measure::{Measure, Prompt, measured};
use r1_verify::vote;

/// Reads every file, then writes the table, the lines or the JSON.
pub fn run(args: Args) -> anyhow::Result<()> {
    let inputs: Vec<Input> = if args.files.is_empty() {
        vec![Input::default()]
    } else {
        args.files.iter().map(Input::of).collect()
    };
    if args.paired && inputs.len() < 2 {
        return Err(r1_cli::misuse("--paired compares files, and there is one", "name two or more"));
    }
    let mut runs = Vec::new();
    let mut out = None;
    for input in &inputs {
        let reader = input.open()?;
        if out.is_none() {
            out = Some(args.output.create()?);
        }
        runs.push(Run::read(input, reader, args.by.as_deref(), args.show)?);
    }
    let Some(mut out) = out else { return Ok(()) };
    let mut entries = Vec::new();
    for run in &runs {
        entries.push(entry(&args, run, None)?);
        for value in run.values() {
            entries.push(entry(&args, run, Some(value))?);
        }
    }
    let mut contrasts: Vec<Contrast> = Vec::new();
    for later in runs.iter().skip(1).filter(|_| args.paired) {
        let ks = entries[0].ks.clone();
        contrasts.push(contrast::of(&runs[0], later, &ks, args.resamples, args.seed.seed)?);
    }
    let by = args.by.as_deref();
    if args.json {
        for object in entries.iter().map(|entry| entry.json(by)).chain(contrasts.iter().map(Contrast::json)) {
            out.line(&r1_records::to_json(&object)?)?;
        }
    } else if args.line {
        for line in entries.iter().map(Entry::line).chain(contrasts.iter().map(Contrast::line)) {
            out.line(&line)?;
        }
    } else {
        out.put(render(&entries, by, inputs.len() > 1).as_bytes())?;
        for contrast in &contrasts {
            out.put(contrast.table().as_bytes())?;
        }
        let shown: Vec<_> = runs.into_iter().map(|run| run.shown).collect();
        out.put(show::render(&shown).as_bytes())?;
    }
    out.finish()
}

/// One table row.
fn entry(args: &Args, run: &Run, by: Option<&str>) -> anyhow::Result<Entry> {
    let prompts = run.of(by);
    let judged: Vec<&Prompt> = prompts.iter().copied().filter(|p| !p.samples.is_empty()).collect();
    let Some(smallest) = judged.iter().min_by_key(|prompt| prompt.samples.len()) else {
        let place = by.map_or_else(|| run.file.clone(), |value| format!("{}: {value}", run.file));
        return Err(r1_cli::bad_input(
            place,
            "no row has `reward.accuracy`",
            "score the rows with r1-reward --reward accuracy=1",
        ));
    };
    let least = smallest.samples.len();
    if let Some(k) = args.k.iter().find(|k| **k as usize > least) {
        return Err(r1_cli::bad_input(
            &run.file,
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
    // A majority of one or two is no majority, and without answers nobody knows what the wrong completions voted for.
    let answered = judged.iter().flat_map(|prompt| &prompt.samples).any(|sample| sample.answer.is_some());
    let voting: Vec<usize> = ks.iter().copied().filter(|k| answered && *k > 2).collect();
    let measure = |of: Measure, prompts: &[&Prompt]| measured(of, prompts, args.resamples, args.seed.seed);
    let mut shares: Vec<_> = ks.iter().filter_map(|k| measure(Measure::Pass(*k), &judged)).collect();
    shares.extend(voting.iter().filter_map(|k| measure(Measure::Consensus(*k), &judged)));
    let tied = |k: usize| {
        let tie = |p: &&&Prompt| consensus_at(k, &p.samples, vote::same(&p.task)).tied;
        judged.iter().filter(tie).count()
    };
    let mut drawn: Vec<(f32, f32)> = prompts.iter().flat_map(|p| p.drawn.iter().copied()).collect();
    drawn.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    drawn.dedup();
    Ok(Entry {
        file: run.file.clone(),
        by: by.map(str::to_string),
        prompts: judged.len(),
        samples: judged.iter().map(|prompt| prompt.samples.len()).sum(),
        unjudged: prompts.iter().map(|prompt| prompt.unjudged).sum(),
        shares,
        ties: voting.iter().map(|k| (*k, tied(*k))).collect(),
        means: Measure::MEANS.into_iter().filter_map(|of| measure(of, &prompts)).collect(),
        drawn,
        ks,
    })
}
