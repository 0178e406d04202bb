//! The loss that a supervised run minimizes.

use crate::refusal::Refused;
use crate::update::{Row, Trainer};

/// What a batch came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loss {
    /// what is minimized: a mean over the batch's completion tokens
    pub total: f64,
    /// what it is made of, under the names that metrics bear; empty where it is one thing
    pub parts: Vec<(&'static str, f64)>,
}

/// A loss over examples in tokens.
pub trait Objective {
    /// Adds the gradient of a batch to the trainer's. `chosen` are the rows' numbers in the corpus.
    ///
    /// # Errors
    /// Something that is not finite.
    fn accumulate(&self, trainer: &mut Trainer, rows: &[Row], chosen: &[u32]) -> Result<Loss, Refused>;
}

/// The mean negative log-likelihood of the batch's completion tokens.
pub struct Imitation;

impl Objective for Imitation {
    fn accumulate(&self, trainer: &mut Trainer, rows: &[Row], _: &[u32]) -> Result<Loss, Refused> {
        let tokens: usize = rows.iter().map(|r| r.completion.len()).sum();
        let weight = -1.0 / tokens.max(1) as f64;
        let mut total = 0.0;
        trainer.accumulate(rows, false, &mut |_, scored, d| {
            total += weight * scored.logprobs.iter().map(|&x| f64::from(x)).sum::<f64>();
            d.fill(weight as f32);
        })?;
        Ok(Loss { total, parts: Vec::new() })
    }
}
