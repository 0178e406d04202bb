//! One file: its prompts with their numbers. Texts are not held, but for those that `--show` asks for.

use crate::show::{self, Shown};
use r1_cli::Input;
use r1_measure::Prompt;
use r1_records::{Group, Groups, Reader, RecordError, Row};

/// A file's prompts, in its order.
pub struct Run {
    /// The file's name.
    pub file: String,
    /// Each prompt with its value of the column `--by`.
    pub prompts: Vec<(Prompt, Option<String>)>,
    /// What `--show` shows.
    pub shown: Shown,
}

impl Run {
    /// Reads the file to its end; `show` prompts are kept to be shown.
    pub fn read(
        input: &Input,
        reader: impl std::io::BufRead,
        by: Option<&str>,
        show: usize,
    ) -> anyhow::Result<Run> {
        let mut run = Run {
            file: input.name(),
            prompts: Vec::new(),
            shown: Shown { file: input.name(), rows: Vec::new() },
        };
        for group in Groups::new(Reader::new(reader)) {
            group
                .and_then(|group| {
                    group.check(true)?;
                    if run.shown.rows.len() < show {
                        show::take(&mut run.shown, &group)?;
                    }
                    run.prompts.push((Prompt::of(&group)?, label(&group, by)?));
                    Ok(())
                })
                .map_err(|error| input.blame(error))?;
        }
        Ok(run)
    }

    /// The prompts with this value of the column `--by`, or all.
    pub fn of(&self, value: Option<&str>) -> Vec<&Prompt> {
        let chosen = self.prompts.iter().filter(|(_, by)| value.is_none() || by.as_deref() == value);
        chosen.map(|(prompt, _)| prompt).collect()
    }

    /// The values of the column `--by`, sorted.
    pub fn values(&self) -> Vec<&str> {
        let mut values: Vec<&str> = self.prompts.iter().filter_map(|(_, by)| by.as_deref()).collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

/// The group's value of the column `--by`, which all its rows share.
fn label(group: &Group, by: Option<&str>) -> Result<Option<String>, RecordError> {
    let Some(column) = by else { return Ok(None) };
    let value = column_value(&group.rows[0], column)?;
    for row in &group.rows {
        if column_value(row, column)? != value {
            let fact = format!("`{column}` differs within the group `{}`", group.id);
            return Err(row.error_in(column, fact, "choose a column that belongs to the prompt"));
        }
    }
    Ok(Some(value))
}

/// A column as a table label: a string as it is, anything else as its JSON; `task` as the row's verifier, also by default.
fn column_value(row: &Row, column: &str) -> Result<String, RecordError> {
    match row.raw(column) {
        Some(raw) if raw.starts_with('"') => row.require(column),
        Some(raw) => Ok(raw.to_string()),
        None if column == "task" => row.task(),
        None => Err(row.error(format!("no `{column}`"), "--by needs a column that every row has")),
    }
}
