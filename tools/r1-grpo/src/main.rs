//! r1-grpo: one round of group relative policy optimization, from rows to a better policy.
//!
//! ```sh
//! r1-rollout policy tasks.jsonl --samples 16 | r1-reward | r1-advantage | tee round.jsonl | r1-grpo policy -o policy
//! ```
//!
//! You see one line an update (reward, loss, grad_norm, entropy, clipped share) and, with `--metrics`, the same as JSON.
//! It takes rows with `rollout` (ids, logprobs) and `advantage`, computes the log-probabilities again, and moves the policy along
//! the gradient of a surrogate (`loss.rs`). What it writes is a policy (or adapter) directory, the optimizer's state in it.

mod agreement;
mod before;
mod begin;
mod explain;
mod follow;
mod loss;
mod preset;
mod reference;
mod report;
mod round;
mod rows;
mod update;

use r1_train::flags::{Before, Compute, Optimization};
use std::path::PathBuf;

/// Updates a policy by group relative policy optimization
#[derive(clap::Parser)]
#[command(
    version,
    after_help = "\
Examples:
  r1-rollout policy tasks.jsonl --samples 16 | r1-reward | r1-advantage | r1-grpo policy -o policy --lr 1e-4
  r1-grpo zero-7 round-8.jsonl -o zero-8 --preset r1-zero --lr 1e-5 --explain --check-logprobs 0 --metrics zero.jsonl"
)]
struct Args {
    /// Policy directory to start from
    policy: PathBuf,
    #[command(flatten)]
    input: r1_cli::Input,
    /// Directory to write; may be POLICY (or with --adapter that one), which is then replaced in one step
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Settings by name; a flag given beside it wins
    #[arg(long, value_enum)]
    preset: Option<preset::Preset>,
    #[command(flatten)]
    loss: loss::options::Flags,
    #[command(flatten)]
    round: round::Flags,
    #[command(flatten)]
    lora: r1_train::lora::Flags,
    #[command(flatten)]
    optimization: Optimization,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    seed: r1_cli::Seed,
    #[command(flatten)]
    metrics: r1_cli::MetricsFile,
    #[command(flatten)]
    tensorboard: r1_cli::TensorBoard,
    #[command(flatten)]
    before: Before,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn run(args: Args) -> anyhow::Result<()> {
    let args = preset::settle(args)?;
    let objective = args.loss.settle(args.round.old == round::Old::Recompute)?;
    args.round.check(&objective)?;
    let precision = args.compute.begin()?;
    round::begin(args, &objective, precision)
}

fn main() -> std::process::ExitCode {
    r1_cli::main(run)
}
