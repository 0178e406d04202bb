//! Which of the forms is asked for, and what it is made from.

use crate::Args;
use crate::chart::chart;
use crate::evaluation;
use crate::page::{Material, page};
use crate::run_directory::RunDirectory;
use crate::series::Metrics;
use crate::sparkline;
use crate::stage_table;
use r1_cli::Input;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Draws a run directory, or files of metrics.
pub fn run(args: Args) -> anyhow::Result<()> {
    let text = args.text || (args.output.path().is_none() && std::io::stdout().is_terminal());
    if let Some(path) = args.output.path().filter(|_| !text) {
        let ending =
            path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        if matches!(&*ending, "png" | "jpg" | "jpeg" | "pdf" | "webp") {
            let fact = format!("{}: {ending} is not written", path.display());
            return Err(r1_cli::misuse(
                fact,
                "write .svg or .html; rsvg-convert or a browser makes the rest",
            ));
        }
    }
    let drawn = match args.paths.as_slice() {
        [directory] if directory.is_dir() => of_run(&args, directory, text)?,
        paths if paths.iter().any(|path| path.is_dir()) => {
            return Err(r1_cli::misuse(
                "a run directory is drawn alone",
                "name one directory, or files of metrics",
            ));
        }
        paths => of_metrics(&args, paths, text)?,
    };
    let mut out = args.output.create()?;
    out.put(drawn.as_bytes())?;
    out.finish()
}

fn of_run(args: &Args, directory: &Path, text: bool) -> anyhow::Result<String> {
    if !args.y.is_empty() {
        return Err(r1_cli::misuse("--y draws files of metrics, not a run", "name STAGE/metrics.jsonl"));
    }
    let run = RunDirectory::open(directory)?;
    let rows = evaluation::read(&run.evaluations)?;
    let read = |path: &Path| {
        let input = Input::of(path);
        // A stage that was killed before its first update has an empty file.
        if path.metadata().is_ok_and(|file| file.len() == 0) {
            return Ok(None);
        }
        Metrics::read(&input, input.open()?, "step").map(Some)
    };
    let metrics: Vec<Option<Metrics>> = run
        .stages
        .iter()
        .map(|stage| stage.metrics.as_deref().map_or(Ok(None), read))
        .collect::<Result<_, _>>()?;
    if !text {
        let beside: Vec<[Option<Metrics>; 2]> = run
            .stages
            .iter()
            .map(|stage| {
                let [sampling, judging] = &stage.beside;
                let read = |file: &Option<PathBuf>| file.as_deref().map_or(Ok(None), read);
                Ok([read(sampling)?, read(judging)?])
            })
            .collect::<anyhow::Result<_>>()?;
        let samples = args.samples as usize;
        return page(&Material { run: &run, rows: &rows, metrics: &metrics, beside: &beside, samples });
    }
    let mut drawn = stage_table::text(&rows);
    for (stage, metrics) in run.stages.iter().zip(&metrics) {
        if let Some(metrics) = metrics {
            drawn.push_str(&format!("\n{} ({})\n", stage.title, stage.folder));
            drawn.push_str(&sparkline::lines(metrics, &worthwhile(metrics)));
        }
    }
    if !run.missing.is_empty() {
        drawn.push_str(&format!("\nnot there: {}\n", run.missing.join(", ")));
    }
    Ok(drawn)
}

/// The metrics that tell how a stage went, as far as they are there.
fn worthwhile(metrics: &Metrics) -> Vec<String> {
    const NAMES: [&str; 13] = [
        "reward",
        "rewards/accuracy/mean",
        "rewards/format/mean",
        "rewards/language/mean",
        "completions/mean_length",
        "kl",
        "entropy",
        "clip_ratio/region_mean",
        "frac_reward_zero_std",
        "grad_norm",
        "loss",
        "eval_loss",
        "tokens_per_second",
    ];
    NAMES.iter().filter(|name| !metrics.get(name).is_empty()).map(|name| (*name).to_string()).collect()
}

fn of_metrics(args: &Args, paths: &[PathBuf], text: bool) -> anyhow::Result<String> {
    let inputs: Vec<Input> =
        if paths.is_empty() { vec![Input::default()] } else { paths.iter().map(Input::of).collect() };
    if args.y.is_empty() && !text {
        return Err(r1_cli::misuse("no metric to draw", "name some with --y, or ask for --text"));
    }
    let mut files = Vec::new();
    for input in &inputs {
        let metrics = Metrics::read(input, input.open()?, &args.x)?;
        if let Some(name) = args.y.iter().find(|name| metrics.get(name).is_empty()) {
            let known = metrics.names().join(", ");
            return Err(r1_cli::bad_input(
                input.name(),
                format!("no number is called `{name}`"),
                format!("it has {known}"),
            ));
        }
        files.push((input.name(), metrics));
    }
    if text {
        let mut drawn = String::new();
        for (name, metrics) in &files {
            let names = if !args.y.is_empty() {
                args.y.clone()
            } else if worthwhile(metrics).is_empty() {
                metrics.names().to_vec()
            } else {
                worthwhile(metrics)
            };
            drawn.push_str(&format!(
                "{name}, {} lines\n{}",
                metrics.lines,
                sparkline::lines(metrics, &names)
            ));
        }
        return Ok(drawn);
    }
    let mut curves: Vec<(String, &[(f64, f64)])> = Vec::new();
    for (file, metrics) in &files {
        for name in &args.y {
            let label = if files.len() > 1 { format!("{file}: {name}") } else { name.clone() };
            curves.push((label, metrics.get(name)));
        }
    }
    let title = args.y.join(", ");
    chart(&title, &args.x, &curves).ok_or_else(|| r1_cli::misuse("nothing to draw", "name metrics with --y"))
}
