//! The record types of the wire format, and the JSONL reader and writer.
//!
//! One line is one completion of one prompt; a group is a run of consecutive lines with one `id`. A stage adds one key named
//! after itself and touches nothing else. [`Row`] keeps the line as it came and splices the added key into it, so whatever a
//! stage does not write leaves it byte for byte as it entered.
//!
//! Every failure is a [`RecordError`]: the place (line, column), the fact and the remedy. A file name and an exit code are
//! not this crate's business.
//!
//! ```
//! use r1_records::{Reader, Reward};
//!
//! let file = "{\"prompt\": \"What is 2 + 3 * 4?\", \"answer\": 14, \"rollout\": {\"completion\": \"<answer>14</answer>\"}}\n";
//! for row in Reader::new(file.as_bytes()) {
//!     let mut row = row.unwrap();
//!     assert_eq!(row.answer().unwrap().as_deref(), Some("14"));
//!     row.set("reward", &Reward { total: Some(1.0), ..Reward::default() }).unwrap();
//!     assert!(row.text().ends_with(r#""},"reward":{"total":1.0}}"#));
//! }
//! ```

mod columns;
mod error;
mod example;
mod group;
mod number;
mod reader;
mod reward;
mod rounds;
mod row;
mod section;
mod tools;
mod unfold;

pub use columns::{Message, Prompt};
pub use error::RecordError;
pub use example::{Example, Preference};
pub use group::{Group, Groups};
pub use number::to_json;
pub use reader::Reader;
pub use reward::{Judgement, Opinion, Reward};
pub use rounds::{NO_ROUND, ROUND_END, Round, Rounds, each_round, ends_round, is_over};
pub use row::Row;
pub use section::{FinishReason, Outline, Rollout, Scores};
pub use unfold::Unfolded;
