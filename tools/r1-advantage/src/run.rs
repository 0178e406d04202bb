//! Groups in, the same rows with `advantage` out.

use crate::Args;
use crate::estimator::Estimator;
use crate::summary::Summary;
use r1_records::{Groups, Reader, RecordError};

/// Reads groups, adds the advantages, writes the rows in their order.
pub fn run(args: Args) -> anyhow::Result<()> {
    let estimator = Estimator::new(args.preset, args.std, args.eps);
    if args.eps.is_some() && !estimator.divides() {
        return Err(r1_cli::misuse(
            "--eps has no effect where nothing is divided by",
            "leave it out, or give --std",
        ));
    }
    let rows = Reader::new(args.input.open()?);
    let mut out = args.output.create()?;
    let mut sieve = args.skip_bad.sieve(&args.input)?;
    let mut metrics = args.metrics.open()?;
    let mut summary = Summary::default();

    // What makes a single row bad is looked for before the groups, where it can still be set aside.
    let sound = rows.map(|row| {
        let row = row?;
        row.group_id()?;
        row.reward()?;
        if row.has("rollout") {
            row.outline()?;
        }
        Ok::<_, RecordError>(row)
    });
    for group in Groups::new(sieve.filter(sound, RecordError::bad_line)) {
        let mut group = group.map_err(|error| args.input.blame(error))?;
        group.check(args.partial).map_err(|error| args.input.blame(error))?;
        let rewards: Result<Vec<Option<f64>>, RecordError> =
            group.rows.iter().map(|row| Ok(row.reward()?.total)).collect();
        let rewards = rewards.map_err(|error| args.input.blame(error))?;
        let estimate = estimator.estimate(&rewards);
        let dropped = args.drop_zero_std && !estimate.has_spread;
        summary.add(&rewards, estimate.has_spread, dropped);
        if dropped {
            continue;
        }
        for (row, advantage) in group.rows.iter_mut().zip(&estimate.advantages) {
            row.set("advantage", advantage).map_err(|error| args.input.blame(error))?;
            out.line(row.text())?;
        }
        out.flush_group()?;
    }
    sieve.finish()?;
    out.finish()?;
    metrics.write(&summary.line())?;
    r1_cli::note(&summary.text());
    if summary.with_spread() < args.need {
        let message =
            format!("groups whose rewards differ: {} of {} needed", summary.with_spread(), args.need);
        return Err(r1_cli::exit_with(3, format!("{message}; sample more")));
    }
    Ok(())
}
