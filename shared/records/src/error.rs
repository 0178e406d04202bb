//! What is wrong with a record, where it is, and what to do about it.

use std::fmt;

/// A fact about bad input, with its place and its remedy. Displays as `17:42: fact; remedy` (line and column where they are
/// known), so that a caller only has to put the file name before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Line in the file, from 1; absent when the error is about the whole input or a row that came from no file.
    pub line: Option<usize>,
    /// Character in the line, from 1; absent when the error is about the whole row.
    pub column: Option<usize>,
    /// What was found.
    pub fact: String,
    /// What the user can do.
    pub remedy: String,
    /// The line itself, where leaving it out would mend the input; absent for errors that concern several lines.
    bad_line: Option<Vec<u8>>,
}

impl RecordError {
    /// An error about the whole input, or one whose place is not known yet.
    pub fn new(fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { line: None, column: None, fact: fact.into(), remedy: remedy.into(), bad_line: None }
    }

    /// The same error, at a line of the file (from 1; 0 means no file).
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = (line > 0).then_some(line);
        self
    }

    /// The same error, at a character of the line (from 1).
    pub fn at_column(mut self, column: usize) -> Self {
        self.column = Some(column);
        self
    }

    /// The same error, carrying the line that can be set aside to go on without it.
    pub fn with_bad_line(mut self, line: &[u8]) -> Self {
        self.bad_line = Some(line.to_vec());
        self
    }

    /// The bytes of the bad line (no line end), where setting that one line aside mends the input; else nothing.
    pub fn bad_line(&self) -> Option<&[u8]> {
        self.bad_line.as_deref()
    }

    /// From serde_json's error over `text`, which begins at byte `start` of `line_text`; turns its byte position into a
    /// character position and gives NaN and infinities the name that a Python program wrote.
    pub(crate) fn from_json(error: &serde_json::Error, line_text: &str, start: usize, value: &str) -> Self {
        let at = start + error.column().saturating_sub(1);
        let column = line_text.get(..floor_boundary(line_text, at)).map_or(0, |s| s.chars().count()) + 1;
        let message = error.to_string();
        let fact = message.rfind(" at line ").map_or(message.as_str(), |cut| &message[..cut]).to_string();
        let near = floor_boundary(value, error.column().saturating_sub(2));
        let tail = &value[near..];
        for name in ["NaN", "-Infinity", "Infinity"] {
            if tail.starts_with(name) || tail.get(1..).is_some_and(|t| t.starts_with(name)) {
                return Self::new(
                    format!("{name} is not a number that JSON has"),
                    "every number must be finite: leave the key out instead",
                )
                .at_column(column);
            }
        }
        let remedy = match error.classify() {
            serde_json::error::Category::Eof => "the line is cut short: write the file again",
            serde_json::error::Category::Syntax => "each line must be one JSON object",
            _ => "see the record format in README.md",
        };
        Self::new(fact, remedy).at_column(column)
    }
}

/// The greatest character boundary of `text` that is not past `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "{line}:{column}: ")?,
            (Some(line), None) => write!(f, "{line}: ")?,
            (None, Some(column)) => write!(f, "column {column}: ")?,
            (None, None) => {}
        }
        write!(f, "{}; {}", self.fact, self.remedy)
    }
}

impl std::error::Error for RecordError {}
