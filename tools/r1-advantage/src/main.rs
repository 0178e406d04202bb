//! Adds group-relative advantages: how much better each completion is than the others of its group.
//!
//! ```sh
//! r1-rollout policy/ < tasks.jsonl | r1-reward --reward accuracy=1 --reward format=0.1 | r1-advantage | r1-grpo policy/ -o after/
//! ```
//!
//! You see rows whose `reward.total` within one `id` is, say, 0.1, 1.1, 1.0, 0.1. It takes the group's mean 0.575 and its
//! standard deviation 0.476 and adds `advantage`: -0.997, 1.102, 0.892, -0.997. Whose formula: `convention.rs`.

mod convention;
mod estimator;
mod filter;
mod penalty;
mod run;
mod summary;

use clap::Parser;

/// Adds group-relative advantages: how much better each completion is than the others of its group
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  r1-advantage rewarded.jsonl -o advantaged.jsonl
  r1-rollout policy/ tasks.jsonl | r1-reward | r1-advantage --drop-zero-std --need 8 -o batch.jsonl
  r1-advantage --preset gdpo --part accuracy=1 --part format=0.1 --pass-rate 0.01..0.99 < rewarded.jsonl

Exit codes: 0 done, 1 failed while running, 2 misused or bad input,
3 fewer groups with spread were kept than --need (what was made is written all the same)"
)]
struct Args {
    #[command(flatten)]
    input: r1_cli::Input,
    #[command(flatten)]
    output: r1_cli::Output,
    #[command(flatten)]
    convention: convention::Flags,
    #[command(flatten)]
    penalty: penalty::Penalty,
    #[command(flatten)]
    filter: filter::Filter,
    #[command(flatten)]
    skip_bad: r1_cli::SkipBad,
    #[command(flatten)]
    metrics: r1_cli::MetricsFile,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn main() -> std::process::ExitCode {
    r1_cli::main(run::run)
}
