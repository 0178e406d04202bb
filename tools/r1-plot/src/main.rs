//! Draws a run: one self-contained HTML report, single curves as SVG, sparklines in a terminal.
//!
//! ```sh
//! make r1 && r1-plot runs/r1 -o report.html
//! ```
//!
//! You see a run directory (`run_directory.rs` says what is looked for in it), or files of metrics. It takes what is there: the
//! held-out completions of each stage (`evaluation.rs`), the curves (`series.rs`), some completions token by token (`tokens.rs`),
//! what reward models think (`opinions.rs`), what rejection refused (`refusals.rs`). It writes one file that needs no network, no server and no other file (`page.rs`), in
//! the same bytes each time; a text from a policy stays text in it (`markup.rs`).

mod chart;
mod curve;
mod evaluation;
mod markup;
mod number;
mod opinions;
mod page;
mod refusals;
mod run;
mod run_directory;
mod samples;
mod series;
mod sparkline;
mod stage_table;
mod tokens;

use clap::Parser;
use std::path::PathBuf;

/// Draws a run: one self-contained HTML report, single curves as SVG, sparklines in a terminal
#[derive(Parser)]
#[command(
    version,
    after_help = "A run directory gives an HTML report; files of metrics with --y give an SVG (for a PNG: rsvg-convert x.svg -o x.png). \
On a terminal without -o, or with --text, both are drawn as text.

Examples:
  r1-plot runs/r1 -o report.html
  r1-plot runs/a/1-zero/metrics.jsonl runs/b/1-zero/metrics.jsonl --y reward -o reward.svg"
)]
struct Args {
    /// A run directory, or files of metrics (JSON lines); `-` or nothing is metrics on standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    output: r1_cli::Output,
    /// The metrics to draw, for files of metrics
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    y: Vec<String>,
    /// What they are drawn over
    #[arg(long, value_name = "NAME", default_value = "step")]
    x: String,
    /// Draw as text: a table and sparklines
    #[arg(long)]
    text: bool,
    /// How many held-out prompts the report shows, with the first completion of every stage
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=100))]
    samples: u32,
    #[command(flatten)]
    talk: r1_cli::Talk,
}

fn main() -> std::process::ExitCode {
    r1_cli::main(run::run)
}
