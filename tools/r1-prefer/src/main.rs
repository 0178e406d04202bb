//! r1-prefer: trains a reward model on preference pairs, or on completions labelled right or wrong.
//!
//! ```sh
//! r1-tasks --pairs --family general -n 4000 --split train | r1-prefer base -o helpful --lr 3e-4 --batch-size 32
//! ```
//!
//! You see the loss fall and, with `--eval`, how often the better completion of a held-out pair is the one with the higher
//! score. It takes rows with `prompt`, `chosen` and `rejected` (and perhaps a `margin`), or `prompt`, `completion` and `label`.
//! It puts one output on the policy's network and trains all of it: Bradley-Terry on pairs, binary cross-entropy on labels.
//! What it writes is a `…ForSequenceClassification` directory that transformers loads and `r1-judge --score` reads. A run that
//! was stopped or killed goes on when the same command is given again, and ends with the same bytes.

mod loss;
mod measure;
mod patience;
mod preferences;
mod report;
mod run;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use r1_train::flags::not_negative;
use r1_train::supervised::Flags;

/// Trains a reward model on preference pairs or on labels
#[derive(clap::Parser)]
#[command(
    version,
    after_help = "\
Examples:
  r1-prefer base pairs.jsonl -o helpful --eval held-out.jsonl --metrics helpful.metrics
  r1-tasks --pairs --family general -n 4000 --split train | r1-prefer base -o helpful --lr 3e-4 --batch-size 32 --center 0.01"
)]
struct Args {
    /// Policy directory whose network it begins with; a reward model is trained on
    policy: PathBuf,
    #[command(flatten)]
    input: r1_cli::Input,
    /// Reward model directory to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// How prompts become text: r1-zero, chat, raw, auto (chat where the tokenizer has a template, else r1-zero), or a file
    #[arg(long, default_value = "auto", value_name = "NAME")]
    template: String,
    /// Adds X · mean((chosen + rejected)²) to the loss of pairs, which keeps scores near 0
    #[arg(long, default_value_t = 0.0, value_name = "X", value_parser = not_negative)]
    center: f64,
    /// Takes each pair as two labelled completions: chosen true, rejected false
    #[arg(long)]
    pointwise: bool,
    /// End training after N held-out measurements without a lower log-loss, and keep the reward model of the lowest one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "eval", conflicts_with = "checkpoint_every")]
    patience: Option<u64>,
    #[command(flatten)]
    training: Flags,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn main() -> ExitCode {
    r1_cli::main(run::run)
}
