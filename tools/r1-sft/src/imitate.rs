//! Examples in, a policy that says what they say out.

use anyhow::Result;
use r1_records::{RecordError, Row};
use r1_train::examples::{self, Example, every_turn, imitated};
use r1_train::supervised::{Defaults, Imitation, Preparation};

use serde_json::Map;

use crate::Args;

/// The paper's SFT stages: batches of 128, 5e-5 falling to a tenth of it.
const PAPER: Defaults = Defaults { batch_size: 128, lr: 5e-5 };

/// Runs the tool.
pub fn run(args: Args) -> Result<()> {
    let of: fn(&Row) -> Result<Option<Example>, RecordError> = match args.turns {
        Turns::Last => imitated,
        Turns::All => every_turn,
    };
    let mut extra = Map::new();
    // What is the default leaves no trace.
    if args.turns == Turns::All {
        extra.insert("turns".into(), "all".into());
    }
    if args.label_smoothing != 0.0 {
        extra.insert("label-smoothing".into(), args.label_smoothing.into());
    }
    let preparation = Preparation {
        tool: "r1-sft",
        policy: &args.policy,
        out: &args.output,
        template: &args.template,
        input: &args.input,
        flags: &args.training,
        lora: &args.lora,
        defaults: PAPER,
        extra,
        inputs: Default::default(),
    };
    let precision = preparation.begin()?;
    let examples = examples::read(&args.input, of)?;
    preparation.run(precision, &examples, Imitation { label_smoothing: args.label_smoothing }, of)
}

/// Which turns of a conversation are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Turns {
    /// the assistant's last one
    Last,
    /// all of the assistant's, each given what came before it; what they are, `{% generation %}` blocks of the chat template
    /// say where it has them
    All,
}
