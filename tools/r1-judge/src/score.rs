//! Reward models: one number a completion. Rows are scored together as the token budget allows; how they fall together changes
//! no bit of a score.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use r1_cli::{Progress, Sink, signals};
use r1_model::batch::Sequence;
use r1_model::template::{Prompt, Template};
use r1_model::{LoadOptions, Packed, Policy, Tokenizer, device};
use r1_records::{Opinion, RecordError, Row, each_round};
use serde_json::{Map, Value};

use crate::Args;
use crate::reading::{self, Part, Text, is_name};

/// Rows that wait at most to be written, so that a pipe flows.
const ROWS: usize = 256;

/// `NAME=DIR`.
pub fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, dir)) if is_name(name) && !dir.is_empty() => Ok((name.to_owned(), PathBuf::from(dir))),
        _ => Err("expected NAME=DIR, the name in small letters, digits and _".to_owned()),
    }
}

/// A reward model, ready to read.
struct Scorer {
    name: String,
    part: Part,
    policy: Policy,
    tokenizer: Tokenizer,
    template: Template,
    tally: Tally,
}

/// What it said of all rows.
#[derive(Default)]
struct Tally {
    scored: usize,
    too_long: usize,
    sum: f64,
    squares: f64,
    lowest: f64,
    highest: f64,
}

/// A sequence to score: prompt and completion in tokens.
type Ids = (Vec<u32>, Vec<u32>);

/// The template that r1-prefer trained with, as it left it in train.json.
fn trained_with(dir: &Path) -> Option<String> {
    let state: Value = serde_json::from_slice(&std::fs::read(dir.join("train.json")).ok()?).ok()?;
    state["command"]["template"].as_str().map(str::to_owned)
}

impl Scorer {
    fn load(args: &Args, name: &str, dir: &Path) -> Result<Scorer> {
        let wrong =
            |e: anyhow::Error| r1_cli::misuse(format!("{e:#}"), "name a reward model (see r1-prefer)");
        let precision = r1_model::network::precision_named(&args.dtype)?;
        device::set(args.machine.device.choose(device::BUILT, device::count, device::open)?);
        let policy = Policy::load_scorer(dir, LoadOptions::frozen(precision)).map_err(wrong)?;
        if let several @ 2.. = policy.config.labels().len() {
            let fact = format!("{}: scores {several} labels, a reward model has one", dir.display());
            return Err(r1_cli::misuse(fact, "name a reward model (see r1-prefer)"));
        }
        let tokenizer = Tokenizer::load(dir).map_err(wrong)?;
        tokenizer.check_fits(&policy.config).map_err(wrong)?;
        let template =
            args.template.clone().or_else(|| trained_with(dir)).unwrap_or_else(|| "auto".to_owned());
        let template = Template::parse(&template, &tokenizer)
            .map_err(|e| r1_cli::misuse(format!("{e:#}"), "give the --template that it was trained with"))?;
        let part = args.on.unwrap_or(if name == "helpful" { Part::Summary } else { Part::Response });
        Ok(Scorer { name: name.to_owned(), part, policy, tokenizer, template, tally: Tally::default() })
    }

    /// What it reads of a row, in tokens. An empty completion is one that ends at once.
    fn ids(&self, prompt: &Prompt, completion: &str) -> Result<Ids> {
        if !completion.is_empty() {
            return self.template.render_example(prompt, completion, &self.tokenizer);
        }
        let eos = self.tokenizer.eos().map(|special| special.id);
        Ok((self.template.render(prompt, &self.tokenizer)?, eos.into_iter().collect()))
    }

    /// Scores of sequences; none for one that the network has no room for.
    ///
    /// # Errors
    /// A device failed.
    fn score(&mut self, all: &[Ids]) -> Result<Vec<Option<f64>>> {
        let most = self.policy.config.max_position_embeddings;
        let fits = |ids: &&Ids| ids.0.len() + ids.1.len() <= most;
        let sequences: Vec<Sequence> =
            all.iter().filter(fits).map(|(prompt, completion)| Sequence { prompt, completion }).collect();
        let mut scores = Vec::new();
        if !sequences.is_empty() {
            scores = self.policy.scores(&Packed::scored(&sequences, self.policy.config.pad_token_id))?;
        }
        let mut scores = scores.into_iter();
        let of = |ids: &Ids| if fits(&ids) { scores.next().map(f64::from) } else { None };
        let scores: Vec<Option<f64>> = all.iter().map(of).collect();
        scores.iter().for_each(|score| self.tally.add(*score));
        Ok(scores)
    }
}

impl Tally {
    fn add(&mut self, score: Option<f64>) {
        let Some(x) = score else {
            self.too_long += 1;
            return;
        };
        (self.lowest, self.highest) =
            if self.scored == 0 { (x, x) } else { (self.lowest.min(x), self.highest.max(x)) };
        self.scored += 1;
        self.sum += x;
        self.squares += x * x;
    }

    fn mean_and_std(&self) -> (f64, f64) {
        let n = self.scored.max(1) as f64;
        let mean = self.sum / n;
        (mean, (self.squares / n - mean * mean).max(0.0).sqrt())
    }
}

/// Runs the mode.
pub fn run(args: &Args) -> Result<()> {
    for (i, (name, _)) in args.score.iter().enumerate() {
        if args.score[..i].iter().any(|(known, _)| known == name) {
            return Err(r1_cli::misuse(format!("--score {name} is given twice"), "give each its own name"));
        }
    }
    let mut scorers: Vec<Scorer> =
        args.score.iter().map(|(name, dir)| Scorer::load(args, name, dir)).collect::<Result<_>>()?;
    let mut metrics = args.metrics.open()?;
    let mut out = args.output.create()?;
    let mut progress = Progress::new("completions", None);
    signals::watch();
    let began = Instant::now();
    let unread = |e| args.input.unread(e);
    let worked = each_round(args.input.open()?, &mut out, unread, Sink::mark, |rows, out| {
        round(args, &mut scorers, rows, out, &mut progress)
    })?;
    if !worked {
        return out.finish();
    }
    progress.finish();
    out.finish()?;
    let seconds = began.elapsed().as_secs_f64();
    for scorer in &scorers {
        tell(scorer, seconds, &mut metrics)?;
    }
    Ok(())
}

/// Scores the rows of one round.
fn round(
    args: &Args,
    scorers: &mut [Scorer],
    rows: impl Iterator<Item = Result<Row, RecordError>>,
    out: &mut Sink,
    progress: &mut Progress,
) -> Result<()> {
    let (mut waiting, mut tokens): (Vec<(Row, Vec<Ids>)>, usize) = (Vec::new(), 0);
    for row in rows {
        let row = row.map_err(|e| args.input.blame(e))?;
        let blame = |e: RecordError| args.input.blame(e);
        let text = Text::of_row(&row).map_err(blame)?;
        let prompt = row.prompt().map_err(blame)?;
        let ids = scorers.iter().map(|s| s.ids(&prompt, text.part(s.part))).collect::<Result<Vec<Ids>>>();
        let ids =
            ids.map_err(|e| blame(row.error(format!("{e:#}"), "mend the row, or give another --template")))?;
        let size: usize = ids.iter().map(|(p, c)| p.len() + c.len()).max().unwrap_or(0);
        if !waiting.is_empty() && (tokens + size > args.micro_tokens as usize || waiting.len() == ROWS) {
            flush(args, scorers, &mut waiting, out, progress)?;
            tokens = 0;
        }
        tokens += size;
        waiting.push((row, ids));
        if signals::stop_requested() {
            return Err(r1_cli::stopped());
        }
    }
    flush(args, scorers, &mut waiting, out, progress)
}

fn flush(
    args: &Args,
    scorers: &mut [Scorer],
    waiting: &mut Vec<(Row, Vec<Ids>)>,
    out: &mut Sink,
    progress: &mut Progress,
) -> Result<()> {
    let mut columns = Vec::new();
    for (i, scorer) in scorers.iter_mut().enumerate() {
        let all: Vec<Ids> = waiting.iter_mut().map(|(_, ids)| std::mem::take(&mut ids[i])).collect();
        columns.push(scorer.score(&all)?);
    }
    for (place, (mut row, _)) in waiting.drain(..).enumerate() {
        let opinions = scorers.iter().zip(&columns).filter_map(|(scorer, scores)| {
            scores[place].map(|score| (scorer.name.clone(), Opinion::Number(score)))
        });
        reading::add(&mut row, opinions.collect()).map_err(|e| args.input.blame(e))?;
        out.line(row.text())?;
        progress.add(1);
    }
    out.flush_group()
}

/// One line on stderr and one of metrics for each reward model.
fn tell(scorer: &Scorer, seconds: f64, metrics: &mut r1_cli::Metrics) -> Result<()> {
    let Scorer { name, tally, .. } = scorer;
    let (mean, std) = tally.mean_and_std();
    let mut line = Map::new();
    line.insert("name".into(), name.as_str().into());
    line.insert("scored".into(), tally.scored.into());
    line.insert("too_long".into(), tally.too_long.into());
    if tally.scored > 0 {
        for (key, value) in [("mean", mean), ("std", std), ("min", tally.lowest), ("max", tally.highest)] {
            line.insert(key.into(), value.into());
        }
    }
    line.insert("seconds".into(), seconds.into());
    metrics.write(&line)?;
    r1_cli::note(&format!(
        "{name}: {} completions scored, mean {mean:.4}, std {std:.4}, from {:.4} to {:.4}",
        tally.scored, tally.lowest, tally.highest
    ));
    if tally.too_long > 0 {
        r1_cli::warn(&format!(
            "{name}: {} completions are longer than the reward model's {} positions and have no score",
            tally.too_long, scorer.policy.config.max_position_embeddings
        ));
    }
    Ok(())
}
