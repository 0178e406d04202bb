//! What happens when a loss or a gradient is not finite: the update is refused, the batch is saved beside the run, and the
//! message names the row and the token. A device that fails in the middle of a batch is reported in the same way.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::update::Row;

/// Why a batch was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// index of the row in the batch, where one row is to blame
    pub row: Option<usize>,
    /// index of the completion token in that row, where one token is to blame
    pub token: Option<usize>,
    /// what is not finite, or what failed
    pub fact: String,
    /// what may help
    pub remedy: &'static str,
}

impl Refused {
    /// Something of this batch is not finite.
    pub fn not_finite(row: Option<usize>, token: Option<usize>, fact: String) -> Refused {
        Refused { row, token, fact, remedy: "lower --lr, or leave the row out" }
    }

    /// The device that computes has failed.
    pub fn failed(error: anyhow::Error) -> Refused {
        let (row, token, fact) = (None, None, format!("{error:#}"));
        Refused { row, token, fact, remedy: "lower --micro-tokens, or use --device cpu" }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.row, self.token) {
            (Some(row), Some(token)) => write!(f, "row {row}, completion token {token}: {}", self.fact),
            (Some(row), None) => write!(f, "row {row}: {}", self.fact),
            _ => f.write_str(&self.fact),
        }
    }
}

impl std::error::Error for Refused {}

/// Saves the batch as `OUT.refused-step-N.jsonl` (one row a line: its line in the input, its ids, its temperature, and which
/// token was to blame) and says all of it in one line. `line` gives a row's line in the input.
pub fn report(
    out: &Path,
    step: u64,
    rows: &[Row],
    line: impl Fn(usize) -> usize,
    refused: &Refused,
) -> anyhow::Error {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".refused-step-{step}.jsonl"));
    let file: PathBuf = out.with_file_name(name);
    let saved = r1_cli::AtomicFile::create(&file).and_then(|mut to| {
        for (i, row) in rows.iter().enumerate() {
            let mut value = serde_json::json!({
                "line": line(i),
                "prompt_ids": row.prompt,
                "completion_ids": row.completion,
                "temperature": if row.inv_temperature == 1.0 { 1.0 } else { 1.0 / row.inv_temperature },
            });
            if refused.row == Some(i) {
                value["refused"] = refused.fact.clone().into();
                if let Some(token) = refused.token {
                    value["token"] = token.into();
                }
            }
            writeln!(to, "{value}").map_err(|e| to.failure(e))?;
        }
        to.publish()
    });
    let place = match (refused.row, refused.token) {
        (Some(row), Some(token)) => format!("line {} of the input, completion token {token}: ", line(row)),
        (Some(row), None) => format!("line {} of the input: ", line(row)),
        _ => String::new(),
    };
    let kept = match saved {
        Ok(()) => format!("the batch is saved in {}", file.display()),
        Err(error) => format!("the batch could not be saved ({error})"),
    };
    anyhow::anyhow!(
        "step {step} refused, weights unchanged: {place}{}; {kept}; {}",
        refused.fact,
        refused.remedy
    )
}
