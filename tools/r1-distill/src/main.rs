//! r1-distill: teaches a student what a teacher wrote.
//!
//! ```sh
//! r1-rollout teacher tasks.jsonl --samples 4 | r1-reward | r1-distill student - -o student-1 --correct-only
//! ```
//!
//! ```sh
//! r1-rollout student tasks.jsonl --samples 4 | r1-rollout teacher --score teacher | r1-distill student - -o student-1 --loss policy-gradient
//! ```
//!
//! You see how many rows were used, how many refused and why, and then the loss. It takes the teacher's rows, as text:
//! `prompt` with `rollout.completion` (r1-rollout, r1-reward) or with `completion` (r1-reject). The student reads that text through
//! its own tokenizer and template, so teacher and student may be of different families. Training is that of r1-sft: it goes on
//! after a kill and ends with the same bytes.
//!
//! With one tokenizer the teacher can give more than text: the divergence of whole distributions (`--teacher DIR`), or of its most
//! probable tokens from the rows (`r1-rollout --score teacher --top N`), on its own rows, or on the student's (on-policy).

mod loss;
mod objective;
mod teach;
mod tokens;
mod toward;

use std::path::PathBuf;
use std::process::ExitCode;

use r1_train::supervised::Flags;

/// Teaches a student what a teacher wrote
#[derive(clap::Parser)]
#[command(
    version,
    after_help = "\
The paper: batches of 64, 2-3 epochs, cosine to a tenth of the initial learning rate, which is 1e-4 for Qwen-1.5B, 8e-5 for 7B,
7e-5 for 14B, 6e-5 for 32B, 5e-5 for Llama-8B, 2e-5 for 70B.

Examples:
  r1-rollout teacher tasks.jsonl --samples 4 | r1-reward | r1-distill qwen-tiny -o student --correct-only --lr 1e-3
  r1-distill llama-tiny examples.jsonl -o student --template chat --thinking strip --metrics student.jsonl
  r1-rollout student tasks.jsonl -n 4 | r1-distill student - -o student-1 --loss reverse-kl --teacher teacher --epochs 1"
)]
struct Args {
    /// Policy directory of the student
    student: PathBuf,
    #[command(flatten)]
    input: r1_cli::Input,
    /// Policy directory to write; with --lora-rank or --adapter an adapter directory
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The student's template: r1-zero, chat, raw, auto (chat where its tokenizer has a template, else r1-zero), or a file
    #[arg(long, default_value = "auto", value_name = "NAME")]
    template: String,
    #[command(flatten)]
    lesson: teach::Lesson,
    #[command(flatten)]
    loss: loss::Flags,
    #[command(flatten)]
    training: Flags,
    #[command(flatten)]
    lora: r1_train::lora::Flags,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn main() -> ExitCode {
    r1_cli::main(teach::run)
}
