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
///
/// With a clip ε, as in PPO with the advantage −k: loss = mean of max(r · k, r' · k), r' = r held within 1 ± ε; where r' · k is the
/// greater, nothing is learned.
pub struct PolicyGradient {
    /// what is known of each example
    pub known: Vec<Known>,
    /// ε
    pub clip: Option<f64>,
}

/// A token's loss, its derivative by ln q, and whether the clip held it.
fn of_token(ratio: f64, k: f64, clip: Option<f64>) -> (f64, f64, bool) {
    let free = ratio * k;
    let held = clip.map_or(free, |clip| ratio.clamp(1.0 - clip, 1.0 + clip) * k);
    if held > free { (held, 0.0, true) } else { (free, free, false) }
}

impl Objective for PolicyGradient {
    fn accumulate(&self, trainer: &mut Trainer, rows: &[Row], chosen: &[u32]) -> Result<Loss, Refused> {
        let share = 1.0 / rows.iter().map(|r| r.completion.len()).sum::<usize>().max(1) as f64;
        let known = |i: usize| &self.known[chosen[i] as usize];
        let tempered: Vec<Row> =
            (0..rows.len()).map(|i| Row { inv_temperature: known(i).inv_temperature, ..rows[i] }).collect();
        let (mut nll, mut divergence, mut ratios, mut clipped) = (0.0, 0.0, 0.0, 0.0);
        trainer.accumulate(&tempered, false, &mut |i, scored, d| {
            let Known { drawn, teacher, .. } = known(i);
            for (t, d) in d.iter_mut().enumerate() {
                let now = f64::from(scored.logprobs[t]);
                let ratio = (now - f64::from(drawn[t])).exp();
                let (loss, slope, held) = of_token(ratio, now - f64::from(teacher.logprobs[t]), self.clip);
                *d = (share * slope) as f32;
                divergence += share * loss;
                clipped += share * f64::from(u8::from(held));
                ratios += share * ratio;
                nll -= share * now;
            }
        })?;
        let mut parts = vec![("divergence", divergence), ("nll", nll), ("ratio", ratios)];
        parts.extend(self.clip.map(|_| ("clip_ratio", clipped)));
        Ok(Loss { total: divergence, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::of_token;

    #[test]
    fn a_tokens_slope_is_that_of_its_loss() {
        let mut held_somewhere = 0;
        for clip in [None, Some(0.2), Some(0.0)] {
            for k in [-2.0, -0.3, 0.0, 0.4, 3.0] {
                for ln_ratio in [-0.9f64, -0.21, 0.0, 0.15, 0.7] {
                    let at = |h: f64| of_token((ln_ratio + h).exp(), k, clip).0;
                    let (_, slope, held) = of_token(ln_ratio.exp(), k, clip);
                    let h = 1e-6;
                    // At r = 1 and ε = 0 there is a corner, whose sides differ.
                    let corner = clip == Some(0.0) && ln_ratio == 0.0;
                    let measured = (at(h) - at(-h)) / (2.0 * h);
                    assert!(
                        corner || (measured - slope).abs() < 1e-6,
                        "{clip:?} {k} {ln_ratio}: {measured} {slope}"
                    );
                    held_somewhere += usize::from(held);
                    assert!(!(held && clip.is_none()), "without a clip nothing is held");
                }
            }
        }
        assert!(held_somewhere > 5);
        // A first pass is never held, a token that has moved far the good way is: less probable, and the teacher likes it less.
        assert!(
            !of_token(1.0, 3.0, Some(0.2)).2
                && of_token(0.7, 3.0, Some(0.2)).2
                && !of_token(1.5, 3.0, Some(0.2)).2
        );
    }
}
