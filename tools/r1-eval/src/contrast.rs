//! `--paired`: a later file against the first, prompt by prompt.

use crate::read::Run;
use crate::table::{aligned, number};
use r1_measure::paired::{Paired, paired};
use r1_measure::{Measure, Prompt};
use serde_json::{Value, json};
use std::collections::HashMap;

/// What came of two files.
pub struct Contrast {
    files: [String; 2],
    /// Prompts in both, in the first alone, in the second alone.
    prompts: [usize; 3],
    measures: Vec<Paired>,
}

/// Compares the prompts whose ids are in both files. Errors: none is in both; an id stands for different prompts.
pub fn of(first: &Run, second: &Run, ks: &[usize], resamples: u32, seed: u64) -> anyhow::Result<Contrast> {
    let known: HashMap<&str, &Prompt> = first.prompts.iter().map(|(p, _)| (p.id.as_str(), p)).collect();
    let mut pairs: Vec<(&Prompt, &Prompt)> = Vec::new();
    for (prompt, _) in &second.prompts {
        let Some(other) = known.get(prompt.id.as_str()) else { continue };
        if prompt.fingerprint != other.fingerprint {
            return Err(r1_cli::bad_input(
                &second.file,
                format!("`{}` has another prompt or answer than in {}", prompt.id, first.file),
                "compare runs over the same tasks",
            ));
        }
        pairs.push((other, prompt));
    }
    if pairs.is_empty() {
        return Err(r1_cli::bad_input(
            &second.file,
            format!("no id is also in {}", first.file),
            "compare runs over the same tasks",
        ));
    }
    let kinds = ks
        .iter()
        .map(|k| Measure::Pass(*k))
        .chain(ks.iter().filter(|k| **k > 2).map(|k| Measure::Consensus(*k)))
        .chain(Measure::MEANS);
    let both = pairs.len();
    Ok(Contrast {
        files: [first.file.clone(), second.file.clone()],
        prompts: [both, first.prompts.len() - both, second.prompts.len() - both],
        measures: kinds.filter_map(|measure| paired(measure, &pairs, resamples, seed)).collect(),
    })
}

impl Contrast {
    /// One JSON object.
    pub fn json(&self) -> Value {
        let [both, first, second] = self.prompts;
        let mut object = json!({
            "paired": self.files, "prompts": both, "only_in_first": first, "only_in_second": second,
        });
        for found in &self.measures {
            object[found.measure.name()] = json!({
                "first": found.means[0], "second": found.means[1], "difference": found.difference,
                "bootstrap": found.bootstrap, "better": found.better, "worse": found.worse, "equal": found.equal,
                "sign_test_p": found.p,
            });
        }
        object
    }

    /// One line, about pass@1.
    pub fn line(&self) -> String {
        let [first, second] = &self.files;
        let mut line = format!("{second} against {first}:");
        for found in self.measures.iter().filter(|found| found.measure == Measure::Pass(1)) {
            let [low, high] = found.bootstrap.map(|bound| 100.0 * bound);
            line.push_str(&format!(
                " pass@1 {:+.1} [{low:+.1}, {high:+.1}], better on {}, worse on {}, equal on {}, sign test p {},",
                100.0 * found.difference,
                found.better,
                found.worse,
                found.equal,
                p_value(found.p)
            ));
        }
        format!("{line} {} prompts in both", self.prompts[0])
    }

    /// A table for a person.
    pub fn table(&self) -> String {
        let [both, only_first, only_second] = self.prompts;
        let [first, second] = &self.files;
        let heads =
            ["", "first", "second", "difference", "better", "worse", "equal", "p"].map(str::to_string);
        let mut lines = vec![heads.to_vec()];
        for found in &self.measures {
            let scale = if found.measure.is_share() { 100.0 } else { 1.0 };
            let signed = |value: f64| match found.measure {
                Measure::Reward => format!("{value:+.3}"),
                _ => format!("{:+.1}", scale * value),
            };
            let [low, high] = found.bootstrap.map(signed);
            lines.push(vec![
                found.measure.name(),
                number(found.measure, found.means[0]),
                number(found.measure, found.means[1]),
                format!("{} [{low}, {high}]", signed(found.difference)),
                found.better.to_string(),
                found.worse.to_string(),
                found.equal.to_string(),
                p_value(found.p),
            ]);
        }
        let mut text = format!("\nfirst {first}, second {second}: {both} prompts in both");
        if only_first + only_second > 0 {
            text.push_str(&format!(" ({only_first} in the first alone, {only_second} in the second)"));
        }
        text + "; better is greater, p is of the exact sign test\n" + &aligned(&lines, 1)
    }
}

/// Two digits, or what it is below.
fn p_value(p: f64) -> String {
    if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.0e}") }
}
