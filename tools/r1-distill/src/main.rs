//! r1-distill: teaches a student what a teacher wrote.
//!
//! ```sh
//! r1-rollout teacher tasks.jsonl --samples 4 | r1-reward | r1-distill student - -o student-1 --correct-only
//! ```
//!
//! You see how many rows were used, how many refused and why, and then the loss. It takes the teacher's rows, as text:
//! `prompt` with `rollout.completion` (r1-rollout, r1-reward) or with `completion` (r1-reject). The student reads that text through
//! its own tokenizer and template, so teacher and student may be of different families. Training is that of r1-sft: it goes on
//! after a kill and ends with the same bytes.

mod teach;

use std::path::PathBuf;
use std::process::ExitCode;

use r1_train::supervised::Flags;

/// Teaches a student what a teacher wrote
#[derive(clap::Parser)]
#[command(
    version,
    after_help = "\
Examples:
  r1-rollout teacher tasks.jsonl --samples 4 | r1-reward | r1-distill qwen-tiny -o student --correct-only --lr 1e-3
  r1-distill llama-tiny examples.jsonl -o student --template chat --thinking strip --metrics student.jsonl"
)]
struct Args {
    /// Policy directory of the student
    student: PathBuf,
    #[command(flatten)]
    input: r1_cli::Input,
    /// Policy directory to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The student's template: r1-zero, chat, raw, auto (chat where its tokenizer has a template, else r1-zero), or a file
    #[arg(long, default_value = "auto", value_name = "NAME")]
    template: String,
    #[command(flatten)]
    lesson: teach::Lesson,
    #[command(flatten)]
    training: Flags,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn main() -> ExitCode {
    r1_cli::main(teach::run)
}
