//! What speaks against a completion in the company of its group and of what was kept before: the prompt's pass rate, an equal
//! one, better ones.

use crate::band::Band;
use crate::contamination::Evaluations;
use crate::filters::Filters;
use crate::form::Rewriting;
use crate::majority::vote;
use crate::minhash::{Kept, signature};
use crate::reason::{Reason, Refusal};
use r1_records::{Group, Outline, RecordError, Reward};
use std::cmp::Ordering;
use std::collections::HashMap;

/// The flags that look at a group.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Choice {
    /// Where no answer is expected, the answer of at least SHARE of the completions is the answer, and the others are wrong
    #[arg(long, value_name = "SHARE", value_parser = crate::filters::share)]
    pub majority: Option<f64>,
    /// Only prompts whose share of correct completions lies in the band: neither hopeless nor learned already
    #[arg(long, value_name = "LOW..HIGH")]
    pub pass_rate: Option<Band>,
    /// Of identical completions of a prompt, only the first
    #[arg(long)]
    pub dedup: bool,
    /// Refuse a completion that is at least SIMILARITY (0.5 to 1) like one kept before, of whatever prompt: the estimated share
    /// of common runs of five words
    #[arg(long, value_name = "SIMILARITY", value_parser = similarity)]
    pub near_dup: Option<f64>,
    /// Of each prompt, only the N best: by reward, then the shorter, then the earlier
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub best: Option<u32>,
}

/// One completion of a group with what was found against it.
pub struct Candidate {
    /// The completion.
    pub rollout: Outline,
    /// Its reward.
    pub reward: Reward,
    /// Whether it is right, where anything tells.
    pub right: Option<bool>,
    /// The text in the form asked for, where it has one.
    pub rewritten: Option<String>,
    /// What speaks against it.
    pub refusal: Option<Refusal>,
}

/// A group with the verdict on each of its rows, in their order.
pub struct Chosen {
    /// The rows' candidates.
    pub candidates: Vec<Candidate>,
    /// The majority's answer, where it is the label.
    pub label: Option<String>,
}

/// All that judges a group: the flags, and what was kept so far.
pub struct Chooser<'a> {
    filters: &'a Filters,
    choice: &'a Choice,
    form: &'a Rewriting,
    evaluations: Option<Evaluations>,
    kept: Kept,
}

impl<'a> Chooser<'a> {
    /// Nothing is kept yet.
    pub fn new(
        filters: &'a Filters,
        choice: &'a Choice,
        form: &'a Rewriting,
        evaluations: Option<Evaluations>,
    ) -> Chooser<'a> {
        Chooser { filters, choice, form, evaluations, kept: Kept::default() }
    }

    /// Whether prompt or completion stand in an evaluation, and the words.
    pub fn contaminated(&self, prompt: &str, completion: &str) -> Option<String> {
        self.evaluations.as_ref().and_then(|evaluations| evaluations.shared(prompt, completion))
    }

    /// The verdict on each row of a group.
    pub fn choose(&mut self, group: &Group) -> Result<Chosen, RecordError> {
        let mut read = Vec::with_capacity(group.rows.len());
        for row in &group.rows {
            read.push((row.outline()?, row.reward()?));
        }
        let (mut votes, mut label) = (None, None);
        if let Some(share) = self.choice.majority
            && group.rows[0].answer()?.is_none()
        {
            let rewards: Vec<&Reward> = read.iter().map(|(_, reward)| reward).collect();
            let (cast, found) = vote(share, &group.rows, &rewards)?;
            (votes, label) = (Some(cast), found);
        }
        let mut candidates = Vec::with_capacity(read.len());
        for (at, (rollout, reward)) in read.into_iter().enumerate() {
            let (row, vote) = (&group.rows[at], votes.as_ref().map(|votes| &votes[at]));
            let right = self.filters.right(row, &reward, vote)?;
            let mut refusal = self.filters.refuse(row, &rollout, &reward, vote)?;
            let rewritten = self.form.of(&rollout.completion);
            if refusal.is_none() && rewritten.is_none() {
                refusal = Some((Reason::Form, "no reasoning and result to tell apart".to_string()));
            }
            if refusal.is_none() && self.evaluations.is_some() {
                let found = self.contaminated(row.prompt()?.question(), &rollout.completion);
                refusal = found.map(|found| (Reason::Contaminated, found));
            }
            candidates.push(Candidate { rollout, reward, right, rewritten, refusal });
        }
        self.compare(&group.id, &mut candidates);
        Ok(Chosen { candidates, label })
    }

    /// Pass rate, duplicates, order of merit.
    fn compare(&mut self, id: &str, candidates: &mut [Candidate]) {
        if let Some(band) = self.choice.pass_rate {
            let judged: Vec<bool> = candidates.iter().filter_map(|candidate| candidate.right).collect();
            let correct = judged.iter().filter(|right| **right).count();
            // Of no judged completion the rate is NaN, which no band holds.
            if !band.holds(correct as f64 / judged.len() as f64) {
                let found = format!("{correct} of {} judged completions are correct", judged.len());
                refuse(candidates, |_, _| Some((Reason::PassRate, found.clone())));
            }
        }
        if self.choice.dedup {
            let mut first: HashMap<String, usize> = HashMap::new();
            refuse(candidates, |at, candidate| {
                let same = *first.entry(candidate.rollout.completion.clone()).or_insert(at);
                (same != at)
                    .then(|| (Reason::Duplicate, format!("the same as completion {same} of the prompt")))
            });
        }
        let mut order: Vec<usize> =
            (0..candidates.len()).filter(|at| candidates[*at].refusal.is_none()).collect();
        order.sort_by(|a, b| better(&candidates[*a], &candidates[*b]).then(a.cmp(b)));
        let most = self.choice.best.map_or(usize::MAX, |best| best as usize);
        let mut taken = 0;
        for (rank, at) in order.into_iter().enumerate() {
            if taken >= most {
                candidates[at].refusal = Some((Reason::NotBest, format!("rank {} of the prompt", rank + 1)));
                continue;
            }
            // In the order of merit, so that the best of several near ones is the one that stays.
            if let Some(least) = self.choice.near_dup {
                let own = signature(&candidates[at].rollout.completion);
                if let Some((name, found)) = self.kept.nearest(&own, least) {
                    candidates[at].refusal = Some((Reason::NearDuplicate, format!("{found:.2} like {name}")));
                    continue;
                }
                let sample = candidates[at].rollout.sample.map_or(at, |sample| sample as usize);
                self.kept.add(own, format!("{id} sample {sample}"));
            }
            taken += 1;
        }
    }
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
pub fn better(a: &Candidate, b: &Candidate) -> Ordering {
    let total = |candidate: &Candidate| candidate.reward.total.unwrap_or(f64::NEG_INFINITY);
    let length = match (a.rollout.completion_tokens, b.rollout.completion_tokens) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.rollout.completion.chars().count().cmp(&b.rollout.completion.chars().count()),
    };
    total(b).total_cmp(&total(a)).then(length)
}

/// A number from 0.5, below which banding would miss pairs, to 1.
fn similarity(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.5..=1.0).contains(&value) => Ok(value),
        _ => Err("a similarity between 0.5 and 1 is needed".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Args;
    use clap::Parser;
    use r1_records::{Groups, Reader};

    /// The reasons for rows of a prompt (completion, accuracy, total) under these flags, after the same prompt was seen once
    /// where `again`.
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
        let chosen = Chooser::new(&args.filters, &args.choice, &args.form, None).choose(&group).unwrap();
        let reason = |c: &Candidate| c.refusal.as_ref().map_or("kept", |(reason, _)| reason.name());
        chosen.candidates.iter().map(reason).collect()
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
    fn of_near_ones_the_best_is_kept() {
        let text = |end: &str| (0..40).map(|at| format!("w{at} ")).collect::<String>() + end;
        let (a, b) = (text("so it is 14"), text("so it is 15"));
        let rows = [(a.as_str(), 1.0, 0.5), (b.as_str(), 1.0, 1.0), ("another way to say it", 1.0, 0.2)];
        assert_eq!(reasons(&["--near-dup", "0.8"], &rows), ["near-duplicate", "kept", "kept"]);
        // A near one does not use up a place among the best.
        assert_eq!(reasons(&["--near-dup", "0.8", "--best", "2"], &rows), ["near-duplicate", "kept", "kept"]);
        assert_eq!(reasons(&["--near-dup", "1"], &rows), ["kept"; 3]);
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
