//! Groups in, examples out, and the report.

use crate::Args;
use crate::choose::judge;
use crate::example::example;
use crate::report::Report;
use r1_records::{Groups, Reader, RecordError};

/// Reads groups, judges their rows, writes the examples in the order of the input.
pub fn run(args: Args) -> anyhow::Result<()> {
    let rows = Reader::new(args.input.open()?);
    let mut out = args.output.create()?;
    let mut sieve = args.skip_bad.sieve(&args.input)?;
    let mut report = Report::default();

    // What makes a single row bad is looked for before the groups, where it can still be set aside.
    let sound = rows.map(|row| {
        let row = row?;
        example(&row.group_id()?, &row)?;
        args.filters.refuse(&row, &row.outline()?, &row.reward()?)?;
        Ok::<_, RecordError>(row)
    });
    for group in Groups::new(sieve.filter(sound, RecordError::bad_line)) {
        let group = group.map_err(|error| args.input.blame(error))?;
        // A group that has lost rows on the way can still be chosen from.
        group.check(true).map_err(|error| args.input.blame(error))?;
        let verdicts = judge(&args, &group).map_err(|error| args.input.blame(error))?;
        for (row, verdict) in group.rows.iter().zip(&verdicts) {
            if verdict.is_none() {
                let example = example(&group.id, row).map_err(|error| args.input.blame(error))?;
                out.line(example.text())?;
            }
        }
        report.add(&group.id, &group.rows, &verdicts);
        out.flush_group()?;
    }
    let bad = sieve.finish()?;
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&report.json(bad))?;
        r1_cli::write_atomically(path, format!("{text}\n").as_bytes())?;
    }
    out.finish()?;
    r1_cli::table(&report.text());
    if report.kept_nothing() {
        r1_cli::warn("no completion was kept");
    }
    Ok(())
}
