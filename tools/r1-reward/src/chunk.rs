//! Whole lines of a stream in pieces of some 64 KiB, so that several threads can parse and judge them.

use r1_records::{Reader, RecordError, Row, ends_round};
use std::io::{BufRead, ErrorKind};

/// Some whole lines, how many lines of the input stand before them, and whether they end a round.
pub struct Chunk {
    bytes: Vec<u8>,
    before: usize,
    pub ends_round: bool,
}

/// Cuts a stream into [`Chunk`]s. A chunk is whatever whole lines the stream has ready: a slow writer's rows are
/// handed on as they come. Where the cuts fall never shows in the rows or in their errors.
pub struct Chunks<R> {
    input: R,
    /// whole lines that were read and stand behind the end of a round
    rest: Vec<u8>,
    lines: usize,
    seen: bool,
    over: bool,
}

impl<R: BufRead> Chunks<R> {
    /// At the first line of `input`.
    pub fn new(input: R) -> Self {
        Self { input, rest: Vec::new(), lines: 0, seen: false, over: false }
    }

    /// Whole lines as a chunk, up to the end of a round where there is one in them; nothing where all are blank.
    fn chunk(&mut self, mut bytes: Vec<u8>) -> Option<Chunk> {
        let before = self.lines;
        // No row can hold a form feed as it is.
        let mut ended = false;
        if bytes.contains(&b'\x0c') {
            let mut at = 0;
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                let end = at + line.len();
                if ends_round(line) {
                    ended = true;
                    self.rest = bytes.split_off(end);
                    break;
                }
                at = end;
            }
        }
        self.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        let content = if before == 0 { bytes.strip_prefix(BOM).unwrap_or(&bytes) } else { &bytes };
        if content.iter().all(u8::is_ascii_whitespace) {
            bytes.clear();
        }
        self.seen |= ended || !bytes.is_empty();
        (ended || !bytes.is_empty()).then_some(Chunk { bytes, before, ends_round: ended })
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
            if !self.rest.is_empty() {
                let rest = std::mem::take(&mut self.rest);
                match self.chunk(rest) {
                    Some(chunk) => return Some(Ok(chunk)),
                    None => continue,
                }
            }
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
            let end = ready.is_empty();
            bytes.extend_from_slice(&ready[..taken]);
            self.input.consume(taken);
            if whole && !bytes.is_empty() {
                let chunk = self.chunk(std::mem::take(&mut bytes));
                self.over = end && self.rest.is_empty();
                if let Some(chunk) = chunk {
                    return Some(Ok(chunk));
                }
            } else {
                self.over = end;
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
        let Chunk { mut bytes, mut before, .. } = self;
        if bytes.is_empty() {
            // The end of a round without rows.
            return Vec::new();
        }
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
    fn the_end_of_a_round_ends_a_chunk() {
        let file = b"{\"a\":1}\n\x0c\n\x0c\n\n{\"b\":2}\n{\"c\":3}\n\x0c\n{\"d\":4}";
        for capacity in [1, 3, 9, 1 << 16] {
            let (mut rounds, mut rows) = (Vec::new(), Vec::new());
            for chunk in Chunks::new(BufReader::with_capacity(capacity, &file[..])) {
                let chunk = chunk.unwrap();
                let ends = chunk.ends_round;
                let place = |row: Row, before: usize| Ok(row.line() + before);
                rows.extend(chunk.map(place).into_iter().map(Result::unwrap));
                if ends {
                    rounds.push(std::mem::take(&mut rows));
                }
            }
            rounds.push(rows);
            assert_eq!(rounds, [vec![1], vec![], vec![5, 6], vec![8]], "in pieces of {capacity}");
        }
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
