//! REINFORCE, which GPG also is: A log π, without any ratio.

use super::Term;

/// One token.
pub fn reinforce(advantage: f64, logprob: f64) -> Term {
    Term { value: advantage * logprob, by_logprob: advantage, ..Term::default() }
}
