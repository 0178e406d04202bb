//! Rows in, the same rows with `reward` out.

use crate::Args;
use crate::accuracy::{Expected, Outcome};
use crate::part::Seen;
use crate::report::{Summary, why};
use crate::settings::{Prefilled, Settings};
use r1_records::{Prompt, Reader, RecordError, Reward, Row};
use r1_verify::extract::{Prefill, extract, split};

/// Reads rows, adds the rewards, writes the rows in their order.
pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = Settings::new(&args.rewards, &args.reading)?;
    let mut sieve = args.skip_bad.sieve(&args.input)?;
    let mut out = args.output.create()?;
    let mut metrics = args.metrics.open()?;
    let mut summary = Summary::default();
    for row in Reader::new(args.input.open()?) {
        let rewarded = row.and_then(|row| reward(row, &settings, args.why));
        let Some(rewarded) = sieve.pass(rewarded, RecordError::bad_line)? else { continue };
        if let Some(why) = rewarded.why {
            r1_cli::note(&why);
        }
        summary.add(&rewarded.reward, rewarded.outcome, rewarded.closes_unopened);
        out.line(rewarded.row.text())?;
        out.flush_group()?;
    }
    sieve.finish()?;
    out.finish()?;
    metrics.write(&summary.line())?;
    r1_cli::note(&summary.text());
    if let Some(advice) = summary.advice() {
        r1_cli::warn(&advice);
    }
    Ok(())
}

/// A row with its reward.
struct Rewarded {
    row: Row,
    reward: Reward,
    outcome: Outcome,
    closes_unopened: bool,
    why: Option<String>,
}

/// Judges one completion. Pure: a row's reward depends on nothing but the row and the settings.
fn reward(mut row: Row, settings: &Settings, explain: bool) -> Result<Rewarded, RecordError> {
    let outline = row.outline()?;
    let prefill = prefill(&row, settings)?;
    let found = extract(&outline.completion, &settings.order, prefill);
    let expected = Expected::of(&row)?;
    let outcome = expected.judge(&found, settings);
    let seen = Seen { row: &row, outline: &outline, prefill, outcome };
    let mut parts = Vec::with_capacity(settings.parts.len());
    let mut total = None;
    for (part, weight) in &settings.parts {
        if let Some(value) = part.value(&seen, settings)? {
            total = Some(total.unwrap_or(0.0) + weight * value);
            parts.push((part.name().to_string(), value));
        }
    }
    let why = explain.then(|| {
        let id = row.group_id().unwrap_or_default();
        let sample = outline.sample.map(|n| format!("#{n}")).unwrap_or_default();
        why(&format!("line {} {id}{sample}", row.line()), &found, &expected, outcome, settings)
    });
    let answer = found.ok().map(|found| found.answer.into_owned());
    let reward = Reward { total, parts, answer };
    let thought = split(&outline.completion, prefill);
    let closes_unopened = prefill == Prefill::No && thought.prefilled;
    row.set("reward", &reward)?;
    Ok(Rewarded { row, reward, outcome, closes_unopened, why })
}

/// Whether the completion starts inside the reasoning.
fn prefill(row: &Row, settings: &Settings) -> Result<Prefill, RecordError> {
    Ok(match settings.prefilled {
        Prefilled::Yes => Prefill::Yes,
        Prefilled::No => Prefill::No,
        Prefilled::Auto if row.prompt_column().is_none() => Prefill::No,
        Prefilled::Auto => match row.prompt()? {
            Prompt::Text(text) if text.trim_end().ends_with("<think>") => Prefill::Yes,
            _ => Prefill::No,
        },
    })
}
