//! Examples in, a policy that says what they say out.

use anyhow::Result;
use r1_train::examples::{self, imitated};
use r1_train::supervised::{Defaults, Preparation};

use crate::Args;

/// The paper's SFT stages: batches of 128, 5e-5 falling to a tenth of it.
const PAPER: Defaults = Defaults { batch_size: 128, lr: 5e-5 };

/// Runs the tool.
pub fn run(args: Args) -> Result<()> {
    let preparation = Preparation {
        tool: "r1-sft",
        policy: &args.policy,
        out: &args.output,
        template: &args.template,
        input: &args.input,
        flags: &args.training,
        defaults: PAPER,
        extra: Default::default(),
        inputs: Default::default(),
    };
    let precision = preparation.begin()?;
    let examples = examples::read(&args.input, imitated)?;
    preparation.run(precision, &examples, imitated)
}
