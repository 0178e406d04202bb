//! Groups in, examples out, and the report.

use crate::Args;
use crate::choose::Chooser;
use crate::example::example;
use crate::reason::Reason;
use crate::report::{Besides, Report};
use crate::review::Word;
use r1_records::{Groups, Reader, RecordError};

/// Reads groups, judges their rows, writes the examples in the order of the input.
pub fn run(args: Args) -> anyhow::Result<()> {
    let rows = Reader::new(args.input.open()?);
    let mut chooser = Chooser::new(&args.filters, &args.choice, &args.form, args.against.read()?);
    let mut sources = args.mixing.open()?;
    let mut review = args.review.begin()?;
    let mut out = args.output.create()?;
    let mut pairs = args.pairing.create()?;
    let mut sieve = args.skip_bad.sieve(&args.input)?;
    let mut report = Report::default();

    // What makes a single row bad is looked for before the groups, where it can still be set aside.
    let sound = rows.map(|row| {
        let row = row?;
        example(&row.group_id()?, &row, &[], None)?;
        args.filters.refuse(&row, &row.outline()?, &row.reward()?, None)?;
        Ok::<_, RecordError>(row)
    });
    for group in Groups::new(sieve.filter(sound, RecordError::bad_line)) {
        let blame = |error: RecordError| args.input.blame(error);
        let group = group.map_err(blame)?;
        // A group that has lost rows on the way can still be chosen from.
        group.check(true).map_err(blame)?;
        let mut chosen = chooser.choose(&group).map_err(blame)?;
        for (at, (row, candidate)) in group.rows.iter().zip(&mut chosen.candidates).enumerate() {
            let (None, Some(text)) = (&candidate.refusal, &candidate.rewritten) else { continue };
            let prompt = row.prompt().map_err(blame)?;
            let edited = match review.candidate(&group.id, at, prompt.question(), text)? {
                Word::Keep(edited) => edited,
                Word::Drop => {
                    candidate.refusal = Some((Reason::Dropped, "the reader dropped it".to_string()));
                    continue;
                }
            };
            let text = [("completion", edited.as_deref().unwrap_or(text))];
            let made = example(&group.id, row, &text, chosen.label.as_deref()).map_err(blame)?;
            out.line(made.text())?;
            if edited.is_some() {
                candidate.rewritten = edited;
            }
        }
        if let Some(pair) = pairs.pair(&group, &chosen).map_err(blame)? {
            pairs.write(&pair)?;
        }
        report.add(&group.id, &group.rows, &chosen.candidates, chosen.label.is_some());
        for source in &mut sources {
            source.write(report.kept(), &chooser, &mut out)?;
        }
        out.flush_group()?;
    }
    let bad = sieve.finish()?;
    // Before anything is published: a review that does not fit the input leaves no file.
    let review = review.finish()?;
    let mixed = sources.iter().map(|source| source.finish(report.kept())).collect();
    let besides = Besides { bad, mixed, pairs: pairs.finish()?, review };
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&report.json(&besides))?;
        r1_cli::write_atomically(path, format!("{text}\n").as_bytes())?;
    }
    out.finish()?;
    r1_cli::table(&report.text(&besides));
    if report.kept() == 0 {
        r1_cli::warn("no completion was kept");
    }
    Ok(())
}
