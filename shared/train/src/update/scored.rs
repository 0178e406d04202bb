//! The same update for a classifier: the loss sees the scores of whole sequences instead of log-probabilities of tokens.
//!
//! Sequences that one loss looks at together (the two sides of a pair) are one [`Unit`] and never parted; their common prompt
//! is computed once.

use r1_kernels::norm;
use r1_model::batch::{Packed, Sequence};

use super::{Applied, Trainer, Unfit};
use crate::refusal::Refused;

/// Sequences whose scores enter the loss together: the better and the worse completion of a prompt, or one completion alone.
#[derive(Clone, Debug)]
pub struct Unit<'a> {
    /// one or more sequences
    pub sequences: Vec<Sequence<'a>>,
}

impl Unit<'_> {
    /// Tokens that are computed for it, a prompt counted once.
    fn tokens(&self) -> usize {
        let mut prompts: Vec<&[u32]> = Vec::new();
        let mut tokens = 0;
        for s in &self.sequences {
            if !prompts.contains(&s.prompt) {
                prompts.push(s.prompt);
                tokens += s.prompt.len();
            }
            tokens += s.completion.len();
        }
        tokens
    }
}

/// A loss that is called unit by unit: its index and scores ([sequences, labels]) come in, d(loss)/d(score) goes out.
pub type UnitLoss<'a> = dyn FnMut(usize, &[f32], &mut [f32]) + 'a;

/// Cuts units into micro-batches of at most `budget` tokens (unless one unit alone is longer): largest first, each into the
/// first micro-batch that has room. Indices in a micro-batch ascend.
fn plan(units: &[Unit], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<(usize, usize)> = units.iter().map(Unit::tokens).enumerate().collect();
    order.sort_by_key(|&(i, tokens)| (std::cmp::Reverse(tokens), i));
    let mut plan: Vec<(usize, Vec<usize>)> = Vec::new();
    for (i, tokens) in order {
        match plan.iter_mut().find(|(sum, _)| sum + tokens <= budget) {
            Some((sum, chosen)) => {
                *sum += tokens;
                chosen.push(i);
            }
            None => plan.push((tokens, vec![i])),
        }
    }
    plan.into_iter()
        .map(|(_, mut chosen)| {
            chosen.sort_unstable();
            chosen
        })
        .collect()
}

/// The score that is not finite, as a refusal of its unit.
fn check(unit: usize, what: &str, values: &[f32]) -> Result<(), Refused> {
    match norm::first_non_finite(values) {
        Some(i) => Err(Refused::not_finite(Some(unit), None, format!("{what} is {}", values[i]))),
        None => Ok(()),
    }
}

impl Trainer {
    fn pack_units(&self, units: &[Unit], chosen: &[usize]) -> Packed {
        let sequences: Vec<Sequence> =
            chosen.iter().flat_map(|&i| units[i].sequences.iter().copied()).collect();
        Packed::scored(&sequences, self.policy.config.pad_token_id)
    }

    /// Adds the gradient of a batch of units. `loss` is called once a unit, in an order that depends on the units alone: its
    /// index and scores ([sequences, labels]) come in, d(loss)/d(score) goes out (it comes in as zeros).
    ///
    /// # Errors
    /// A score or d(loss)/d(score) that is not finite: nothing of the batch may be applied then.
    ///
    /// # Panics
    /// When the policy is no classifier, or a prompt is empty.
    pub fn accumulate_scores(&mut self, units: &[Unit], loss: &mut UnitLoss) -> Result<(), Refused> {
        let labels = self.policy.config.labels().len();
        for chosen in plan(units, self.limits.micro_tokens) {
            let packed = self.pack_units(units, &chosen);
            let recompute = self.budget.recompute(packed.rows());
            let (scores, tape) = self.policy.forward_scores(&packed, recompute).map_err(Refused::failed)?;
            self.load.add(&tape.expert_load);
            let mut d = vec![0.0; scores.len()];
            let mut start = 0;
            for &i in &chosen {
                let range = start..start + units[i].sequences.len() * labels;
                start = range.end;
                check(i, "its score", &scores[range.clone()])?;
                loss(i, &scores[range.clone()], &mut d[range.clone()]);
                check(i, "d(loss)/d(score)", &d[range])?;
            }
            if d.iter().any(|x| *x != 0.0) {
                let done = self.policy.backward_scores(&packed, tape, &d, &mut self.gradients);
                done.map_err(Refused::failed)?;
            }
        }
        Ok(())
    }

    /// Clips what [`Trainer::accumulate_scores`] added, steps, and starts the next batch.
    ///
    /// # Errors
    /// A gradient that is not finite: the policy is as it was before.
    pub fn apply_scores(&mut self, lr: f64) -> Result<Applied, Refused> {
        self.step(lr).map_err(|unfit| {
            let parameter = match unfit {
                Unfit::Gradient(parameter) => parameter,
                Unfit::Device(error) => return Refused::failed(error),
            };
            let tensor = self.policy.parameters()[parameter].pieces[0].name.clone();
            if let Err(error) = self.gradients.clear() {
                return Refused::failed(error);
            }
            Refused::not_finite(None, None, format!("the gradient of {tensor} is not finite"))
        })
    }

    /// Scores of every unit, without any gradient; `seen` gets index and scores ([sequences, labels]).
    ///
    /// # Errors
    /// A score that is not finite.
    pub fn score_units(&self, units: &[Unit], seen: &mut dyn FnMut(usize, &[f32])) -> Result<(), Refused> {
        let labels = self.policy.config.labels().len();
        for chosen in plan(units, self.limits.micro_tokens) {
            let scores = self.policy.scores(&self.pack_units(units, &chosen)).map_err(Refused::failed)?;
            let mut start = 0;
            for &i in &chosen {
                let range = start..start + units[i].sequences.len() * labels;
                start = range.end;
                check(i, "its score", &scores[range.clone()])?;
                seen(i, &scores[range]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_never_parted_and_every_one_comes_once() {
        let (prompt, long, short) = (vec![1; 6], vec![2; 10], vec![3; 2]);
        let pair = |a: &'static [u32], b: &'static [u32]| Unit {
            sequences: vec![
                Sequence { prompt: &[1, 2, 3], completion: a },
                Sequence { prompt: &[1, 2, 3], completion: b },
            ],
        };
        let single = Unit { sequences: vec![Sequence { prompt: &prompt, completion: &long }] };
        let tiny = Unit { sequences: vec![Sequence { prompt: &prompt, completion: &short }] };
        let units = [tiny.clone(), pair(&[4], &[5, 6]), single, tiny];
        assert_eq!(units.iter().map(Unit::tokens).collect::<Vec<_>>(), [8, 6, 16, 8]);
        assert_eq!(plan(&units, 16), [vec![2], vec![0, 3], vec![1]]);
        assert_eq!(
            plan(&units, 5),
            [vec![2], vec![0], vec![3], vec![1]],
            "a unit may be longer than the budget"
        );
        assert!(plan(&[], 5).is_empty());
    }
}
