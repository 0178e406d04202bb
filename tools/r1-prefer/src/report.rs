//! What one update came to, under TRL's names where it has them.

use crate::preferences::{Judged, Known};
use serde_json::{Map, Value, json};

/// Scores and losses of one batch, added up row by row.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    loss: f64,
    rows: usize,
    right: usize,
    pairs: usize,
    margin: f64,
    scores: Vec<f64>,
}

impl Batch {
    /// Adds a row with its share of the loss.
    pub fn add(&mut self, row: &Judged, scores: &[f32], loss: f64) {
        self.loss += loss;
        self.rows += 1;
        self.scores.extend(scores.iter().map(|s| f64::from(*s)));
        match (row.known, scores) {
            (Known::Pair { .. }, &[chosen, rejected]) => {
                self.right += usize::from(chosen > rejected);
                self.pairs += 1;
                self.margin += f64::from(chosen) - f64::from(rejected);
            }
            (Known::Label(label), &[score]) => {
                self.right += usize::from(if label { score > 0.0 } else { score < 0.0 })
            }
            _ => unreachable!("a pair has two scores and a label one"),
        }
    }

    /// The loss: shares of all rows together.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// The batch's part of a line of metrics.
    pub fn line(&self) -> Map<String, Value> {
        let n = self.scores.len().max(1) as f64;
        let mut line = Map::new();
        line.insert("loss".into(), self.loss.into());
        line.insert("accuracy".into(), (self.right as f64 / self.rows.max(1) as f64).into());
        if self.pairs > 0 {
            line.insert("margin".into(), (self.margin / self.pairs as f64).into());
        }
        line.insert("mean_reward".into(), (self.scores.iter().sum::<f64>() / n).into());
        for (name, value) in [
            ("min_reward", self.scores.iter().copied().reduce(f64::min)),
            ("max_reward", self.scores.iter().copied().reduce(f64::max)),
        ] {
            line.insert(name.into(), json!(value.unwrap_or(0.0)));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same batches through TRL's metrics.
    #[test]
    fn metrics_are_those_of_trl() {
        let golden: Value =
            serde_json::from_str(include_str!("../../../tests/golden/scores/loss.json")).unwrap();
        let list = |v: &Value| -> Vec<f64> { serde_json::from_value(v.clone()).unwrap() };
        for case in golden["pairs"].as_array().unwrap() {
            let mut batch = Batch::default();
            for (c, r) in list(&case["chosen"]).iter().zip(list(&case["rejected"])) {
                batch.add(&Judged::of(Known::Pair { margin: 0.0 }), &[*c as f32, r as f32], 0.0);
            }
            let line = batch.line();
            for (name, want) in case["metrics"].as_object().unwrap() {
                let (got, want) = (line[name].as_f64().unwrap(), want.as_f64().unwrap());
                assert!((got - want).abs() <= 1e-4 * want.abs().max(1e-2), "{name}: {got} {want}");
            }
        }
    }
}
