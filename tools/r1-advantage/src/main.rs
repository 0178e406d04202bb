//! Adds group-relative advantages: how much better each completion is than the others of its group.
//!
//! ```sh
//! r1-rollout policy/ < tasks.jsonl | r1-reward --reward accuracy=1 --reward format=0.1 | r1-advantage | r1-grpo policy/ -o after/
//! ```
//!
//! You see rows whose `reward.total` within one `id` is, say, 0.1, 1.1, 1.0, 0.1. It takes the group's mean 0.575 and its
//! standard deviation 0.476 and adds `advantage`: -0.997, 1.102, 0.892, -0.997. The formula is in `estimator.rs`.

mod estimator;
mod run;
mod summary;

use clap::Parser;
use estimator::{Preset, Spread};

/// Adds group-relative advantages: how much better each completion is than the others of its group
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  r1-advantage rewarded.jsonl -o advantaged.jsonl
  r1-rollout policy/ tasks.jsonl | r1-reward | r1-advantage --drop-zero-std --need 8 -o batch.jsonl

Exit codes: 0 done, 1 failed while running, 2 misused or bad input,
3 fewer groups with spread than --need (what was made is written all the same)"
)]
struct Args {
    #[command(flatten)]
    input: r1_cli::Input,
    #[command(flatten)]
    output: r1_cli::Output,
    /// Whose convention to follow; --std and --eps change it
    #[arg(long, value_enum, default_value_t = Preset::R1)]
    preset: Preset,
    /// What to divide by: the population's (ddof0) or the sample's (ddof1) standard deviation of the group, or nothing
    #[arg(long, value_enum)]
    std: Option<Spread>,
    /// What to add to the standard deviation
    #[arg(long, value_name = "X", value_parser = estimator::parse_eps)]
    eps: Option<f64>,
    /// Leave out groups whose rewards are all equal: they teach nothing
    #[arg(long)]
    drop_zero_std: bool,
    /// End with exit code 3 when fewer than N groups have rewards that differ
    #[arg(long, value_name = "N", default_value_t = 0)]
    need: u64,
    /// Accept groups in which sample numbers are missing (rows that were filtered out)
    #[arg(long)]
    partial: bool,
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
