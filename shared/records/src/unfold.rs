//! Rows with several completions (OpenR1-Math, open-r1's generator) to one row a completion.

use std::io::{self, BufRead, Read};

use serde_json::{Value, json};

use crate::reader::LONGEST;
use crate::{RecordError, Row};

/// The column with the completions, and the one with the reasons why they ended.
const COMPLETIONS: &str = "generations";
const REASONS: &str = "finish_reasons";

/// What a row with the column has somewhere.
const MARK: &[u8] = b"\"generations\"";

/// Bytes of JSONL in which every row that has a list `generations`, and no `rollout` of its own, comes as one row a
/// completion: the column gives way to a `rollout` with `sample` and `completion` (and `finish_reason`, where
/// `finish_reasons` says stop or length). All other columns are carried, all other rows are left byte for byte.
pub struct Unfolded<R> {
    input: R,
    lines: Vec<u8>,
    out: Vec<u8>,
    at: usize,
}

impl<R: BufRead> Unfolded<R> {
    /// Unfolds what `input` holds.
    pub fn of(input: R) -> Unfolded<R> {
        Unfolded { input, lines: Vec::new(), out: Vec::new(), at: 0 }
    }
}

impl Row {
    /// The rows that this row stands for, where it holds several completions.
    ///
    /// # Errors
    /// `generations` is no list of texts.
    fn unfolded(&self) -> Result<Option<Vec<Row>>, RecordError> {
        let listed = self.raw(COMPLETIONS).is_some_and(|raw| raw.starts_with('['));
        if !listed || self.has("rollout") || self.has("completion") {
            return Ok(None);
        }
        let completions: Vec<String> = self.require(COMPLETIONS)?;
        let reasons: Vec<Value> = self.get(REASONS).ok().flatten().unwrap_or_default();
        let mut shared = Row::default();
        for name in self.names().filter(|name| *name != COMPLETIONS) {
            shared.set_raw(name, self.raw(name).unwrap_or("null"))?;
        }
        let row_of = |(sample, completion): (usize, String)| {
            let mut rollout = json!({"sample": sample, "completion": completion});
            if let Some(reason @ ("stop" | "length")) = reasons.get(sample).and_then(Value::as_str) {
                rollout["finish_reason"] = reason.into();
            }
            let mut row = shared.clone();
            row.set("rollout", &rollout)?;
            Ok(row)
        };
        completions.into_iter().enumerate().map(row_of).collect::<Result<_, _>>().map(Some)
    }
}

impl<R: BufRead> BufRead for Unfolded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.out.len() {
            // All whole lines that are ready, or one that is not yet.
            let ready = self.input.fill_buf()?;
            self.lines.clear();
            match ready.iter().rposition(|byte| *byte == b'\n') {
                Some(last) => {
                    self.lines.extend_from_slice(&ready[..=last]);
                    self.input.consume(last + 1);
                }
                None if (&mut self.input).take(LONGEST).read_until(b'\n', &mut self.lines)? == 0 => break,
                None => {}
            }
            self.at = 0;
            self.out.clear();
            // Most rows cannot have the column, and are not looked at further.
            if !self.lines.windows(MARK.len()).any(|bytes| bytes == MARK) {
                std::mem::swap(&mut self.out, &mut self.lines);
                continue;
            }
            for line in self.lines.split_inclusive(|byte| *byte == b'\n') {
                // A bad row is left to its reader to name.
                let row = std::str::from_utf8(line).ok().and_then(|text| Row::parse(text).ok());
                match row.and_then(|row| row.unfolded().ok()?) {
                    Some(rows) => rows.iter().try_for_each(|row| row.write_line(&mut self.out))?,
                    None => self.out.extend_from_slice(line),
                }
            }
        }
        Ok(&self.out[self.at..])
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl<R: BufRead> Read for Unfolded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;

    #[test]
    fn each_generation_becomes_a_row() {
        let file = concat!(
            r#"{"problem":"1+1?","answer":"2","generations":["a","b","c"],"finish_reasons":["stop",null,"length"],"uuid":"u"}"#,
            "\n{\"prompt\": \"x\"}\n",
            r#"{"problem":"generations","generations":[],"answer":"2"}"#,
            "\n",
            r#"{"problem":"2","rollout":{"completion":"z"},"generations":["a"]}"#,
        );
        let rows: Vec<Row> = Reader::new(Unfolded::of(file.as_bytes())).map(Result::unwrap).collect();
        assert_eq!(rows.len(), 5);
        let outlines: Vec<_> = rows[..3].iter().map(|row| row.outline().unwrap()).collect();
        assert_eq!(outlines.iter().map(|o| o.completion.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(outlines[0].finish_reason.is_some() && outlines[1].finish_reason.is_none());
        assert_eq!(rows[0].group_id().unwrap(), rows[2].group_id().unwrap());
        assert_eq!(rows[2].raw("uuid"), Some("\"u\""));
        assert!(!rows[0].has("generations"));
        assert_eq!(rows[3].text(), "{\"prompt\": \"x\"}");
        assert!(rows[4].text().ends_with(r#""generations":["a"]}"#));
        // What is no list of texts is left for its reader to see.
        let odd = "{\"prompt\":\"x\",\"generations\":[1]}\n";
        let mut text = String::new();
        Unfolded::of(odd.as_bytes()).read_to_string(&mut text).unwrap();
        assert_eq!(text, odd);
    }
}
