//! Whether the log-probabilities that were recorded while sampling are those of the policy that is trained.
//!
//! With one engine, one type and one policy they are equal to the last bit, and the first ratio is exactly 1. Where they are not,
//! the rows came from another policy, another `--dtype` or another machine, and the gradient is off-policy without anybody
//! having meant it.

use anyhow::{Result, anyhow};

use crate::rows::Sample;

/// The largest difference so far, and where it is.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    worst: Option<Worst>,
}

#[derive(Clone, Copy, Debug)]
struct Worst {
    difference: f64,
    line: usize,
    token: usize,
    recorded: f32,
    recomputed: f32,
}

impl Agreement {
    /// Compares one row.
    pub fn add(&mut self, sample: &Sample, recomputed: &[f32]) {
        for (token, (&recorded, &recomputed)) in sample.sampled.iter().zip(recomputed).enumerate() {
            let difference = (f64::from(recorded) - f64::from(recomputed)).abs();
            // The first of several equal ones in the order of the input, whatever the order of computation.
            let larger = self.worst.is_none_or(|w| {
                difference > w.difference
                    || (difference == w.difference && (sample.line, token) < (w.line, w.token))
            });
            if larger {
                self.worst = Some(Worst { difference, line: sample.line, token, recorded, recomputed });
            }
        }
    }

    /// The largest difference; `None` where nothing was compared.
    pub fn largest(&self) -> Option<f64> {
        self.worst.map(|w| w.difference)
    }

    /// `--check-logprobs`.
    ///
    /// # Errors
    /// Exit 1 when a difference is above `limit`, naming row and token.
    pub fn check(&self, limit: f64) -> Result<()> {
        match self.worst {
            Some(w) if w.difference > limit => Err(anyhow!(
                "line {} of the input, completion token {}: recorded log-probability {}, recomputed {}: they differ by {:.3e}, \
                 allowed is {limit:e}; nothing was trained; train the policy that sampled the rows, with the same --dtype",
                w.line,
                w.token,
                w.recorded,
                w.recomputed,
                w.difference
            )),
            _ => Ok(()),
        }
    }
}
