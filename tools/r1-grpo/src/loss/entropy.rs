//! What the entropy of the next-token distribution decides: which tokens are trained (`--top-entropy`), and a bonus for keeping it.

use serde::{Deserialize, Serialize};

/// Marks the tokens whose entropy is at or above the (1 − share) quantile of all tokens of the batch (linear between two of them).
pub fn highest(entropies: &[&[f32]], share: f64) -> Vec<Vec<bool>> {
    let mut all: Vec<f32> = entropies.concat();
    all.sort_unstable_by(f32::total_cmp);
    let Some(last) = all.len().checked_sub(1) else { return vec![Vec::new(); entropies.len()] };
    let at = (1.0 - share) * last as f64;
    let (below, above) = (at.floor() as usize, (at.floor() as usize + 1).min(last));
    let (low, high) = (f64::from(all[below]), f64::from(all[above]));
    let edge = low + (at - at.floor()) * (high - low);
    entropies.iter().map(|own| own.iter().map(|h| f64::from(*h) >= edge).collect()).collect()
}

/// The bonus: the loss is lowered by `weight` times the mean entropy of the trained tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bonus {
    /// always the same weight
    Fixed(f64),
    /// TRL's controller
    Adaptive(Controller),
}

/// After every update the weight rises by `step` where the mean entropy was at most `target`, else falls; it acts on the next
/// update, and only while the last entropy was at most the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controller {
    /// the weight before the first update
    pub first: f64,
    /// entropy (nats) below which the bonus acts
    pub target: f64,
    /// change of the weight in one update
    pub step: f64,
    /// lowest and highest weight
    pub bounds: [f64; 2],
}

/// What the controller remembers between updates; part of `train.json`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// the weight
    pub weight: f64,
    /// mean entropy (nats) at the last update
    pub entropy: f64,
}

impl Bonus {
    /// The weight that acts on the next update.
    pub fn weight(&self, memory: Option<Memory>) -> f64 {
        match (self, memory) {
            (Bonus::Fixed(weight), _) => *weight,
            // Nothing was measured yet.
            (Bonus::Adaptive(_), None) => 0.0,
            (Bonus::Adaptive(c), Some(memory)) if memory.entropy <= c.target => memory.weight,
            (Bonus::Adaptive(_), Some(_)) => 0.0,
        }
    }

    /// What to remember after an update whose trained tokens had this mean entropy.
    pub fn after(&self, memory: Option<Memory>, entropy: f64) -> Option<Memory> {
        let Bonus::Adaptive(c) = self else { return None };
        let weight = memory.map_or(c.first, |memory| memory.weight);
        let moved = if entropy <= c.target {
            (weight + c.step).min(c.bounds[1])
        } else {
            (weight - c.step).max(c.bounds[0])
        };
        Some(Memory { weight: moved, entropy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_is_linear_between_two_tokens() {
        let rows: [&[f32]; 2] = [&[0.0, 3.0], &[1.0, 2.0, 4.0]];
        assert_eq!(highest(&rows, 0.5), [vec![false, true], vec![false, true, true]]);
        // The 0.8 quantile lies at 3.2.
        assert_eq!(highest(&rows, 0.2), [vec![false, false], vec![false, false, true]]);
        assert_eq!(highest(&rows, 1.0), [vec![true; 2], vec![true; 3]]);
        assert_eq!(highest(&[&[], &[]], 0.2), vec![Vec::<bool>::new(); 2]);
    }

    #[test]
    fn the_controller_turns_where_the_entropy_crosses_the_target() {
        let c = Controller { first: 0.01, target: 0.5, step: 0.005, bounds: [0.0, 0.02] };
        let bonus = Bonus::Adaptive(c);
        let mut memory = None;
        let mut seen = Vec::new();
        for entropy in [0.9, 0.4, 0.3, 0.2, 0.1, 0.6, 0.6, 0.4] {
            seen.push((bonus.weight(memory) * 1e3).round());
            memory = bonus.after(memory, entropy);
        }
        // 0.9: falls to 5; 0.4: 10; 0.3: 15; 0.2: 20; 0.1: 20 (the bound); 0.6: 15 and off; 0.6: 10 and off; 0.4.
        assert_eq!(seen, [0.0, 0.0, 10.0, 15.0, 20.0, 20.0, 0.0, 0.0]);
        assert_eq!(Bonus::Fixed(0.3).weight(None), 0.3);
        assert_eq!(Bonus::Fixed(0.3).after(None, 1.0), None);
    }
}
