//! What speaks against a completion in the company of its group: the prompt's pass rate, an equal one before it, better ones.

use crate::Args;
use crate::filters::{Reason, Refusal};
use r1_records::{Group, Outline, RecordError, Reward};
use std::cmp::Ordering;
use std::collections::HashMap;

/// One completion of a group with what was found against it.
struct Candidate {
    rollout: Outline,
    reward: Reward,
    refusal: Option<Refusal>,
}

/// The verdict on each row of a group, in their order: nothing for a row that is kept.
pub fn judge(args: &Args, group: &Group) -> Result<Vec<Option<Refusal>>, RecordError> {
    let mut candidates = Vec::with_capacity(group.rows.len());
    for row in &group.rows {
        let (rollout, reward) = (row.outline()?, row.reward()?);
        let refusal = args.filters.refuse(row, &rollout, &reward)?;
        candidates.push(Candidate { rollout, reward, refusal });
    }
    if let Some(band) = args.pass_rate {
        let judged: Vec<f64> =
            candidates.iter().filter_map(|candidate| candidate.reward.part("accuracy")).collect();
        let correct = judged.iter().filter(|accuracy| **accuracy == 1.0).count();
        let rate = correct as f64 / judged.len() as f64;
        // Of no judged completion the rate is NaN, which no band holds.
        if !band.holds(rate) {
            let found = format!("{correct} of {} judged completions are correct", judged.len());
            refuse(&mut candidates, |_, _| Some((Reason::PassRate, found.clone())));
        }
    }
    if args.dedup {
        let mut first: HashMap<String, usize> = HashMap::new();
        refuse(&mut candidates, |at, candidate| {
            let same = *first.entry(candidate.rollout.completion.clone()).or_insert(at);
            (same != at).then(|| (Reason::Duplicate, format!("the same as completion {same} of the prompt")))
        });
    }
    if let Some(best) = args.best {
        let mut order: Vec<usize> =
            (0..candidates.len()).filter(|at| candidates[*at].refusal.is_none()).collect();
        order.sort_by(|a, b| better(&candidates[*a], &candidates[*b]).then(a.cmp(b)));
        for (rank, at) in order.into_iter().enumerate().skip(best as usize) {
            candidates[at].refusal = Some((Reason::NotBest, format!("rank {} of the prompt", rank + 1)));
        }
    }
    Ok(candidates.into_iter().map(|candidate| candidate.refusal).collect())
}

/// Refuses some of those that nothing was found against yet.
fn refuse(candidates: &mut [Candidate], mut against: impl FnMut(usize, &Candidate) -> Option<Refusal>) {
    for (at, candidate) in candidates.iter_mut().enumerate() {
        if candidate.refusal.is_none() {
            candidate.refusal = against(at, candidate);
        }
    }
}

/// Less is better: the greater reward (none is below all), then the shorter: in tokens where both have them, else in characters.
fn better(a: &Candidate, b: &Candidate) -> Ordering {
    let total = |candidate: &Candidate| candidate.reward.total.unwrap_or(f64::NEG_INFINITY);
    let length = match (a.rollout.completion_tokens, b.rollout.completion_tokens) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.rollout.completion.chars().count().cmp(&b.rollout.completion.chars().count()),
    };
    total(b).total_cmp(&total(a)).then(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use r1_records::{Groups, Reader};

    /// The reasons for rows of (completion, accuracy, total) under these flags.
    fn reasons(flags: &[&str], rows: &[(&str, f64, f64)]) -> Vec<&'static str> {
        let file: String = rows
            .iter()
            .map(|(completion, accuracy, total)| {
                format!(
                    "{{\"id\":\"a\",\"rollout\":{{\"completion\":{completion:?}}},\
                     \"reward\":{{\"total\":{total:?},\"accuracy\":{accuracy:?}}}}}\n"
                )
            })
            .collect();
        let group = Groups::new(Reader::new(file.as_bytes())).next().unwrap().unwrap();
        let args = Args::parse_from([&["r1-reject"], flags].concat());
        judge(&args, &group)
            .unwrap()
            .iter()
            .map(|r| r.as_ref().map_or("kept", |(reason, _)| reason.name()))
            .collect()
    }

    #[test]
    fn the_best_are_kept() {
        let rows = [
            ("long one", 1.0, 1.0),
            ("short", 1.0, 1.0),
            ("x", 0.0, 0.1),
            ("shost", 1.0, 1.0),
            ("poor", 1.0, 0.9),
        ];
        assert_eq!(
            reasons(&["--correct", "--best", "1"], &rows),
            ["not-best", "kept", "wrong", "not-best", "not-best"],
            "of equal rewards the shorter, of equal lengths the earlier"
        );
        assert_eq!(reasons(&["--best", "3"], &rows), ["kept", "kept", "not-best", "kept", "not-best"]);
    }

    #[test]
    fn duplicates_count_only_among_what_is_left() {
        let rows = [("a", 0.0, 0.0), ("a", 1.0, 1.0), ("a", 1.0, 1.0), ("b", 1.0, 1.0)];
        assert_eq!(reasons(&["--correct", "--dedup"], &rows), ["wrong", "kept", "duplicate", "kept"]);
        assert_eq!(reasons(&[], &rows), ["kept"; 4]);
    }

    #[test]
    fn pass_rates_are_those_of_the_whole_group() {
        let rows = [("a", 0.0, 0.0), ("b", 1.0, 1.0), ("c", 0.0, 0.0), ("d", 0.0, 0.0)];
        assert_eq!(reasons(&["--pass-rate", "0.25..0.75"], &rows), ["kept"; 4]);
        assert_eq!(
            reasons(&["--correct", "--pass-rate", "0.5.."], &rows),
            ["wrong", "pass-rate", "wrong", "wrong"]
        );
    }
}
