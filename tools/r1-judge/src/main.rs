//! Adds what models think of completions: scores of reward models, verdicts of generative judges.
//!
//! ```sh
//! r1-rollout policy tasks.jsonl -n 8 | r1-judge --score helpful=helpful-rm | r1-reward --reward helpful=1 | r1-advantage
//! ```
//!
//! You see rows with `judgement` added, `{"helpful": 0.7, "correct": 1.0}`, in the order in which they came. It takes rows with a
//! `prompt` and a `rollout` (or, to be compared, `chosen` and `rejected`). A reward model (r1-prefer makes one) scores each
//! completion; a judge (a policy directory, or an OpenAI-compatible server) is asked in words, by a prompt file that says how
//! its reply is read. A reply that does not hold exactly one verdict counts as none: the opinion is absent, and counted.

mod agreement;
mod endpoint;
mod judge;
mod local;
mod prompt;
mod reading;
mod score;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

/// Adds what models think of completions: scores of reward models, verdicts of generative judges
#[derive(clap::Parser)]
#[command(
    version,
    group = clap::ArgGroup::new("how").required(true).args(["score", "prompt"]),
    after_help = "\
A prompt file says, line by line, `name:` (the opinion), `of: pair` (where it compares), `verdict: json KEY` or `verdict: brackets`,
`values: LABEL=NUMBER ...`; then `---`; then a minijinja text over question, answer, response, reasoning, summary (of a pair:
response_a, summary_b ...).

Examples:
  r1-judge --score helpful=helpful-rm --score harmless=harmless-rm rollouts.jsonl -o judged.jsonl
  r1-judge --judge SmolLM2 --prompt comparison --repeats 4 rollouts.jsonl --metrics judge.metrics
  r1-judge --endpoint http://localhost:8000/v1 --model qwen --prompt correctness < rollouts.jsonl > judged.jsonl"
)]
pub struct Args {
    #[command(flatten)]
    input: r1_cli::Input,
    #[command(flatten)]
    output: r1_cli::Output,
    /// A reward model, and what its score is called in `judgement`; repeat for several
    #[arg(long, value_name = "NAME=DIR", value_parser = score::named, conflicts_with_all = r1_endpoint::FLAGS)]
    score: Vec<(String, PathBuf)>,
    /// What reward models read [default: the summary for `helpful`, else the whole response]
    #[arg(long, value_enum, requires = "score")]
    on: Option<reading::Part>,
    #[command(flatten)]
    ask: judge::Flags,
    /// How prompts become text: auto, r1-zero, chat, raw or a file [default: what the reward model was trained with, else auto]
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// Compute type of the matrix products
    #[arg(long, default_value = "auto", value_parser = ["auto", "f32", "bf16"])]
    dtype: String,
    /// Tokens computed together
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    micro_tokens: u32,
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

fn main() -> ExitCode {
    r1_cli::main(|args: Args| {
        r1_kernels::threads::set(args.machine.threads.count());
        if args.score.is_empty() { judge::run(&args) } else { score::run(&args) }
    })
}
