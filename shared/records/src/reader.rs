//! Rows from a stream of bytes, one line at a time.

use crate::{RecordError, Row};
use std::io::{BufRead, Read as _};

/// Bytes that one row may have: far more than any, and what a broken or hostile input (one endless line, a small compressed
/// file that unfolds without end) can take at most.
pub(crate) const LONGEST: u64 = 1 << 28;

/// Reads JSONL: one [`Row`] a line. Blank lines are skipped, a byte-order mark and Windows line ends are understood. An input
/// without any row is an error, since a stage that got nothing did not get what it was meant to.
///
/// After an error that concerns one line (it has a [`RecordError::bad_line`]) reading can go on; after any other it is over.
pub struct Reader<R> {
    input: R,
    buffer: Vec<u8>,
    line: usize,
    seen: bool,
    over: bool,
}

impl<R: BufRead> Reader<R> {
    /// A reader at the first line of `input`.
    pub fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), line: 0, seen: false, over: false }
    }

    /// A reader at a line of `input` that has `lines` lines before it.
    pub fn after(input: R, lines: usize) -> Self {
        Self { line: lines, ..Self::new(input) }
    }

    /// The number of the line that was read last, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    fn end(&mut self, error: RecordError) -> Option<Result<Row, RecordError>> {
        self.over = true;
        Some(Err(error))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Row, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            self.buffer.clear();
            match (&mut self.input).take(LONGEST).read_until(b'\n', &mut self.buffer) {
                Err(error) => {
                    let fact = format!("cannot be read: {error}");
                    return self
                        .end(RecordError::new(fact, "see that the file is whole").at_line(self.line + 1));
                }
                Ok(0) if self.seen => self.over = true,
                Ok(0) => {
                    return self.end(RecordError::new(
                        "no rows: the input is empty",
                        "see what the stage before wrote",
                    ));
                }
                Ok(n) if n as u64 == LONGEST => {
                    let fact = format!("a row longer than {} MiB", LONGEST >> 20);
                    return self.end(RecordError::new(fact, "write one row a line").at_line(self.line + 1));
                }
                Ok(_) => {
                    self.line += 1;
                    let mut bytes = &self.buffer[..];
                    if self.line == 1 {
                        bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
                    }
                    bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                    bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
                    if bytes.iter().all(u8::is_ascii_whitespace) {
                        continue;
                    }
                    self.seen = true;
                    return Some(parse(bytes, self.line));
                }
            }
        }
        None
    }
}

/// One line of bytes to a row.
fn parse(bytes: &[u8], line: usize) -> Result<Row, RecordError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Row::parse_at(text, line),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).chars().count();
            Err(RecordError::new("a byte that is not UTF-8", "write the file as UTF-8")
                .at_line(line)
                .at_column(good + 1)
                .with_bad_line(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_marks_and_line_ends_are_understood() {
        let file = b"\xef\xbb\xbf{\"a\":1}\r\n\n  \t\n {\"b\":2} \n{\"c\":3}";
        let rows: Vec<Row> = Reader::new(&file[..]).map(Result::unwrap).collect();
        let seen: Vec<(usize, &str)> = rows.iter().map(|row| (row.line(), row.text())).collect();
        assert_eq!(seen, [(1, r#"{"a":1}"#), (4, r#"{"b":2}"#), (5, r#"{"c":3}"#)]);
    }

    #[test]
    fn a_bad_line_does_not_end_the_file() {
        let file = b"{\"a\":1}\n{\"b\":\"\xc3\xa9\xff\"}\n{\"c\":\n{\"d\":4}\n";
        let mut reader = Reader::new(&file[..]);
        assert!(reader.next().unwrap().is_ok());
        let error = reader.next().unwrap().unwrap_err();
        assert_eq!((error.line, error.column), (Some(2), Some(8)), "{error}");
        assert!(error.bad_line().is_some());
        assert_eq!(reader.next().unwrap().unwrap_err().line, Some(3));
        assert_eq!(reader.next().unwrap().unwrap().line(), 4);
        assert!(reader.next().is_none());
    }

    #[test]
    fn an_endless_line_ends() {
        let endless = std::io::BufReader::new(std::io::repeat(b'x'));
        let error = Reader::new(endless).next().unwrap().unwrap_err();
        assert!(error.to_string().contains("longer than 256 MiB"), "{error}");
    }

    #[test]
    fn nothing_is_an_error() {
        for empty in ["", "\n\n", "\u{feff}\n"] {
            let mut reader = Reader::new(empty.as_bytes());
            let error = reader.next().unwrap().unwrap_err();
            assert!(error.to_string().contains("empty") && error.bad_line().is_none());
            assert!(reader.next().is_none());
        }
    }
}
