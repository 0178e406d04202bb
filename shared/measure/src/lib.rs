//! What judged completions are worth. No files, no model: numbers from rows.
//!
//! | module | question it answers |
//! |---|---|
//! | [`prompt`] | what the completions of one prompt tell |
//! | [`measure`](mod@measure) | pass@k, cons@k, rates and lengths of one prompt, and their mean over prompts |
//! | [`interval`] | how far such a mean may be off |
//! | [`paired`] | whether a second run is better on the same prompts |

pub mod interval;
pub mod measure;
pub mod paired;
pub mod prompt;

pub use measure::{Measure, Measured, measured};
pub use prompt::{Prompt, Sample};
