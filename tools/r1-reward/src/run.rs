//! Rows in, the same rows with `reward` out.

use crate::Args;
use crate::chunk::{Chunk, Chunks};
use crate::judge::{Rewarded, reward};
use crate::part::Part;
use crate::report::Summary;
use crate::settings::Settings;
use crate::{group, parallel, program};
use r1_records::{NO_ROUND, ROUND_END, RecordError, Unfolded, is_over};
use std::io::BufRead;
use std::sync::Arc;

/// A judged row, or what is wrong with it.
pub type Item = Result<Rewarded, RecordError>;
/// As many judged rows as were ready, and whether they end a round.
pub struct Batch {
    pub items: Vec<Item>,
    pub ends_round: bool,
}
/// Judged rows in the order of the input.
pub type Batches = Box<dyn Iterator<Item = anyhow::Result<Batch>> + Send>;

/// Reads rows, adds the rewards, writes the rows in their order.
pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = Arc::new(Settings::new(&args.rewards, &args.reading)?);
    let mut sieve = args.skip_bad.sieve(&args.input)?;
    let mut out = args.output.create()?;
    let mut metrics = args.metrics.open()?;
    let mut input = args.input.open()?;
    if is_over(&mut input).map_err(|e| args.input.unread(e))? {
        out.line(NO_ROUND)?;
        return out.finish();
    }
    let mut summary = Summary::default();
    for batch in judged(&args, input, &settings)? {
        let Batch { items, ends_round } = batch?;
        for item in items {
            let Some(rewarded) = sieve.pass(item, RecordError::bad_line)? else { continue };
            if let Some(why) = &rewarded.why {
                r1_cli::note(why);
            }
            summary.add(&rewarded);
            out.line(rewarded.row.text())?;
        }
        if ends_round {
            out.line(ROUND_END)?;
        }
        out.flush_group()?;
    }
    sieve.finish()?;
    out.finish()?;
    metrics.write(&summary.line())?;
    r1_cli::note(&summary.text());
    for advice in summary.advice() {
        r1_cli::warn(&advice);
    }
    Ok(())
}

/// Every row of the input, judged: on all threads from the row alone, then group by group, then by the programs.
fn judged(
    args: &Args,
    input: impl BufRead + Send + 'static,
    settings: &Arc<Settings>,
) -> anyhow::Result<Batches> {
    let (shared, explain) = (Arc::clone(settings), args.why);
    let judge = move |chunk: Result<Chunk, RecordError>| match chunk {
        Ok(chunk) => {
            let ends_round = chunk.ends_round;
            Ok(Batch { items: chunk.map(|row, before| reward(row, before, &shared, explain)), ends_round })
        }
        Err(error) => Ok(Batch { items: vec![Err(error)], ends_round: false }),
    };
    // A row with several completions (OpenR1-Math) is judged as one row a completion.
    let chunks = Chunks::new(Unfolded::of(input));
    let mut batches: Batches = Box::new(parallel::in_order(args.threads.count(), chunks, judge));
    if settings.weights.names(&Part::GroupLength) {
        batches = group::through(batches, Arc::clone(settings));
    }
    for program in &settings.programs {
        batches = program::through(batches, program, Arc::clone(settings))?;
    }
    Ok(batches)
}
