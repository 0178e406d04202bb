//! The learning rate of every update: warm-up, then constant, linear or cosine, down to a floor.
//!
//! Numbers are those of transformers' `get_{constant,linear,cosine}_schedule_with_warmup` and
//! `get_cosine_with_min_lr_schedule_with_warmup`, with one departure: past the last planned update the rate stays at the
//! floor (transformers' cosine rises again).

use serde::{Deserialize, Serialize};

/// What the rate does after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// stays at the peak
    Constant,
    /// falls in a straight line
    Linear,
    /// falls along half a cosine
    Cosine,
}

/// A learning-rate schedule over `total` updates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// what follows the warm-up
    pub shape: Shape,
    /// highest rate
    pub peak: f64,
    /// updates over which the rate rises in a straight line from 0; the first of them changes nothing
    pub warmup: u64,
    /// planned updates, warm-up included
    pub total: u64,
    /// the floor as a share of the peak (the paper's SFT and distillation: 0.1)
    pub min_ratio: f64,
}

impl Schedule {
    /// The rate of update `update`, counted from 0.
    pub fn rate(&self, update: u64) -> f64 {
        if update < self.warmup {
            return self.peak * (update as f64 / self.warmup as f64);
        }
        let span = self.total.saturating_sub(self.warmup).max(1);
        let progress = ((update - self.warmup) as f64 / span as f64).min(1.0);
        let share = match self.shape {
            Shape::Constant => return self.peak,
            Shape::Linear => 1.0 - progress,
            Shape::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.peak * (self.min_ratio + (1.0 - self.min_ratio) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        schedules: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        kind: Shape,
        total: u64,
        warmup: u64,
        floor: f64,
        lr: Vec<f64>,
    }

    #[test]
    fn rates_are_those_of_transformers() {
        let text = include_str!("../../../tests/golden/optimizer/schedule.json");
        let golden: Golden = serde_json::from_str(text).unwrap();
        assert!(golden.schedules.len() >= 6);
        for case in golden.schedules {
            let (shape, total, warmup) = (case.kind, case.total, case.warmup);
            let schedule = Schedule { shape, peak: 1.0, warmup, total, min_ratio: case.floor };
            for (i, expected) in case.lr.iter().enumerate() {
                let rate = schedule.rate(i as u64);
                if i as u64 <= total {
                    assert!(
                        (rate - expected).abs() < 1e-12,
                        "{case:?} update {i}: {rate}",
                        case = (shape, total)
                    );
                } else {
                    assert!((rate - schedule.rate(total)).abs() < 1e-12, "past the end the rate stays");
                }
            }
        }
    }

    #[test]
    fn a_run_shorter_than_its_warmup_never_divides_by_zero() {
        let schedule = Schedule { shape: Shape::Cosine, peak: 2.0, warmup: 10, total: 4, min_ratio: 0.1 };
        assert_eq!(schedule.rate(0), 0.0);
        assert_eq!(schedule.rate(5), 1.0);
        assert!((schedule.rate(12) - 0.2).abs() < 1e-12);
    }
}
