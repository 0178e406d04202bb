//! Manners shared by every tool: main, exit codes, streams, progress, signals, metrics.
//!
//! A tool's `main` is one line; its flags are a clap struct that flattens the pieces it honours ([`Talk`], [`Input`],
//! [`Output`], [`Seed`] …), and the work is a function that returns `anyhow::Result<()>`:
//!
//! ```no_run
//! #[derive(clap::Parser)]
//! struct Args {
//!     #[command(flatten)]
//!     input: r1_cli::Input,
//!     #[command(flatten)]
//!     output: r1_cli::Output,
//!     #[command(flatten)]
//!     talk: r1_cli::Talk,
//! }
//!
//! fn run(args: Args) -> anyhow::Result<()> {
//!     let mut out = args.output.create()?;
//!     std::io::copy(&mut args.input.open()?, &mut out)?;
//!     out.finish()
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     r1_cli::main(run)
//! }
//! ```
//!
//! Exit codes: 0 done (also when the reader of standard output left early), 1 failed while running, 2 misused or bad input,
//! 130 and 143 stopped by SIGINT and SIGTERM, and whatever a tool documents for itself through [`exit_with`].

mod bad_rows;
mod events;
mod exit;
mod flags;
mod input;
pub mod memory;
mod metrics;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod pipes;
pub mod signals;
mod talk;

pub use bad_rows::{Sieve, SkipBad};
pub use events::{Events, TensorBoard};
pub use exit::{bad_input, exit_with, main, misuse, stopped};
pub use flags::{Device, Machine, Seed, Threads};
pub use input::Input;
pub use metrics::{Metrics, MetricsFile};
pub use output::{AtomicFile, Output, Sink, write_atomically};
pub use talk::{Progress, Talk, note, table, warn};
