//! Keeps the completions worth imitating as SFT examples, and says why the others were refused.
//!
//! ```sh
//! r1-reward --reward accuracy=1 --reward language=0.2 < rollouts.jsonl | r1-reject --correct --finished --best 1 | r1-sft policy/ -o after/
//! ```
//!
//! You see several judged completions a prompt. It takes the correct ones that a person can read (`filters.rs`), of these the
//! best of each prompt without repeats (`choose.rs`), and writes `{"id","prompt","completion",…}`; every completion that it
//! does not take is counted under the first reason that spoke against it, with one specimen each (`report.rs`).

mod band;
mod choose;
mod example;
mod filters;
mod report;
mod run;

use band::Band;
use clap::Parser;
use std::path::PathBuf;

/// Keeps the completions worth imitating as SFT examples, and says why the others were refused
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  r1-reject --correct --finished --best 1 rewarded.jsonl -o examples.jsonl
  r1-reward < rollouts.jsonl | r1-reject --correct --language 0.95 --no-code --pass-rate 0.1..0.9 --report refused.json

A refused completion is counted once, under the first reason in this order: empty, unjudged, wrong, unfinished, format,
language, long-paragraph, code-block, repetition, length, pass-rate, duplicate, not-best."
)]
struct Args {
    #[command(flatten)]
    input: r1_cli::Input,
    #[command(flatten)]
    output: r1_cli::Output,
    #[command(flatten)]
    filters: filters::Filters,
    /// Only prompts whose share of correct completions lies in the band: neither hopeless nor learned already
    #[arg(long, value_name = "LOW..HIGH")]
    pass_rate: Option<Band>,
    /// Of identical completions of a prompt, only the first
    #[arg(long)]
    dedup: bool,
    /// Of each prompt, only the N best: by reward, then the shorter, then the earlier
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    best: Option<u32>,
    /// Write counts and one specimen of each reason to FILE as JSON
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
