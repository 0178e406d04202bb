//! The human step: `--review FILE` writes the candidates for a person to read, mend and drop; `--reviewed FILE`, with the same
//! input and the same other flags, takes the file back.
//!
//! Nothing is lost silently: a candidate that is missing, one that is not in the input, a changed prompt, an emptied completion
//! and a file cut short are errors; to refuse a candidate its mark says `drop`. What was kept, dropped and edited is counted.

use r1_cli::AtomicFile;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

const HEAD: &str = "\
Candidates of r1-reject, for a person to read. Each begins with a line `=== keep {...}`.
Write `drop` for `keep` to refuse it. Edit the text under `--- completion` as you like; the prompt is there to be read.
Do not remove a candidate, and leave what stands in braces. A line of text that would begin with `=== `, `--- ` or a
backslash has a backslash before it here.
";

/// The flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Reviewing {
    /// Write the kept completions to FILE as text, for a person to edit
    #[arg(long, value_name = "FILE", conflicts_with = "reviewed")]
    review: Option<PathBuf>,
    /// Take the edited FILE of --review back: the same input and flags, the reader's word last
    #[arg(long, value_name = "FILE")]
    reviewed: Option<PathBuf>,
}

/// What stands in a candidate's mark: enough to find it again, and to notice that it is another.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    id: String,
    /// Which row of its group, from 0.
    row: usize,
    /// Hash of prompt and completion as they were offered.
    hash: String,
}

/// A candidate as it came back.
#[derive(Clone, Debug)]
pub struct Answer {
    keep: bool,
    hash: String,
    prompt: String,
    completion: String,
    line: usize,
}

/// What the reader says to a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// Kept, as it is or with another text.
    Keep(Option<String>),
    /// Refused.
    Drop,
}

/// What was asked and answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Candidates that were kept as they are, kept with another text, dropped.
    pub kept: u64,
    /// … edited
    pub edited: u64,
    /// … dropped
    pub dropped: u64,
}

/// One of the two directions, or neither.
pub enum Review {
    /// No review.
    Off,
    /// Candidates are written.
    Asking(AtomicFile, u64),
    /// Candidates come back.
    Answered(PathBuf, HashMap<(String, usize), Answer>, Tally),
}

impl Reviewing {
    /// Opens what was asked for. Errors: a reviewed file that cannot be understood.
    pub fn begin(&self) -> anyhow::Result<Review> {
        if let Some(path) = &self.review {
            let mut file = AtomicFile::create(path)?;
            file.write_all(HEAD.as_bytes()).map_err(|error| file.failure(error))?;
            return Ok(Review::Asking(file, 0));
        }
        let Some(path) = &self.reviewed else { return Ok(Review::Off) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| r1_cli::bad_input(path.display(), error, "name a file of --review"))?;
        Ok(Review::Answered(path.clone(), read(path, &text)?, Tally::default()))
    }
}

impl Review {
    /// A candidate: is written, or looked up. Errors: it is not in the reviewed file, or is another there.
    pub fn candidate(&mut self, id: &str, row: usize, prompt: &str, text: &str) -> anyhow::Result<Word> {
        let hash = fingerprint(prompt, text);
        match self {
            Review::Off => Ok(Word::Keep(None)),
            Review::Asking(file, count) => {
                *count += 1;
                let mark = json!({"id": id, "row": row, "hash": hash});
                let block = format!(
                    "\n=== keep {mark}\n--- prompt\n{}\n--- completion\n{}\n",
                    escape(prompt),
                    escape(text)
                );
                file.write_all(block.as_bytes()).map_err(|error| file.failure(error))?;
                Ok(Word::Keep(None))
            }
            Review::Answered(path, answers, tally) => {
                let remedy = "give the input and flags of --review, and write drop to refuse a candidate";
                let Some(answer) = answers.remove(&(id.to_string(), row)) else {
                    let fact = format!("the candidate `{id}` (row {row} of its group) is missing");
                    return Err(r1_cli::bad_input(path.display(), fact, remedy));
                };
                let place = format!("{}:{}", path.display(), answer.line);
                if answer.hash != hash {
                    let fact = format!("`{id}` (row {row} of its group) is another in the input");
                    return Err(r1_cli::bad_input(place, fact, remedy));
                }
                if answer.prompt != lines(prompt) {
                    let fact = format!("the prompt of `{id}` was changed");
                    return Err(r1_cli::bad_input(
                        place,
                        fact,
                        "leave prompts as they are; edit completions",
                    ));
                }
                if !answer.keep {
                    tally.dropped += 1;
                    return Ok(Word::Drop);
                }
                if answer.completion.trim().is_empty() {
                    let fact = format!("`{id}` has an empty completion");
                    return Err(r1_cli::bad_input(place, fact, "write drop to refuse it"));
                }
                if answer.completion == lines(text) {
                    tally.kept += 1;
                    return Ok(Word::Keep(None));
                }
                tally.edited += 1;
                Ok(Word::Keep(Some(answer.completion)))
            }
        }
    }

    /// The end of the input: the file to edit is published; or the tally is given. Errors: the reviewed file has candidates that
    /// never came.
    pub fn finish(self) -> anyhow::Result<Option<Tally>> {
        match self {
            Review::Off => Ok(None),
            Review::Asking(mut file, count) => {
                let end = format!("\n=== end {}\n", json!({"candidates": count}));
                file.write_all(end.as_bytes()).map_err(|error| file.failure(error))?;
                file.publish()?;
                Ok(None)
            }
            Review::Answered(path, answers, tally) => match answers.iter().min_by_key(|(_, a)| a.line) {
                None => Ok(Some(tally)),
                Some(((id, row), answer)) => Err(r1_cli::bad_input(
                    format!("{}:{}", path.display(), answer.line),
                    format!("`{id}` (row {row} of its group) is no candidate of this input"),
                    "give the input and flags of --review",
                )),
            },
        }
    }
}

/// Reads an edited file.
fn read(path: &Path, text: &str) -> anyhow::Result<HashMap<(String, usize), Answer>> {
    let bad = |line: usize, fact: &str| {
        r1_cli::bad_input(format!("{}:{line}", path.display()), fact, "restore the line from --review")
    };
    let mut answers: HashMap<(String, usize), Answer> = HashMap::new();
    let mut open: Option<(Mark, Answer, u8)> = None;
    let (mut ended, mut seen) = (None, 0);
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        if let Some(mark) = line.strip_prefix("=== ") {
            if ended.is_some() {
                return Err(bad(number, "a mark behind the end"));
            }
            if let Some((mark, answer, part)) = open.take() {
                close(&mut answers, mark, answer, part).map_err(|fact| bad(number, &fact))?;
            }
            let (word, rest) = mark.split_once(' ').unwrap_or((mark, ""));
            if word == "end" {
                let count: Option<u64> = serde_json::from_str::<serde_json::Value>(rest)
                    .ok()
                    .and_then(|end| end["candidates"].as_u64());
                ended = Some(count.ok_or_else(|| bad(number, "an end without its count"))?);
                continue;
            }
            let keep = match word {
                "keep" => true,
                "drop" => false,
                _ => return Err(bad(number, "a mark that says neither keep nor drop")),
            };
            let mark: Mark =
                serde_json::from_str(rest).map_err(|_| bad(number, "a mark without its braces"))?;
            let answer = Answer {
                keep,
                hash: mark.hash.clone(),
                prompt: String::new(),
                completion: String::new(),
                line: number,
            };
            open = Some((mark, answer, 0));
            seen += 1;
        } else if let Some((_, answer, part)) = &mut open {
            match (line, *part) {
                ("--- prompt", 0) => *part = 1,
                ("--- completion", 1) => *part = 2,
                (line, 1 | 2) if !line.starts_with("--- ") => {
                    let text = if *part == 1 { &mut answer.prompt } else { &mut answer.completion };
                    text.push_str(line.strip_prefix('\\').unwrap_or(line));
                    text.push('\n');
                }
                (line, 0) if line.trim().is_empty() => {}
                _ => return Err(bad(number, "a line where `--- prompt` or `--- completion` is expected")),
            }
        }
    }
    let last = text.lines().count().max(1);
    match ended {
        None => Err(bad(last, "the file has no `=== end`: it was cut short")),
        Some(count) if count != seen => {
            Err(bad(last, &format!("{seen} candidates where {count} were written")))
        }
        Some(_) => Ok(answers),
    }
}

/// A candidate is complete.
fn close(
    answers: &mut HashMap<(String, usize), Answer>,
    mark: Mark,
    mut answer: Answer,
    part: u8,
) -> Result<(), String> {
    if part < 2 {
        return Err(format!("`{}` ends before its completion", mark.id));
    }
    // The line end of the last line, and behind a completion the empty line before the next mark.
    answer.prompt.pop();
    answer.completion.pop();
    if answer.completion.ends_with('\n') {
        answer.completion.pop();
    }
    let id = mark.id.clone();
    match answers.insert((mark.id, mark.row), answer) {
        Some(_) => Err(format!("`{id}` (row {} of its group) stands there twice", mark.row)),
        None => Ok(()),
    }
}

/// Text as lines that cannot be taken for marks.
fn escape(text: &str) -> String {
    let guard =
        |line: &str| match line.starts_with("=== ") || line.starts_with("--- ") || line.starts_with('\\') {
            true => format!("\\{line}"),
            false => line.to_string(),
        };
    lines(text).split('\n').map(guard).collect::<Vec<_>>().join("\n")
}

/// The text with one kind of line end, as an editor gives it back.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// 64 bits of FNV-1a over prompt and completion.
fn fingerprint(prompt: &str, text: &str) -> String {
    let words = [prompt.to_string(), text.to_string()];
    format!("{:016x}", crate::reading::hash(&words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_went() {
        let texts = ["plain", "=== keep x\n--- completion\n\\n", "a\n\nb\n", "\n", "\\\\", " \n=== "];
        let mut file = HEAD.to_string();
        for (row, text) in texts.iter().enumerate() {
            let mark = json!({"id": "a", "row": row, "hash": ""});
            let text = escape(text);
            file.push_str(&format!("\n=== keep {mark}\n--- prompt\n{text}\n--- completion\n{text}\n"));
        }
        file.push_str("\n=== end {\"candidates\":6}\n");
        let answers = read(Path::new("x"), &file).unwrap();
        for (row, text) in texts.iter().enumerate() {
            let answer = &answers[&("a".to_string(), row)];
            assert_eq!((answer.prompt.as_str(), answer.completion.as_str()), (*text, *text));
        }
        // As an editor on Windows would save it.
        let again = read(Path::new("x"), &file.replace('\n', "\r\n")).unwrap();
        assert_eq!(again[&("a".to_string(), 2)].completion, "a\n\nb\n");
        for broken in [
            file.replace("=== end", "== end"),
            file.replace("candidates\":6", "candidates\":7"),
            file.replacen("--- completion\n", "", 1),
            file.replacen("\n=== keep", "\n=== kep", 1),
            file.replacen("\"row\":1", "\"row\":0", 1),
        ] {
            assert!(read(Path::new("x"), &broken).is_err(), "{broken}");
        }
    }
}
