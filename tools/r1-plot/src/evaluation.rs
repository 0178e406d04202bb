//! The held-out completions of each policy, as numbers.

use crate::run_directory::Evaluation;
use r1_cli::Input;
use r1_measure::paired::{Paired, paired};
use r1_measure::{Measure, Measured, Prompt, measured};
use r1_records::{Groups, Reader};
use std::collections::HashMap;

/// How often prompts are drawn anew for an interval.
const RESAMPLES: u32 = 2000;
/// Where that begins: the intervals are r1-eval's own for its default seed.
const SEED: u64 = 0;

/// One policy's line of the stage table.
pub struct Evaluated {
    /// The policy.
    pub of: Evaluation,
    /// Its prompts.
    pub prompts: Vec<Prompt>,
    /// pass@1; absent where nothing was judged.
    pub pass: Option<Measured>,
    /// cons@k with the largest k (a power of two, above 2) that every prompt has samples for.
    pub consensus: Option<Measured>,
    /// format, language, finished, tokens, as far as they are there.
    pub means: Vec<Measured>,
    /// pass@1 against an earlier policy on the same prompts: its title, and what came of it.
    pub against: Option<(String, Paired)>,
}

impl Evaluated {
    /// Reads an evaluation.
    pub fn read(of: &Evaluation) -> anyhow::Result<Evaluated> {
        let input = Input::of(&of.file);
        let mut prompts = Vec::new();
        for group in Groups::new(Reader::new(input.open()?)) {
            let prompt = group.and_then(|group| Prompt::of(&group)).map_err(|error| input.blame(error))?;
            prompts.push(prompt);
        }
        let all: Vec<&Prompt> = prompts.iter().collect();
        let judged: Vec<&Prompt> = all.iter().copied().filter(|p| !p.samples.is_empty()).collect();
        let least = judged.iter().map(|prompt| prompt.samples.len()).min().unwrap_or(0);
        let k = if least > 2 { 1 << least.ilog2() } else { 0 };
        let answered = judged.iter().flat_map(|p| &p.samples).any(|sample| sample.answer.is_some());
        let consensus =
            if k > 2 && answered { measured(Measure::Consensus(k), &judged, RESAMPLES, SEED) } else { None };
        let kinds = [Measure::Format, Measure::Language, Measure::Finished, Measure::Tokens];
        Ok(Evaluated {
            pass: measured(Measure::Pass(1), &judged, RESAMPLES, SEED),
            consensus,
            means: kinds.into_iter().filter_map(|kind| measured(kind, &all, RESAMPLES, SEED)).collect(),
            of: of.clone(),
            prompts,
            against: None,
        })
    }

    /// A mean by its measure.
    pub fn mean(&self, measure: Measure) -> Option<f64> {
        self.means.iter().find(|found| found.measure == measure).map(|found| found.value)
    }

    /// Samples of all prompts.
    pub fn samples(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.samples.len()).sum()
    }

    /// Share of the judged samples of a prompt that are correct.
    pub fn rate(&self, id: &str) -> Option<f64> {
        rate(self.prompts.iter().find(|prompt| prompt.id == id)?)
    }
}

/// Share of a prompt's judged samples that are correct.
pub fn rate(prompt: &Prompt) -> Option<f64> {
    let (sum, count) = Measure::Pass(1).of(prompt);
    (count > 0.0).then(|| sum / count)
}

/// Reads all, and compares each of the recipe's stages with the one before it, each student with the last of them.
pub fn read(evaluations: &[Evaluation]) -> anyhow::Result<Vec<Evaluated>> {
    let mut all: Vec<Evaluated> = evaluations.iter().map(Evaluated::read).collect::<Result<_, _>>()?;
    let mut before: Option<usize> = None;
    for at in 0..all.len() {
        if let Some(before) = before {
            all[at].against = compare(&all[before], &all[at]);
        }
        if !all[at].of.student {
            before = Some(at);
        }
    }
    Ok(all)
}

fn compare(first: &Evaluated, second: &Evaluated) -> Option<(String, Paired)> {
    let known: HashMap<&str, &Prompt> = first.prompts.iter().map(|p| (p.id.as_str(), p)).collect();
    let same = |prompt: &Prompt| {
        known.get(prompt.id.as_str()).copied().filter(|p| p.fingerprint == prompt.fingerprint)
    };
    let pairs: Vec<(&Prompt, &Prompt)> = second.prompts.iter().filter_map(|p| Some((same(p)?, p))).collect();
    let found = paired(Measure::Pass(1), &pairs, RESAMPLES, SEED)?;
    Some((first.of.title.clone(), found))
}
