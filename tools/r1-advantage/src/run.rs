//! Groups in, the same rows with `advantage` out.

use crate::Args;
use crate::convention::{Convention, Spread};
use crate::estimator::Judged;
use crate::summary::Summary;
use r1_cli::Sink;
use r1_records::{Group, Groups, RecordError, Reward, Row, each_round};

/// Reads groups, adds the advantages, writes the rows in their order. A convention that looks at all groups holds them until
/// the end (of the round); any other hands a group on as soon as it is complete.
pub fn run(args: Args) -> anyhow::Result<()> {
    let convention = Convention::settle(&args.convention)?;
    if args.penalty.is_on() && !convention.parts.is_empty() {
        let fact = "--kl-beta changes the total of the reward, --part does not look at it";
        return Err(r1_cli::misuse(fact, "give one of the two"));
    }
    let mut out = args.output.create()?;
    let mut sieve = args.skip_bad.sieve(&args.input)?;
    let mut metrics = args.metrics.open()?;
    let mut summary = Summary::default();
    let unread = |e| args.input.unread(e);
    let worked = each_round(args.input.open()?, &mut out, unread, Sink::mark, |rows, out| {
        round(&args, &convention, rows, &mut sieve, &mut summary, out)
    })?;
    if !worked {
        return out.finish();
    }
    sieve.finish()?;
    out.finish()?;
    metrics.write(&summary.line())?;
    r1_cli::note(&summary.text());
    if summary.usable() < args.filter.need {
        let message =
            format!("groups whose rewards differ: {} of {} needed", summary.usable(), args.filter.need);
        return Err(r1_cli::exit_with(3, format!("{message}; sample more")));
    }
    Ok(())
}

/// One round: all groups, or those up to where the stage before says that it ends.
fn round(
    args: &Args,
    convention: &Convention,
    rows: impl Iterator<Item = Result<Row, RecordError>>,
    sieve: &mut r1_cli::Sieve,
    summary: &mut Summary,
    out: &mut Sink,
) -> anyhow::Result<()> {
    let mut held: Vec<Group> = Vec::new();
    let mut held_rows: Vec<Judged> = Vec::new();
    let mut held_advantages: Vec<Option<f64>> = Vec::new();

    // What makes a single row bad is looked for before the groups, where it can still be set aside.
    let sound = rows.map(|row| {
        let row = row?;
        row.group_id()?;
        judged(&row, args, convention)?;
        Ok::<_, RecordError>(row)
    });
    for group in Groups::new(sieve.filter(sound, RecordError::bad_line)) {
        let mut group = group.map_err(|error| args.input.blame(error))?;
        check(&group, args).map_err(|error| args.input.blame(error))?;
        let mut rewards = Vec::with_capacity(group.rows.len());
        let mut rows = Vec::with_capacity(group.rows.len());
        for row in &group.rows {
            let (reward, judged) = judged(row, args, convention).map_err(|error| args.input.blame(error))?;
            summary.row(row, &reward).map_err(|error| args.input.blame(error))?;
            rewards.push(reward);
            rows.push(judged);
        }
        let verdict = args.filter.judge(&rewards);
        summary.group(&verdict);
        if !verdict.keeps {
            continue;
        }
        let advantages = convention.group(&rows);
        if convention.needs_all() {
            held.push(group);
            held_rows.extend(rows);
            held_advantages.extend(advantages);
            continue;
        }
        for (row, advantage) in group.rows.iter_mut().zip(&advantages) {
            write(row, *advantage, args, out)?;
        }
        out.flush_group()?;
    }
    convention.batch(&held_rows, &mut held_advantages);
    for (row, advantage) in held.iter_mut().flat_map(|group| &mut group.rows).zip(&held_advantages) {
        write(row, *advantage, args, out)?;
    }
    Ok(())
}

fn write(row: &mut Row, advantage: Option<f64>, args: &Args, out: &mut Sink) -> anyhow::Result<()> {
    row.set("advantage", &advantage.unwrap_or(0.0)).map_err(|error| args.input.blame(error))?;
    out.line(row.text())
}

/// What a row's reward is, and what of it the convention looks at.
fn judged(row: &Row, args: &Args, convention: &Convention) -> Result<(Reward, Judged), RecordError> {
    let reward = row.reward()?;
    let outline = if row.has("rollout") { Some(row.outline()?) } else { None };
    let tokens = outline.and_then(|outline| outline.completion_tokens);
    if convention.needs_lengths() && tokens.is_none() {
        let remedy = "sample with r1-rollout, or choose a convention that does not weigh lengths";
        return Err(row.error("no `rollout.completion_ids`, whose number the convention weighs", remedy));
    }
    let mut total = reward.total;
    if args.penalty.is_on() {
        let divergence = args.penalty.divergence(row)?;
        total = total.map(|total| total - args.penalty.kl_beta * divergence);
    }
    let parts: Vec<Option<f64>> = convention.parts.iter().map(|(name, _)| reward.part(name)).collect();
    let counted = if parts.is_empty() { std::slice::from_ref(&total) } else { &parts[..] };
    if convention.spread == Spread::Mean && counted.iter().flatten().any(|r| *r < 0.0) {
        let remedy = "shift the rewards, or choose another --std";
        return Err(row.error_in("reward", "is negative, and cannot be divided by its mean", remedy));
    }
    Ok((reward, Judged { total, parts, tokens: tokens.unwrap_or(0) }))
}

/// Whether the group is whole and of the promised size.
fn check(group: &Group, args: &Args) -> Result<(), RecordError> {
    group.check(args.filter.partial)?;
    match args.filter.size {
        Some(size) if group.rows.len() as u64 != size => {
            let fact = format!("`{}` has {} rows, not {size}", group.id, group.rows.len());
            Err(RecordError::new(fact, "sample whole groups, or change --size").at_line(group.rows[0].line()))
        }
        _ => Ok(()),
    }
}
