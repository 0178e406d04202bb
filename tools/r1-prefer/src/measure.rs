//! How well scores tell better from worse: accuracy with its interval, log-loss, calibration.

use crate::loss::{sigmoid, softplus};
use serde_json::{Map, Value};

/// Standard normal quantile of 0.975.
const Z: f64 = 1.959_963_984_540_054;
/// Bins of the expected calibration error.
const BINS: usize = 10;

/// One judged row: the model's log-odds that what is known is so (c − r of a pair; ±score of a label).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// log-odds, positive where the model is right
    pub lead: f64,
    /// hash of the prompt: rows of one prompt are not independent
    pub prompt: u64,
    /// 1 where the longer completion is the better one, 0 where the shorter is, ½ where they are equally long; labels have none
    pub longer_wins: Option<f64>,
}

/// What a held-out set came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// rows
    pub count: usize,
    /// share of rows with a positive lead; a tie is wrong, as in TRL
    pub accuracy: f64,
    /// its 95 % interval
    pub interval: [f64; 2],
    /// mean of −log σ(lead), nats; chance is ln 2
    pub log_loss: f64,
    /// expected calibration error: ten bins of the probability of the side that the model takes, from ½ to 1
    pub ece: f64,
    /// mean lead
    pub margin: f64,
    /// what "the longer one is better" would get, over pairs
    pub longer_wins: Option<f64>,
}

/// Measures judged rows, at least one.
pub fn measure(rows: &[Judgement]) -> Measured {
    let n = rows.len() as f64;
    let right = |r: &Judgement| f64::from(r.lead > 0.0);
    let mean = |of: &dyn Fn(&Judgement) -> f64| rows.iter().map(of).sum::<f64>() / n;
    let accuracy = mean(&right);
    let lengths: Vec<f64> = rows.iter().filter_map(|r| r.longer_wins).collect();
    Measured {
        count: rows.len(),
        accuracy,
        interval: wilson(accuracy, n / design_effect(rows, accuracy)),
        log_loss: mean(&|r| softplus(-r.lead)),
        ece: calibration_error(rows),
        margin: mean(&|r| r.lead),
        longer_wins: (!lengths.is_empty()).then(|| lengths.iter().sum::<f64>() / lengths.len() as f64),
    }
}

/// How many times wider than for independent rows the variance of the accuracy is, since several rows may share a prompt:
/// Σ_prompts (Σ (x − p))² / Σ (x − p)², at least 1.
fn design_effect(rows: &[Judgement], accuracy: f64) -> f64 {
    let mut by_prompt: std::collections::BTreeMap<u64, f64> = Default::default();
    let mut apart = 0.0;
    for r in rows {
        let off = f64::from(r.lead > 0.0) - accuracy;
        *by_prompt.entry(r.prompt).or_default() += off;
        apart += off * off;
    }
    if apart == 0.0 { 1.0 } else { (by_prompt.values().map(|sum| sum * sum).sum::<f64>() / apart).max(1.0) }
}

/// Wilson's interval of a share `p` of `n` tries (Wilson 1927).
fn wilson(p: f64, n: f64) -> [f64; 2] {
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

fn calibration_error(rows: &[Judgement]) -> f64 {
    let mut bins = [(0.0f64, 0.0f64); BINS];
    for r in rows {
        let confidence = sigmoid(r.lead.abs());
        let bin = (((confidence - 0.5) * 2.0 * BINS as f64) as usize).min(BINS - 1);
        bins[bin].0 += confidence;
        bins[bin].1 += f64::from(r.lead > 0.0);
    }
    bins.iter().map(|(confidence, right)| (confidence - right).abs()).sum::<f64>() / rows.len() as f64
}

impl Measured {
    /// The numbers as metrics, under these names with `eval_` before them.
    pub fn metrics(&self, line: &mut Map<String, Value>) {
        for (name, value) in [
            ("eval_loss", self.log_loss),
            ("eval_accuracy", self.accuracy),
            ("eval_accuracy_low", self.interval[0]),
            ("eval_accuracy_high", self.interval[1]),
            ("eval_ece", self.ece),
            ("eval_margin", self.margin),
        ] {
            line.insert(name.into(), value.into());
        }
        if let Some(share) = self.longer_wins {
            line.insert("eval_longer_wins".into(), share.into());
        }
        line.insert("eval_rows".into(), self.count.into());
    }

    /// One line for a person.
    pub fn text(&self) -> String {
        let percent = |x: f64| 100.0 * x;
        let [low, high] = self.interval;
        format!(
            "held-out accuracy {:.1} % [{:.1}, {:.1}] of {}, log-loss {:.4} (chance 0.6931), calibration error {:.3}",
            percent(self.accuracy),
            percent(low),
            percent(high),
            self.count,
            self.log_loss,
            self.ece
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(leads: &[f64]) -> Vec<Judgement> {
        let row = |(i, lead): (usize, &f64)| Judgement { lead: *lead, prompt: i as u64, longer_wins: None };
        leads.iter().enumerate().map(row).collect()
    }

    #[test]
    fn accuracy_and_its_interval() {
        // Newcombe 1998, table I, method 3: 15 of 148 gives 0.0624 to 0.1605.
        let leads: Vec<f64> = (0..148).map(|i| if i < 15 { 1.0 } else { -1.0 }).collect();
        let m = measure(&rows(&leads));
        assert!((m.interval[0] - 0.0624).abs() < 5e-5 && (m.interval[1] - 0.1605).abs() < 5e-5, "{m:?}");
        assert!((m.accuracy - 15.0 / 148.0).abs() < 1e-12 && m.longer_wins.is_none());
        // A tie is no success.
        assert_eq!(measure(&rows(&[0.0, 2.0])).accuracy, 0.5);
        // Every row twice: as wide as half as many rows.
        let mut twice = rows(&leads);
        twice.extend(rows(&leads));
        let doubled = measure(&twice);
        assert!((doubled.interval[0] - m.interval[0]).abs() < 1e-12, "{doubled:?}");
    }

    #[test]
    fn calibration_and_log_loss() {
        // σ(ln 3) = 0.75: right three times of four is calibrated, right always is off by a quarter.
        let lead = 3f64.ln();
        let calibrated = measure(&rows(&[lead, lead, lead, -lead]));
        assert!(calibrated.ece < 1e-12, "{calibrated:?}");
        let timid = measure(&rows(&[lead; 4]));
        assert!((timid.ece - 0.25).abs() < 1e-12 && (timid.log_loss + 0.75f64.ln()).abs() < 1e-12);
        let chance = measure(&rows(&[0.0; 3]));
        assert!((chance.log_loss - 2f64.ln()).abs() < 1e-12 && (chance.ece - 0.5).abs() < 1e-12);
        // Beyond all doubt, and wrong.
        assert!((measure(&rows(&[-1e6])).ece - 1.0).abs() < 1e-12);
    }
}
