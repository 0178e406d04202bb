//! Judgement without a model: where the answer stands in a completion, whether it is the expected one, and
//! what the form of the completion is worth.
//!
//! Everything here is a pure function of its arguments: no files, no clock, no threads, no signals. Every
//! function returns on any input, in time bounded by a stated limit; what the limits leave undecided is said to be
//! [`Verdict::Undecided`], never guessed.
//!
//! | module | question it answers |
//! |---|---|
//! | [`extract`] | which part of the completion is reasoning, which span is the answer |
//! | [`math`] | are two answers the same mathematical object |
//! | [`choice`], [`exact`], [`spelled`], [`countdown`], [`json`] | the same for lettered options, plain strings, spellings of a value, number puzzles, and JSON with or without a schema |
//! | [`pattern`] | does a regular expression describe the answer |
//! | [`vote`] | which of several answers are one |
//! | [`code`] | which part is a program, and whether two outputs are the same |
//! | [`format`](mod@format), [`language`], [`length`], [`repetition`], [`steps`] | rewards that look at form, not at truth |

pub mod choice;
pub mod code;
pub mod countdown;
pub mod exact;
pub mod extract;
pub mod format;
pub mod json;
pub mod language;
pub mod length;
pub mod math;
pub mod pattern;
pub mod repetition;
pub mod spelled;
pub mod steps;
pub mod vote;

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The two answers are the same object under the policy asked for.
    Equal,
    /// They are shown to differ.
    Unequal,
    /// Neither could be shown within the bounds.
    Undecided,
}

/// A verdict with the name of the rule that decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that decided, a short stable name such as `integer`, `rational` or `identity`.
    pub rule: &'static str,
}

impl Judgement {
    /// Equal, by `rule`.
    pub const fn equal(rule: &'static str) -> Self {
        Judgement { verdict: Verdict::Equal, rule }
    }

    /// Unequal, by `rule`.
    pub const fn unequal(rule: &'static str) -> Self {
        Judgement { verdict: Verdict::Unequal, rule }
    }

    /// Undecided, because of `rule`.
    pub const fn undecided(rule: &'static str) -> Self {
        Judgement { verdict: Verdict::Undecided, rule }
    }

    /// Equal where `same`, else unequal, by `rule`.
    pub const fn of(same: bool, rule: &'static str) -> Self {
        if same { Judgement::equal(rule) } else { Judgement::unequal(rule) }
    }

    /// True where the verdict is [`Verdict::Equal`].
    pub fn is_equal(&self) -> bool {
        self.verdict == Verdict::Equal
    }
}
