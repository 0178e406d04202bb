//! Draws tasks with verifiable answers, worked solutions and a noisy imitation corpus.
//!
//! What you see (columns that matter less are cut here):
//! ```text
//! $ r1-tasks --count 1 --operators 2 --phrasings 1 --words 0 --seed 10922
//! {"id":"arithmetic-train-10922-0","prompt":"What is 2 + 3 * 4?","answer":"14","task":"math","language":"en",…,
//!  "canonical":"2 + 3 * 4",…,"split":"train","solution":"3 * 4 = 12, 2 + 12 = 14"}
//! $ r1-tasks --count 256 --operators 2 --split test --unique | r1-rollout … | r1-reward … | r1-eval
//! $ r1-tasks --corpus --count 20000 --operators 2 --split train > corpus.jsonl      # what r1-sft makes a noisy base from
//! ```
//! It takes a seed and nothing else. Row i is a function of the seed and i: a longer run begins with the shorter one. A problem is on one
//! side of the train/test split by a hash of the problem itself (`canonical`), whatever its wording, language, seed or row.

mod corpus;
mod draw;
mod expression;
mod families;
mod general;
mod language;
mod noise;
mod range;
mod rows;
mod run;
mod settings;
mod split;
mod worked;

fn main() -> std::process::ExitCode {
    r1_cli::main(run::run)
}
