//! Adds rule rewards to completions: whether the answer is right, whether the form is, and whatever else is asked for.
//!
//! ```sh
//! r1-rollout policy/ < tasks.jsonl | r1-reward --reward accuracy=1 --reward format=0.1 | r1-advantage
//! ```
//!
//! You see rows with `answer` and `rollout.completion`, say `<think>3 * 4 = 12, 2 + 12 = 14</think> <answer>14</answer>` where 14 is
//! expected. It finds the answer, judges it by the row's `task`, and adds
//! `reward: {"total": 1.1, "accuracy": 1.0, "format": 1.0, "answer": "14"}`: raw parts, and their weighted sum.
//! What a part is worth is in `part.rs`, how an answer is judged in `accuracy.rs`; the verifiers are the crate r1-verify.

mod accuracy;
mod chunk;
mod code;
mod family;
mod group;
mod judge;
mod parallel;
mod part;
mod program;
mod report;
mod run;
mod settings;
mod spool;
mod waiting;
mod weights;

use clap::Parser;

/// Adds rule rewards to completions: accuracy, format, language and more, weighted by flags
#[derive(Parser)]
#[command(
    version,
    after_help = "Parts: accuracy format language think_format open_r1_format tag_count special_token_format reasoning_steps cosine_length
soft_overlong repetition group_length; a name of --exec; any other name is a number of the row's `judgement`.
Tasks: math choice exact regex countdown reasoning_gym json code general.

Examples:
  r1-reward --reward accuracy=1 --reward format=0.1 rollouts.jsonl -o rewarded.jsonl
  r1-rollout policy/ tasks.jsonl | r1-reward --preset r1 --why 2> why.txt | r1-advantage

Exit codes: 0 done, 1 failed while running, 2 misused or bad input"
)]
struct Args {
    #[command(flatten)]
    input: r1_cli::Input,
    #[command(flatten)]
    output: r1_cli::Output,
    #[command(flatten)]
    rewards: settings::RewardFlags,
    #[command(flatten)]
    reading: settings::ReadingFlags,
    /// Say on stderr, for each row, what was found, both normal forms, and the rule that decided
    #[arg(long)]
    why: bool,
    #[command(flatten)]
    threads: r1_cli::Threads,
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
