//! Samples groups of completions from a policy, or scores completions that are there.
//!
//!     r1-tasks --count 32 | r1-rollout runs/zero/policy --samples 8 | r1-reward | r1-advantage > advantaged.jsonl
//!
//! What you see: one line per completion, the task's row with `rollout` added: token ids, log-probabilities, finish reason.
//! What it takes: a policy directory and rows with a `prompt`; with `--score KEY`, rows that already hold completions.
//! What it does: renders each prompt, computes it once for its whole group, and draws `--samples` completions. A row's tokens
//! depend on the seed, the row's id and the sample number alone. With `--follow` it stays, and draws round after round.

mod ask;
mod draw;
mod endpoint;
mod follow;
mod resume;
mod score;
mod settings;
mod show;
mod tasks;

use clap::Parser;
use std::path::PathBuf;

/// Sample groups of completions from a policy, or score given ones.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  r1-rollout policy tasks.jsonl --samples 16 -o rollout.jsonl\n  \
    r1-rollout reference rollout.jsonl --score reference | r1-reward | r1-advantage | r1-grpo policy -o policy"
)]
pub struct Args {
    /// Policy directory; with --endpoint its tokenizer and template are all that is read, and - goes without them
    policy: PathBuf,
    #[command(flatten)]
    input: r1_cli::Input,
    #[command(flatten)]
    output: r1_cli::Output,
    #[command(flatten)]
    draw: settings::Flags,
    /// Adapter directory (LoRA, in PEFT's format) to lay over the policy
    #[arg(long, value_name = "DIR", conflicts_with = "endpoint")]
    adapter: Option<PathBuf>,
    /// Instead of sampling: add the log-probabilities of the rows' completions under this policy, as section KEY
    #[arg(long, value_name = "KEY", conflicts_with_all = settings::FLAGS.iter().chain(&r1_endpoint::FLAGS))]
    score: Option<String>,
    /// With --score: also the N most probable tokens in each place, most probable first, ties by the lower id
    #[arg(long, value_name = "N", requires = "score")]
    top: Option<usize>,
    /// Prompt template: auto, r1-zero, chat, raw, or the path of a minijinja file
    #[arg(long, default_value = "auto")]
    template: String,
    /// Compute type of the matrix products
    #[arg(long, default_value = "auto", value_parser = ["auto", "f32", "bf16"])]
    dtype: String,
    /// Tokens computed together when prompts are prefilled or completions scored
    #[arg(long, default_value_t = 4096, value_name = "N")]
    micro_tokens: usize,
    #[command(flatten)]
    seed: r1_cli::Seed,
    #[command(flatten)]
    machine: r1_cli::Machine,
    #[command(flatten)]
    metrics: r1_cli::MetricsFile,
    #[command(flatten)]
    talk: r1_cli::Talk,
    #[command(flatten)]
    server: r1_endpoint::Flags,
}

fn main() -> std::process::ExitCode {
    r1_cli::main(|args: Args| {
        r1_kernels::threads::set(args.machine.threads.count());
        match (&args.score, &args.server.endpoint, &args.draw.follow.follow) {
            (Some(key), ..) => score::run(&args, key),
            (_, Some(url), _) => endpoint::run(&args, url),
            (.., Some(dir)) => follow::run(&args, dir),
            _ if args.draw.show_tokens => show::run(&args),
            _ => draw::run(&args),
        }
    })
}
