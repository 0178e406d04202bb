//! The flags, the plan that they settle to, and the loop that writes the rows.

use crate::corpus::Example;
use crate::language::Language;
use crate::noise::{Noise, Shares};
use crate::range::{Weighted, share};
use crate::rows::{Plan, Product, Rows};
use crate::settings::{DifficultyFlags, Family, weights};
use crate::split::Side;
use crate::worked::Style;
use clap::{Parser, ValueEnum};
use r1_cli::{Output, Seed, Talk, misuse, note};

/// What stands at the end of `--help`.
const AFTER: &str = "\
Kinds of noise (each is drawn on its own; one that makes no difference is not recorded in `noise`):
  precedence      computed from left to right, against precedence and parentheses
                  (arithmetic and chain-sum only)
  fact            one operation has a wrong result, and the rest goes on from it
                  (arithmetic and chain-sum only)
  slip            the answer is near the right one, but wrong (all families but general)
  no-think        no reasoning: <answer>14</answer>
  no-answer-tag   no tags around the answer: <think>…</think> 14
  bare            the answer alone: 14
  mixed-language  part of the reasoning is in the other language (and so in words)
  gibberish       the reasoning makes no sense and the answer is wrong
  unclosed        the answer ends with <answer> where it should with </answer>
  unkind          a general reply is one that --pairs rejects: of no use, rude, untrue, or willing to harm
The default is precedence=0.5, slip=0.15, no-think=0.2, no-answer-tag=0.15, bare=0.1,
mixed-language=0.1, gibberish=0.05.

Examples:
  r1-tasks --count 256 --operators 2 --split test --unique > test.jsonl
  r1-tasks --corpus --noise default,slip=0.3 --language en=3 --language zh --split train -n 20000 > corpus.jsonl
  r1-tasks --pairs --family general=3 --family arithmetic --split train > preferences.jsonl";

/// Draws tasks with verifiable answers, worked solutions, imitation examples or preference pairs from a seed.
#[derive(Parser, Debug)]
#[command(version, after_help = AFTER)]
pub struct Args {
    /// How many rows
    #[arg(long, short = 'n', default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    #[command(flatten)]
    seed: Seed,
    /// Family with its weight; repeat for a mixture: arithmetic, chain-sum, countdown, comparison, date-time, counting, general [default: arithmetic]
    #[arg(long, value_name = "NAME[=WEIGHT]")]
    family: Vec<Weighted<Family>>,
    /// Language with its weight, en or zh; repeat for a mixture [default: en]
    #[arg(long, value_name = "CODE[=WEIGHT]")]
    language: Vec<Weighted<Language>>,
    /// Which side of the split to draw from
    #[arg(long, value_enum, default_value_t = SplitFlag::All)]
    split: SplitFlag,
    /// Share of all problems that is held out; the same in every run whose splits must not overlap
    #[arg(long, default_value_t = 0.1, value_parser = share, value_name = "SHARE")]
    test_share: f64,
    /// No problem twice (in whatever wording or language)
    #[arg(long)]
    unique: bool,
    /// Use only the first N phrasings of each question; 1 is always the plainest [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    phrasings: Option<u32>,
    /// How the reasoning is told: steps, sentences, or sentences with a check of the answer [default: short]
    #[arg(long, value_enum)]
    style: Option<StyleFlag>,
    /// Share of the rows whose short reasoning has words around the steps [default: 0.2]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    words: Option<f64>,
    /// Write imitation examples {prompt, completion}
    #[arg(long, conflicts_with = "pairs")]
    corpus: bool,
    /// Write preferences {prompt, chosen, rejected}
    #[arg(long)]
    pairs: bool,
    /// Noise of --corpus, or of the rejected side of --pairs: none, default, or KIND=P,… (after a leading `default,`: changes of it) [default: default]
    #[arg(long, value_name = "KIND=P,…")]
    noise: Option<Shares>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    talk: Talk,
    #[command(flatten)]
    difficulty: DifficultyFlags,
}

/// `--split`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SplitFlag {
    /// Problems to train on
    Train,
    /// Held-out problems
    Test,
    /// Both, as they come
    All,
}

/// `--style`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StyleFlag {
    /// 3 * 4 = 12, 2 + 12 = 14
    Short,
    /// Step 1: 3 * 4 = 12. … So the answer is 14.
    Long,
    /// The same, with: Check: 14 - 12 = 2, right.
    Reflect,
}

impl Args {
    /// The plan that the flags ask for. Errors (misuse): flags without effect, or out of range.
    fn settle(&self) -> anyhow::Result<Plan> {
        let families = weights("--family", &self.family, Family::Arithmetic)?;
        let drawn: Vec<Family> = families.iter().map(|family| family.0).collect();
        if self.noise.is_some() && !self.corpus && !self.pairs {
            return Err(misuse("--noise has no effect on tasks", "add --corpus or --pairs"));
        }
        let reasons = drawn.iter().any(|&family| family != Family::General);
        if !reasons && (self.style.is_some() || self.words.is_some()) {
            return Err(misuse(
                "--style and --words have no effect on general requests alone",
                "leave them away",
            ));
        }
        if !reasons && self.pairs && self.noise.is_some() {
            return Err(misuse("--noise has no effect on pairs of general requests alone", "leave it away"));
        }
        let style = match self.style {
            None | Some(StyleFlag::Short) => Style::Short,
            Some(StyleFlag::Long) => Style::Long,
            Some(StyleFlag::Reflect) => Style::Reflect,
        };
        if self.words.is_some() && style != Style::Short {
            return Err(misuse(
                "--words has no effect on whole sentences",
                "leave it away, or take --style short",
            ));
        }
        let side = match self.split {
            SplitFlag::Train => Some(Side::Train),
            SplitFlag::Test => Some(Side::Test),
            SplitFlag::All => None,
        };
        let shares = self.noise.unwrap_or(Shares::DEFAULT);
        Ok(Plan {
            seed: self.seed.seed,
            difficulty: self.difficulty.settle(&drawn)?,
            families,
            languages: weights("--language", &self.language, Language::English)?,
            side,
            test_share: self.test_share,
            unique: self.unique,
            phrasings: self.phrasings.map_or(usize::MAX, |phrasings| phrasings as usize),
            style,
            words: self.words.unwrap_or(0.2),
            product: match (self.corpus, self.pairs) {
                (true, _) => Product::Corpus(shares),
                (_, true) => Product::Pairs(shares),
                _ => Product::Tasks,
            },
        })
    }
}

/// Draws and writes the rows.
pub fn run(args: Args) -> anyhow::Result<()> {
    let plan = args.settle()?;
    let corpus = matches!(plan.product, Product::Corpus(_));
    let mut rows = Rows::new(plan);
    let mut out = args.output.create()?;
    let mut tally = Tally::default();
    for row in 0..args.count {
        let drafted = rows.draw(row)?;
        if let Some(example) = &drafted.example {
            tally.add(example);
        }
        out.line(&r1_records::to_json(&drafted.columns)?)?;
    }
    out.finish()?;
    if corpus && tally.rows > 0 {
        note(&tally.summary());
    }
    Ok(())
}

/// What a corpus turned out to be.
#[derive(Default)]
struct Tally {
    rows: u64,
    correct: u64,
    formed: u64,
    noise: [u64; Noise::ALL.len()],
}

impl Tally {
    fn add(&mut self, example: &Example) {
        self.rows += 1;
        self.correct += u64::from(example.correct);
        self.formed += u64::from(example.formed);
        for &noise in &example.noise {
            self.noise[noise as usize] += 1;
        }
    }

    /// One line: how much is right and well-formed (what a policy that imitates it perfectly would score), and why not more.
    fn summary(&self) -> String {
        let percent = |count: u64| format!("{:.1}%", 100.0 * count as f64 / self.rows as f64);
        let kinds: Vec<String> = Noise::ALL
            .into_iter()
            .zip(self.noise)
            .filter(|kind| kind.1 > 0)
            .map(|(kind, count)| format!("{} {}", kind.name(), percent(count)))
            .collect();
        let kinds = if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") };
        let (correct, formed) = (percent(self.correct), percent(self.formed));
        format!("{} examples: {correct} right, {formed} well-formed; noise: {kinds}", self.rows)
    }
}
