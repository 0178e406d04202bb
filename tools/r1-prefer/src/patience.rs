//! `--patience`: training ends when held-out rows have long stopped getting better, and the best reward model is what stays.
//!
//! The output directory always holds the best one so far, with all that is needed to go on from it; what came after it is not
//! kept. A run that was stopped so goes on from its best measurement, does the same updates again, and ends with the same bytes.

use r1_train::checkpoint::State;
use serde_json::json;

/// Where the best held-out log-loss stands in `train.json`.
const BEST: &str = "best_eval_loss";

/// How long it has not been better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// measurements that may pass without a better one
    limit: u64,
    /// the best log-loss since training began
    best: Option<f64>,
    /// measurements since then
    worse: u64,
}

impl Patience {
    /// At the place where the run begins or goes on.
    pub fn of(limit: u64, state: &State) -> Patience {
        Patience { limit, best: state.memory.get(BEST).and_then(|best| best.as_f64()), worse: 0 }
    }

    /// Takes a measurement; whether it is the best one, which the state then remembers.
    pub fn better(&mut self, log_loss: f64, state: &mut State) -> bool {
        let better = self.best.is_none_or(|best| log_loss < best);
        if better {
            (self.best, self.worse) = (Some(log_loss), 0);
            state.memory.insert(BEST.into(), json!(log_loss));
        } else {
            self.worse += 1;
        }
        better
    }

    /// Whether it has lasted long enough.
    pub fn is_over(&self) -> bool {
        self.worse >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_remembered_and_patience_ends() {
        let mut state = State::planned("r1-prefer", Default::default(), Default::default());
        let mut patience = Patience::of(2, &state);
        let losses = [0.7, 0.5, 0.6, 0.4, 0.4, 0.45];
        let better: Vec<bool> = losses.iter().map(|&loss| patience.better(loss, &mut state)).collect();
        assert_eq!(better, [true, true, false, true, false, false]);
        assert!(patience.is_over());
        // Gone on with from the best one.
        let mut again = Patience::of(2, &state);
        assert!(!again.better(0.4, &mut state) && !again.is_over());
        assert!(!again.better(0.45, &mut state) && again.is_over());
    }
}
