//! The loss that a supervised run minimizes.

use crate::refusal::Refused;
use crate::update::{Pull, Row, Scored, Teacher, Trainer};

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

/// The mean negative log-likelihood of the batch's completion tokens, where ε is 0. Else labels are smoothed, as torch's
/// `cross_entropy` and transformers' `LabelSmoother` do it: with the vocabulary's V tokens v, the mean over completion tokens t of
///
/// ```text
/// (1 − ε) · (−ln p(t)) + ε · (1/V) Σ_v (−ln p(v))  =  (1 − ε) · (−ln p(t)) + ε · (KL(uniform‖p) + ln V)
/// ```
///
/// The right-hand side is how it is computed: the head runs once more, toward a uniform teacher.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Imitation {
    /// ε, from 0 to 1
    pub label_smoothing: f64,
}

impl Objective for Imitation {
    fn accumulate(&self, trainer: &mut Trainer, rows: &[Row], _: &[u32]) -> Result<Loss, Refused> {
        let share = 1.0 / rows.iter().map(|r| r.completion.len()).sum::<usize>().max(1) as f64;
        let smoothing = self.label_smoothing;
        let mut nll = 0.0;
        let mut text = |_: usize, scored: Scored, d: &mut [f32]| {
            nll -= share * scored.logprobs.iter().map(|&x| f64::from(x)).sum::<f64>();
            d.fill((-share * (1.0 - smoothing)) as f32);
        };
        if smoothing == 0.0 {
            trainer.accumulate(rows, false, &mut text)?;
            return Ok(Loss { total: nll, parts: Vec::new() });
        }
        let inv_temperature: Vec<f32> = rows.iter().map(|row| row.inv_temperature).collect();
        let mut from_uniform = 0.0;
        let mut pull = Pull {
            teacher: Teacher::Uniform,
            beta: 0.0,
            inv_temperature: &inv_temperature,
            weight: (share * smoothing) as f32,
            seen: &mut |_, own| from_uniform += share * own.iter().map(|&x| f64::from(x)).sum::<f64>(),
        };
        trainer.accumulate_toward(rows, &mut pull, &mut text)?;
        let all = from_uniform + (trainer.policy.config.vocab_size as f64).ln();
        Ok(Loss { total: (1.0 - smoothing) * nll + smoothing * all, parts: vec![("nll", nll)] })
    }
}
