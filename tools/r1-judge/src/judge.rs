//! Generative judges: rows become questions, replies become verdicts, verdicts become opinions.
//!
//! A completion is asked about alone, or compared. What is compared: `chosen` with `rejected` where a row has them (the number
//! then speaks for `chosen`); else the completions of a group, each with the next one and the last with the first, so that each
//! stands in two comparisons (one where the group has two). Half of a pair's questions show the sides swapped.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use r1_cli::{Progress, Sink, signals};
use r1_records::{Groups, Opinion, RecordError, Row, each_round};

use crate::Args;
use crate::agreement::{Agreement, Votes};
use crate::endpoint::Endpoint;
use crate::local::Local;
use crate::prompt::PromptFile;
use crate::reading::{self, Text, is_name, question};

/// Who is asked, and how.
#[derive(clap::Args)]
pub struct Flags {
    /// Policy directory that is asked as a judge
    #[arg(long, value_name = "DIR", conflicts_with_all = ["endpoint", "score"])]
    pub judge: Option<PathBuf>,
    /// What is asked: correctness, readability, comparison, or a prompt file
    #[arg(long, value_name = "NAME", conflicts_with = "score")]
    pub prompt: Option<String>,
    /// What the opinion is called in `judgement` [default: what the prompt file says]
    #[arg(long, value_name = "NAME", requires = "prompt")]
    pub name: Option<String>,
    /// Times each question is asked; a pair's sides are swapped in half of them [default: 4 for pairs (the paper), else 1]
    #[arg(long, value_name = "N", value_parser = positive, requires = "prompt")]
    pub repeats: Option<usize>,
    /// Write a readable reply beside the opinion, as NAME_why
    #[arg(long, requires = "prompt")]
    pub why: bool,
    /// The judge's temperature
    #[arg(long, value_name = "T", default_value_t = 0.6, requires = "prompt")]
    pub temperature: f32,
    /// The judge's share of the probability
    #[arg(long, value_name = "P", default_value_t = 0.95, requires = "prompt")]
    pub top_p: f32,
    /// Longest reply in tokens
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = positive, requires = "prompt")]
    pub max_tokens: usize,
    /// Memory for keys and values of a local judge, in MiB [default: 1024; on a GPU nine tenths of what is free there beside the
    /// weights and a step]
    #[arg(long, value_name = "MIB", value_parser = positive, requires = "judge")]
    pub kv_memory: Option<usize>,
    /// Rows (or, in comparisons, rows of whole groups) that are judged together before they are written
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive, requires = "prompt")]
    pub batch: usize,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_string()),
        Ok(n) => Ok(n),
        Err(_) => Err("not a whole number".to_string()),
    }
}

/// What the judge is asked, and how often. The key names its randomness.
#[derive(Clone)]
pub struct Question {
    pub key: String,
    pub text: String,
    pub times: usize,
}

/// The replies to a question; none where there was no room to ask it.
pub type Replies = Option<Vec<String>>;

/// A judge.
enum Judge {
    Local(Box<Local>),
    Endpoint(Endpoint),
}

/// Something that the judge is asked about.
struct Matter {
    /// the row that the verdict speaks for
    row: usize,
    /// the row that it speaks against, where another row is compared
    against: Option<usize>,
    /// the first is known to be better
    known: bool,
    /// how often it is asked about in the plain order (one question), then swapped (another), 0 for no question
    times: [usize; 2],
}

/// Everything settled before the first row.
struct Bench<'a> {
    args: &'a Args,
    prompt: PromptFile,
    name: String,
    repeats: usize,
    judge: Judge,
    agreement: Agreement,
}

/// Runs the mode.
pub fn run(args: &Args) -> Result<()> {
    let ask = &args.ask;
    let Some(flag) = &ask.prompt else { unreachable!("clap asks for --score or --prompt") };
    let prompt = PromptFile::load(flag)?;
    let name = ask.name.clone().unwrap_or_else(|| prompt.name.clone());
    if !is_name(&name) {
        return Err(r1_cli::misuse(format!("--name {name}: not a name"), "use small letters, digits and _"));
    }
    let judge = match (&ask.judge, &args.server.endpoint) {
        (Some(dir), _) => Judge::Local(Box::new(Local::load(args, dir)?)),
        (None, Some(url)) => Judge::Endpoint(Endpoint::connect(args, url)?),
        (None, None) => {
            return Err(r1_cli::misuse("--prompt needs a judge", "give --judge DIR or --endpoint URL"));
        }
    };
    let repeats = ask.repeats.unwrap_or(if prompt.pair { 4 } else { 1 });
    let agreement = Agreement::new(prompt.pair);
    let mut bench = Bench { args, prompt, name, repeats, judge, agreement };
    let mut metrics = args.metrics.open()?;
    let mut out = args.output.create()?;
    let mut progress = Progress::new("rows", None);
    signals::watch();
    let began = Instant::now();
    let unread = |e| args.input.unread(e);
    let worked = each_round(args.input.open()?, &mut out, unread, Sink::mark, |rows, out| {
        bench.round(rows, out, &mut progress)
    })?;
    if !worked {
        return out.finish();
    }
    progress.finish();
    out.finish()?;
    let mut line = bench.agreement.line(&bench.name);
    line.insert("seconds".into(), began.elapsed().as_secs_f64().into());
    metrics.write(&line)?;
    r1_cli::note(&bench.agreement.text(&bench.name));
    Ok(())
}

impl Bench<'_> {
    /// Judges the rows of one round.
    fn round(
        &mut self,
        rows: impl Iterator<Item = Result<Row, RecordError>>,
        out: &mut Sink,
        progress: &mut Progress,
    ) -> Result<()> {
        let mut waiting: Vec<Vec<Row>> = Vec::new();
        let mut count = 0;
        // Whole groups where completions are compared, else row by row.
        let units: Box<dyn Iterator<Item = Result<Vec<Row>, RecordError>>> = match self.prompt.pair {
            true => Box::new(Groups::new(rows).map(|group| group.map(|g| g.rows))),
            false => Box::new(rows.map(|row| row.map(|row| vec![row]))),
        };
        for unit in units {
            let unit = unit.map_err(|e| self.args.input.blame(e))?;
            count += unit.len();
            waiting.push(unit);
            if count >= self.args.ask.batch {
                self.flush(&mut waiting, out, progress)?;
                count = 0;
            }
        }
        self.flush(&mut waiting, out, progress)
    }

    /// Judges what waits, and writes it.
    fn flush(&mut self, waiting: &mut Vec<Vec<Row>>, out: &mut Sink, progress: &mut Progress) -> Result<()> {
        let (mut questions, mut matters) = (Vec::new(), Vec::new());
        let mut rows: Vec<Row> = Vec::new();
        for unit in waiting.drain(..) {
            let from = rows.len();
            rows.extend(unit);
            self.ask_about(&rows[from..], from, &mut questions, &mut matters).map_err(|e| match e
                .downcast::<RecordError>()
            {
                Ok(e) => self.args.input.blame(e),
                Err(e) => e,
            })?;
        }
        let replies = match &self.judge {
            Judge::Local(judge) => judge.ask(&questions)?,
            Judge::Endpoint(judge) => judge.ask(&questions)?,
        };
        let mut opinions: Vec<(Vec<f64>, Option<String>)> = rows.iter().map(|_| Default::default()).collect();
        let mut replies = replies.into_iter();
        for matter in matters {
            let own: Vec<Replies> =
                matter.times.iter().filter(|n| **n > 0).map(|_| replies.next().flatten()).collect();
            if own.iter().any(Option::is_none) {
                self.agreement.unasked("too long");
                continue;
            }
            let (votes, why) = self.count(&matter, own);
            self.agreement.add(&votes, matter.known);
            if let Some(mean) = votes.mean() {
                opinions[matter.row].0.push(mean);
                if let Some(other) = matter.against {
                    opinions[other].0.push(-mean);
                }
                opinions[matter.row].1 = opinions[matter.row].1.take().or(why);
            }
        }
        for (mut row, (numbers, why)) in rows.into_iter().zip(opinions) {
            let mut added = Vec::new();
            if !numbers.is_empty() {
                let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
                added.push((self.name.clone(), Opinion::Number(mean)));
                added.extend(why.map(|text| (format!("{}_why", self.name), Opinion::Text(text))));
            }
            reading::add(&mut row, added).map_err(|e| self.args.input.blame(e))?;
            out.line(row.text())?;
            progress.add(1);
        }
        out.flush_group()
    }

    /// Reads the replies to a matter's questions; a readable one is kept where `--why` asks for it.
    fn count(&self, matter: &Matter, replies: Vec<Replies>) -> (Votes, Option<String>) {
        let mut votes = Votes::default();
        let mut kept = None;
        let orders = [1.0, -1.0].into_iter().zip(matter.times).filter(|(_, times)| *times > 0);
        for ((sign, _), texts) in orders.zip(replies) {
            for text in texts.unwrap_or_default() {
                match self.prompt.verdicts.read(&text) {
                    None => votes.unreadable += 1,
                    Some(value) => {
                        let list = if sign > 0.0 { &mut votes.straight } else { &mut votes.swapped };
                        list.push(sign * value);
                        kept = kept.or_else(|| self.args.ask.why.then(|| text.trim().to_owned()));
                    }
                }
            }
        }
        (votes, kept)
    }

    /// The questions about one unit of rows; the first of them has number `from` in the batch.
    fn ask_about(
        &mut self,
        rows: &[Row],
        from: usize,
        questions: &mut Vec<Question>,
        matters: &mut Vec<Matter>,
    ) -> Result<()> {
        let of_pair = [self.repeats.div_ceil(2), self.repeats / 2];
        if !self.prompt.pair {
            for (i, row) in rows.iter().enumerate() {
                let text = Text::of_row(row)?;
                let matter = Matter { row: from + i, against: None, known: false, times: [self.repeats, 0] };
                self.question(row, &sample(row, i)?, &text, None, matter, questions, matters)?;
            }
            return Ok(());
        }
        if rows.iter().any(|row| row.has("chosen")) {
            for (i, row) in rows.iter().enumerate() {
                let pair = row.preference()?;
                let (better, worse) = (Text::of(&pair.chosen, false), Text::of(&pair.rejected, false));
                let matter = Matter { row: from + i, against: None, known: true, times: of_pair };
                self.question(row, &i.to_string(), &better, Some(&worse), matter, questions, matters)?;
            }
            return Ok(());
        }
        let texts: Vec<Text> = rows.iter().map(Text::of_row).collect::<Result<_, _>>()?;
        match rows.len() {
            1 => self.agreement.unasked("alone in its group"),
            n => {
                for i in 0..if n == 2 { 1 } else { n } {
                    let j = (i + 1) % n;
                    let matter =
                        Matter { row: from + i, against: Some(from + j), known: false, times: of_pair };
                    let key = format!("{}-{}", sample(&rows[i], i)?, sample(&rows[j], j)?);
                    self.question(&rows[i], &key, &texts[i], Some(&texts[j]), matter, questions, matters)?;
                }
            }
        }
        Ok(())
    }

    fn question(
        &mut self,
        row: &Row,
        sample: &str,
        first: &Text,
        second: Option<&Text>,
        matter: Matter,
        questions: &mut Vec<Question>,
        matters: &mut Vec<Matter>,
    ) -> Result<()> {
        let answer = row.answer()?;
        if self.prompt.needs_answer && answer.is_none() {
            self.agreement.unasked("no reference answer");
            return Ok(());
        }
        let asked = match row.preference() {
            Ok(pair) if matter.known => question(&pair.prompt),
            _ => question(&row.prompt()?),
        };
        let key = format!("{}#{sample}#{}", row.group_id()?, self.name);
        let [straight, swapped] = matter.times;
        let fill = |a, b| self.prompt.fill(&asked, answer.as_deref(), a, b);
        questions.push(Question { key: key.clone(), text: fill(first, second)?, times: straight });
        if let (Some(second), 1..) = (second, swapped) {
            let text = fill(second, Some(first))?;
            questions.push(Question { key: format!("{key}#swapped"), text, times: swapped });
        }
        matters.push(matter);
        Ok(())
    }
}

/// Which sample of its group a row is: as it says, else by its place.
fn sample(row: &Row, place: usize) -> Result<String, RecordError> {
    Ok(row.outline()?.sample.map_or_else(|| format!("at {place}"), |n| n.to_string()))
}
