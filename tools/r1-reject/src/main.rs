//! Keeps the completions worth imitating as SFT examples, and says why the others were refused.
//!
//! ```sh
//! r1-reward --reward accuracy=1 --reward language=0.2 < rollouts.jsonl | r1-reject --correct --finished --best 1 | r1-sft policy/ -o after/
//! ```
//!
//! You see several judged completions a prompt. It takes the correct ones that a person can read (`filters.rs`), of these the
//! best of each prompt without repeats (`choose.rs`), lets a person have the last word (`review.rs`), and writes
//! `{"id","prompt","completion",…}`, among them examples of another file (`mix.rs`); every completion that it does not take is
//! counted under the first reason that spoke against it, with a few of each shown (`report.rs`).

mod band;
mod choose;
mod contamination;
mod example;
mod filters;
mod form;
mod majority;
mod minhash;
mod mix;
mod pairs;
mod reading;
mod reason;
mod report;
mod review;
mod run;
mod wanted;

use clap::Parser;
use std::path::PathBuf;

/// Keeps the completions worth imitating as SFT examples, and says why the others were refused
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  r1-reject --correct --finished --best 1 rewarded.jsonl -o examples.jsonl
  r1-reward < rollouts.jsonl | r1-reject --correct --language 0.95 --no-code --near-dup 0.8 --decontaminate test.jsonl \\
      --mix general.jsonl=1/3 --pairs preferences.jsonl --report refused.json > examples.jsonl

A refused completion is counted once, under the first reason in this order: empty, unjudged, wrong, no-majority, judgement, \
unfinished, format, language, long-paragraph, code-block, repetition, length, form, contaminated, pass-rate, duplicate, \
near-duplicate, not-best, dropped. The R1 paper drops mixed languages, long paragraphs and code blocks and gives no \
thresholds; its 10-gram decontamination and its 3:1 mixture (--mix general.jsonl=1/3) are the numbers it does give.

Memory: one group, the ids of all, and what was asked for: 16 bytes an n-gram of --decontaminate, about 4 KB a completion kept \
by --near-dup, the whole file of --reviewed. Nothing else grows with the input."
)]
struct Args {
    #[command(flatten)]
    input: r1_cli::Input,
    #[command(flatten)]
    output: r1_cli::Output,
    #[command(flatten)]
    filters: filters::Filters,
    #[command(flatten)]
    form: form::Rewriting,
    #[command(flatten)]
    against: contamination::Against,
    #[command(flatten)]
    choice: choose::Choice,
    #[command(flatten)]
    mixing: mix::Mixing,
    #[command(flatten)]
    pairing: pairs::Pairing,
    #[command(flatten)]
    review: review::Reviewing,
    /// Write counts and the first three of each reason to FILE as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    skip_bad: r1_cli::SkipBad,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn main() -> std::process::ExitCode {
    r1_cli::main(run::run)
}
