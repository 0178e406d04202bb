//! Measures pass@1, pass@k and cons@k, with intervals, from rewarded completions, and compares two runs.
//!
//! ```sh
//! r1-rollout policy/ --samples 16 < held-out.jsonl | r1-reward --reward accuracy=1 | r1-eval
//! ```
//!
//! You see rows of several completions a prompt, each with `reward.accuracy`. It takes a completion as correct where that is 1,
//! and prints for each file (and each family of tasks, `--by`) how often one try is correct, one of k tries, and the majority.
//! The formulas are in r1-measure; here is what is read (`read.rs`) and how it is shown (`table.rs`, `contrast.rs`).

mod contrast;
mod read;
mod run;
mod show;
mod table;

use clap::Parser;
use std::path::PathBuf;

/// Measures pass@1, pass@k and cons@k, with intervals, from rewarded completions, and compares two runs
#[derive(Parser)]
#[command(
    version,
    after_help = "The R1 paper's protocol: r1-rollout --temperature 0.6 --top-p 0.95 --max-tokens 32768 --samples 64 (16 for MATH-500, \
8 for LiveCodeBench), zero-shot, no system prompt; pass@1 is the mean over the samples, cons@64 the majority's. Greedy \
decoding is avoided: it repeats itself and varies more.

pass@k is unbiased, 1 - C(n-c,k)/C(n,k). cons@k takes the first k samples; mathematically equal answers vote together, a \
completion without an answer does not vote, of tied answers the first wins (`ties` counts such prompts). Brackets are 95 % \
intervals over prompts (bootstrap; Wilson for one sample a prompt).

Examples:
  r1-eval --paired before.jsonl after.jsonl
  r1-reward --reward accuracy=1 < rollouts.jsonl | r1-eval --by task --k 1,4,16 --json | jq '.\"pass@1\"'"
)]
struct Args {
    /// Files to read, one table row each; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: r1_cli::Output,
    /// The values of k; by default the powers of two up to the smallest group
    #[arg(long, value_name = "K,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    k: Vec<u32>,
    /// A table row for each value of this column (task, family, language …), beside the one for all rows
    #[arg(long, value_name = "COLUMN")]
    by: Option<String>,
    /// Compare each later file with the first, prompt by prompt: difference, paired bootstrap interval, exact sign test
    /// (McNemar's where there is one sample a prompt)
    #[arg(long)]
    paired: bool,
    /// Under the table, the first completion of the first N prompts, file beside file
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["json", "line"])]
    show: usize,
    /// One JSON object for each table row (and each comparison), instead of the table
    #[arg(long)]
    json: bool,
    /// One line of text for each table row (and each comparison), instead of the table
    #[arg(long, conflicts_with = "json")]
    line: bool,
    /// How often prompts are drawn anew for the bootstrap intervals
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    resamples: u32,
    #[command(flatten)]
    seed: r1_cli::Seed,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn main() -> std::process::ExitCode {
    r1_cli::main(run::run)
}
