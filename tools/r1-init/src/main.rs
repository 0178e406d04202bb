//! Makes a policy directory: a fresh one from a preset and a corpus, or one from a GGUF file, a Hugging Face directory or the
//! Hugging Face hub.
//!
//! ```sh
//! r1-tasks --corpus --count 20000 > corpus.jsonl
//! r1-init --preset r1-tiny --corpus corpus.jsonl -o init && r1-sft init corpus.jsonl -o base
//! r1-init --from-gguf SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2 && r1-rollout smollm2 tasks.jsonl --samples 8
//! ```
//!
//! You see a directory that transformers, vLLM and r1's own tools load (`config.json`, `tokenizer.json`, …, `model.safetensors`
//! last), whole or not at all. `--describe DIR` prints what a directory holds as one JSON object.

mod corpus;
mod describe;
mod from_gguf;
mod from_hugging_face;
mod from_nothing;
mod hub;
mod run;

use clap::{ArgGroup, Parser};
use r1_model::presets;
use run::Dtype;
use std::path::PathBuf;

/// Sources that bring weights and tokenizer along.
const OTHERS: [&str; 3] = ["from_gguf", "from_hf", "describe"];

/// Makes a policy directory: from a preset, from a GGUF file, or from a Hugging Face directory
#[derive(Parser)]
#[command(
    version,
    group = ArgGroup::new("source").required(true),
    after_help = format!("{}
Examples:
  r1-init --preset r1-tiny --corpus corpus.jsonl --vocab 1024 --seed 7 -o init
  r1-init --from-hf Qwen/Qwen2.5-0.5B --dtype bf16 -o qwen", presets::table())
)]
struct Args {
    /// Start from nothing with this shape
    #[arg(long, value_name = "NAME", group = "source", value_parser = ["r1-tiny", "qwen-tiny", "llama-tiny"])]
    preset: Option<String>,
    /// Take a policy out of a GGUF file (llama, qwen2, qwen3)
    #[arg(long, value_name = "FILE", group = "source")]
    from_gguf: Option<PathBuf>,
    /// Check and copy a Hugging Face directory, or a repository of the hub: from the local cache, else downloaded into it
    /// (HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE). Interrupted, it keeps whole files and begins anew the one it was at
    #[arg(long, value_name = "DIR|ORG/NAME[@REVISION]", group = "source")]
    from_hf: Option<String>,
    /// Add this adapter (LoRA, in PEFT's format) to the weights of --from-hf; f32 unless --dtype says otherwise
    #[arg(long, value_name = "DIR", conflicts_with_all = ["preset", "from_gguf", "describe"])]
    merge: Option<PathBuf>,
    /// Print what a policy directory holds and how much memory it takes, as JSON
    #[arg(long, value_name = "DIR", group = "source", conflicts_with_all = ["output", "dtype"])]
    describe: Option<PathBuf>,
    /// Rows (prompt, completion) or, in a .txt file, lines to learn the tokenizer from; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = OTHERS)]
    corpus: Option<PathBuf>,
    /// Take the tokenizer of this policy directory instead of learning one
    #[arg(long, value_name = "DIR", conflicts_with_all = OTHERS, conflicts_with = "corpus")]
    tokenizer: Option<PathBuf>,
    /// Tokens to learn at most, special tokens and the 256 bytes included [default: 1024]
    #[arg(long, value_name = "N", conflicts_with_all = OTHERS, conflicts_with = "tokenizer", requires = "corpus")]
    vocab: Option<usize>,
    /// Seed of the weights; the same seed gives the same bytes [default: 0]
    #[arg(long, value_name = "N", conflicts_with_all = OTHERS)]
    seed: Option<u64>,
    /// Element type of the saved weights [default: f32; with --from-hf as they are]; above 5 GB they come in several files
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Policy directory to make; one that is there is replaced when the new one is whole
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn main() -> std::process::ExitCode {
    r1_cli::main(run::run)
}
