//! r1-sft: trains a policy to imitate examples.
//!
//! ```sh
//! r1-tasks --corpus --count 40000 | r1-sft init -o base --batch-size 64 --lr 2e-3 --warmup 50
//! ```
//!
//! You see the loss fall (with `--metrics`, as JSON lines; with `--eval`, on held-out examples too). It takes rows with `prompt`
//! and `completion`, or `messages` that end with the assistant's turn; the loss is on the completion, which ends in EOS. What it
//! writes is a policy directory, also while it runs: a run that was stopped or killed goes on when the same command is given
//! again, and ends with the same bytes.

mod imitate;

use std::path::PathBuf;
use std::process::ExitCode;

use r1_train::supervised::Flags;

/// Trains a policy to imitate examples
#[derive(clap::Parser)]
#[command(
    version,
    after_help = "\
Examples:
  r1-sft base cold-start.jsonl -o cold-start --epochs 2 --lr 5e-5
  r1-sft base cold-start.jsonl -o adapter --lora-rank 16 --lora-targets q_proj,v_proj --lr 5e-4
  r1-tasks --corpus --count 40000 | r1-sft init -o base --lr 2e-3 --warmup 50 --eval held-out.jsonl --metrics base.jsonl"
)]
struct Args {
    /// Policy directory to start from
    policy: PathBuf,
    #[command(flatten)]
    input: r1_cli::Input,
    /// Policy directory to write; with --lora-rank or --adapter an adapter directory
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// How prompts become text: r1-zero, chat, raw, auto (chat where the tokenizer has a template, else r1-zero), or a file
    #[arg(long, default_value = "auto", value_name = "NAME")]
    template: String,
    /// Which turns of `messages` are learned
    #[arg(long, value_enum, default_value_t = imitate::Turns::Last)]
    turns: imitate::Turns,
    /// ε of label smoothing: this share of each token's target is spread over the whole vocabulary (torch's `cross_entropy`; 0.1 is
    /// usual); the held-out loss stays the plain one
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = r1_train::flags::share)]
    label_smoothing: f64,
    #[command(flatten)]
    training: Flags,
    #[command(flatten)]
    lora: r1_train::lora::Flags,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn main() -> ExitCode {
    r1_cli::main(imitate::run)
}
