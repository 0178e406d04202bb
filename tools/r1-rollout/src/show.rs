//! `--show-tokens`: a row's tokens as the policy gets them, one a line: position, id, role, text. What is trained on (a
//! recorded completion, or an example's) is in colour on a terminal.

use std::io::IsTerminal;

use anyhow::Result;
use r1_records::Row;

use crate::tasks::{self, Loaded};
use crate::{Args, settings::Flags};

const COLOUR: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Runs the mode.
pub fn run(args: &Args) -> Result<()> {
    let loaded = tasks::load(args)?;
    let rows = tasks::read_with_words(args, &loaded)?;
    let mut out = args.output.create()?;
    let colour = args.output.path().is_none() && std::io::stdout().is_terminal();
    let Some((tokenizer, _)) = &loaded.words else {
        unreachable!("tasks::read_with_words refuses such a policy")
    };
    for task in rows {
        let (given, trained) = tokens(&task.row, &task.prompt_ids, &loaded, &args.draw)
            .map_err(|e| args.input.blame(task.row.error(format!("{e:#}"), "mend the row")))?;
        out.line(&format!("# {}: {} tokens given, {} trained on", task.id, given.len(), trained.len()))?;
        let all = given.iter().map(|id| (id, false)).chain(trained.iter().map(|id| (id, true)));
        for (at, (&id, is_trained)) in all.enumerate() {
            let role = if is_trained { "trained" } else { "given" };
            let line = format!("{at}\t{id}\t{role}\t{:?}", tokenizer.decode(&[id], false)?);
            let painted = colour && is_trained;
            out.line(&if painted { format!("{COLOUR}{line}{PLAIN}") } else { line })?;
        }
        out.flush_group()?;
    }
    out.finish()
}

/// What is given and what is trained on: the recorded ids, else the template's prompt and the row's own completion.
fn tokens(row: &Row, prompt: &[u32], loaded: &Loaded, flags: &Flags) -> Result<(Vec<u32>, Vec<u32>)> {
    let Some((tokenizer, template)) = &loaded.words else { unreachable!("checked by the caller") };
    if row.has("rollout") {
        let rollout = row.rollout()?;
        if let (Some(prompt), Some(completion)) = (rollout.prompt_ids, rollout.completion_ids) {
            return Ok((prompt, completion));
        }
    }
    match row.get::<String>("completion")? {
        Some(completion) if flags.prefill.is_empty() && flags.ask.is_none() => {
            template.render_example(&row.prompt()?, &completion, tokenizer)
        }
        _ => Ok((prompt.to_vec(), Vec::new())),
    }
}
