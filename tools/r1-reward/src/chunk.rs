//! Whole lines of a stream in pieces of some 64 KiB, so that several threads can parse and judge them.

use r1_records::{Reader, RecordError, Row};
use std::io::{BufRead, ErrorKind};

/// Some whole lines, and how many lines of the input stand before them.
pub struct Chunk {
    bytes: Vec<u8>,
    before: usize,
}

/// Cuts a stream into [`Chunk`]s. A chunk is whatever whole lines the stream has ready: a slow writer's rows are
/// handed on as they come. Where the cuts fall never shows in the rows or in their errors.
pub struct Chunks<R> {
    input: R,
    lines: usize,
    seen: bool,
    over: bool,
}

impl<R: BufRead> Chunks<R> {
    /// At the first line of `input`.
    pub fn new(input: R) -> Self {
        Self { input, lines: 0, seen: false, over: false }
    }

    /// The last error of the stream.
    fn end(&mut self, error: RecordError) -> Option<Result<Chunk, RecordError>> {
        self.over = true;
        Some(Err(error))
    }
}

impl<R: BufRead> Iterator for Chunks<R> {
    type Item = Result<Chunk, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut bytes = Vec::new();
        while !self.over {
            let ready = match self.input.fill_buf() {
                Ok(ready) => ready,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let fact = format!("cannot be read: {error}");
                    let error = RecordError::new(fact, "see that the file is whole");
                    return self.end(error.at_line(self.lines + 1));
                }
            };
            let (taken, whole) = match ready.iter().rposition(|byte| *byte == b'\n') {
                Some(last) => (last + 1, true),
                None => (ready.len(), ready.is_empty()),
            };
            self.over = ready.is_empty();
            bytes.extend_from_slice(&ready[..taken]);
            self.input.consume(taken);
            if whole && !bytes.is_empty() {
                let before = self.lines;
                self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
                let content = if before == 0 { bytes.strip_prefix(BOM).unwrap_or(&bytes) } else { &bytes };
                if content.iter().all(u8::is_ascii_whitespace) {
                    bytes.clear();
                    continue;
                }
                self.seen = true;
                return Some(Ok(Chunk { bytes, before }));
            }
        }
        if !self.seen {
            self.seen = true;
            // The reader of records says it in its own words.
            return Some(Err(Reader::new(&b""[..]).next()?.err()?));
        }
        None
    }
}

/// A byte-order mark, which is understood at the beginning of the input only.
const BOM: &[u8] = b"\xef\xbb\xbf";

impl Chunk {
    /// Does `work` with each row and the number of lines of the input before this chunk; every error, of reading or of
    /// `work`, is placed in the whole input.
    pub fn map<T>(
        self,
        mut work: impl FnMut(Row, usize) -> Result<T, RecordError>,
    ) -> Vec<Result<T, RecordError>> {
        let Chunk { mut bytes, mut before } = self;
        if before > 0 && bytes.starts_with(BOM) {
            // Here it is a bad byte like any other: an empty line before it takes it out of the first line.
            bytes.insert(0, b'\n');
            before -= 1;
        }
        Reader::new(&bytes[..])
            .map(|row| {
                row.and_then(|row| work(row, before)).map_err(|mut error| {
                    error.line = error.line.map(|line| line + before);
                    error
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// What the reader of records makes of a file, and what chunks of some size make of it.
    fn seen(file: &[u8], capacity: usize) -> Vec<String> {
        let say = |result: Result<String, RecordError>| result.unwrap_or_else(|error| error.to_string());
        let mut all = Vec::new();
        for chunk in Chunks::new(BufReader::with_capacity(capacity, file)) {
            match chunk {
                Ok(chunk) => {
                    let rows = chunk.map(|row, before| Ok(format!("{} {}", row.line() + before, row.text())));
                    all.extend(rows.into_iter().map(say));
                }
                Err(error) => all.push(error.to_string()),
            }
        }
        all
    }

    #[test]
    fn where_the_cuts_fall_never_shows() {
        let files: [&[u8]; 7] = [
            b"",
            b"\n\n",
            b"\xef\xbb\xbf\n",
            b"{\"a\":1}",
            b"\xef\xbb\xbf{\"a\":1}\r\n\n  \t\n {\"b\":2} \n{\"c\":3",
            b"{\"a\":1}\n\xef\xbb\xbf{\"b\":2}\n{\"c\":\"\xff\"}\n\n{\"d\":4}\n",
            b"\n\n\n{\"a\":1}\n{}\n{\"b\":}\n",
        ];
        for file in files {
            let whole: Vec<String> = Reader::new(file)
                .map(|row| match row {
                    Ok(row) => format!("{} {}", row.line(), row.text()),
                    Err(error) => error.to_string(),
                })
                .collect();
            for capacity in [1, 2, 3, 7, 10, 64, 1 << 16] {
                assert_eq!(seen(file, capacity), whole, "{file:?} in pieces of {capacity}");
            }
        }
    }
}
