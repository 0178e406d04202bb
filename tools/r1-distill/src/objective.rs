//! The losses on log-probabilities, as r1-train's loop takes them.

use r1_model::Policy;
use r1_train::refusal::Refused;
use r1_train::supervised::{Loss, Objective};
use r1_train::update::{Listed, Pull, Row, Teacher, Trainer};

use crate::tokens::Known;

/// α · text + (1 − α) · divergence from the teacher's distributions.
pub struct Toward {
    /// a live teacher; without one the rows' lists
    pub teacher: Option<Policy>,
    /// what is known of each example
    pub known: Vec<Known>,
    /// 1 / temperature of both distributions; `None` takes each row's
    pub inv_temperature: Option<f32>,
    /// 0 forward, 1 reverse, between them Jensen-Shannon
    pub beta: f32,
    /// share of the text loss
    pub alpha: f64,
}

impl Objective for Toward {
    fn accumulate(&self, trainer: &mut Trainer, rows: &[Row], chosen: &[u32]) -> Result<Loss, Refused> {
        let share = 1.0 / rows.iter().map(|r| r.completion.len()).sum::<usize>().max(1) as f64;
        let known = || chosen.iter().map(|&i| &self.known[i as usize]);
        let inv_temperature: Vec<f32> =
            known().map(|k| self.inv_temperature.unwrap_or(k.inv_temperature)).collect();
        let lists: Vec<Listed> = known()
            .map(|k| Listed {
                ids: k.teacher.top_ids.as_deref().unwrap_or_default(),
                logprobs: k.teacher.top_logprobs.as_deref().unwrap_or_default(),
            })
            .collect();
        let (mut nll, mut divergence) = (0.0, 0.0);
        let mut pull = Pull {
            teacher: self.teacher.as_ref().map_or(Teacher::Listed(&lists), Teacher::Live),
            beta: self.beta,
            inv_temperature: &inv_temperature,
            weight: (share * (1.0 - self.alpha)) as f32,
            seen: &mut |_, own| divergence += share * own.iter().map(|&x| f64::from(x)).sum::<f64>(),
        };
        trainer.accumulate_toward(rows, &mut pull, &mut |_, scored, d| {
            nll -= share * scored.logprobs.iter().map(|&x| f64::from(x)).sum::<f64>();
            d.fill((-share * self.alpha) as f32);
        })?;
        let total = self.alpha * nll + (1.0 - self.alpha) * divergence;
        Ok(Loss { total, parts: vec![("divergence", divergence), ("nll", nll)] })
    }
}

/// The policy gradient of the reverse KL at the tokens that were drawn:
///
/// ```text
/// r = q/q_drawn,  k = ln q − ln p          d(loss)/d ln q = r · k / tokens,  loss = mean of r · k
/// ```
///
/// q the student's probability of the drawn token now, q_drawn when it was drawn (r is 1 in a first pass over the student's own
/// rows), p the teacher's; k is a constant. Tokens are at the temperature of their row. What comes later in a completion is no
/// part of a token's reward: each prefix is its own problem.
pub struct PolicyGradient {
    /// what is known of each example
    pub known: Vec<Known>,
}

impl Objective for PolicyGradient {
    fn accumulate(&self, trainer: &mut Trainer, rows: &[Row], chosen: &[u32]) -> Result<Loss, Refused> {
        let share = 1.0 / rows.iter().map(|r| r.completion.len()).sum::<usize>().max(1) as f64;
        let known = |i: usize| &self.known[chosen[i] as usize];
        let tempered: Vec<Row> =
            (0..rows.len()).map(|i| Row { inv_temperature: known(i).inv_temperature, ..rows[i] }).collect();
        let (mut nll, mut divergence, mut ratios) = (0.0, 0.0, 0.0);
        trainer.accumulate(&tempered, false, &mut |i, scored, d| {
            let Known { drawn, teacher, .. } = known(i);
            for (t, d) in d.iter_mut().enumerate() {
                let now = f64::from(scored.logprobs[t]);
                let ratio = (now - f64::from(drawn[t])).exp();
                let weighted = ratio * (now - f64::from(teacher.logprobs[t]));
                *d = (share * weighted) as f32;
                divergence += share * weighted;
                ratios += share * ratio;
                nll -= share * now;
            }
        })?;
        Ok(Loss {
            total: divergence,
            parts: vec![("divergence", divergence), ("nll", nll), ("ratio", ratios)],
        })
    }
}
