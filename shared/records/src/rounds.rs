//! Rounds: a stream of rows that is cut where its writer says that a round is over.

use crate::Reader;
use crate::reader::LONGEST;
use std::io::{self, BufRead, Read};

/// The line that ends a round: a form feed (U+000C, the page break of old). Whoever holds rows back until there are more works
/// on what there is, and passes it on; whoever knows nothing of rounds takes it for a blank line.
pub const ROUND_END: &str = "\u{c}";

/// Whether a line, with or without its end, is [`ROUND_END`].
pub fn ends_round(line: &[u8]) -> bool {
    line.contains(&b'\x0c') && line.iter().all(u8::is_ascii_whitespace)
}

/// The line that a stream consists of where all rounds are behind already: whoever reads it has nothing to do, and says so to
/// the next. An empty stream is none of these: somebody failed.
pub const NO_ROUND: &str = "\u{c}\u{c}";

/// Whether [`NO_ROUND`] comes next; nothing is taken.
///
/// # Errors
/// The stream cannot be read.
pub fn is_over(input: &mut impl BufRead) -> io::Result<bool> {
    Ok(input.fill_buf()?.starts_with(NO_ROUND.as_bytes()))
}

/// Cuts a stream into rounds. A stream without [`ROUND_END`] is one round.
pub struct Rounds<R> {
    input: R,
    line: Vec<u8>,
    at: usize,
    lines: usize,
    begun: bool,
}

/// One round: the bytes up to a [`ROUND_END`], which is not among them, or the end of the stream.
pub struct Round<'a, R> {
    of: &'a mut Rounds<R>,
    ended: bool,
}

impl<R: BufRead> Rounds<R> {
    /// At the first line of `input`.
    pub fn new(input: R) -> Rounds<R> {
        Rounds { input, line: Vec::new(), at: 0, lines: 0, begun: false }
    }

    /// The next round; `None` at the end of the stream. An empty stream has one round, so that its reader says that it is empty.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub fn next_round(&mut self) -> io::Result<Option<Round<'_, R>>> {
        if self.begun && self.input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.begun = true;
        Ok(Some(Round { of: self, ended: false }))
    }
}

impl<R: BufRead> Round<'_, R> {
    /// A reader of the round's rows, whose lines are numbered as those of the whole stream are.
    pub fn reader(&mut self) -> Reader<&mut Self> {
        let lines = self.before();
        Reader::after(self, lines)
    }

    /// Lines of the stream that stand before what is read next.
    pub fn before(&self) -> usize {
        // The line that is looked at is counted already.
        self.of.lines - usize::from(self.of.at < self.of.line.len())
    }

    /// Whether a [`ROUND_END`] came, and came before anything else: a round of which no row is left.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub fn is_empty(&mut self) -> io::Result<bool> {
        Ok(self.fill_buf()?.is_empty() && self.ended)
    }

    /// Whether a [`ROUND_END`] came: known once all is read.
    pub fn is_whole(&self) -> bool {
        self.ended
    }
}

impl<R: BufRead> BufRead for Round<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let of = &mut *self.of;
        if self.ended {
            return Ok(&[]);
        }
        if of.at == of.line.len() {
            (of.at, of.lines) = (0, of.lines + 1);
            of.line.clear();
            (&mut of.input).take(LONGEST).read_until(b'\n', &mut of.line)?;
            if ends_round(&of.line) {
                self.ended = true;
                of.line.clear();
            }
        }
        Ok(&of.line[of.at..])
    }

    fn consume(&mut self, n: usize) {
        self.of.at += n;
    }
}

impl<R: BufRead> Read for Round<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

/// What a filter does with a stream: each round's rows go to `work`, and the lines that end rounds on to `out` through `mark`. Gives
/// whether there was anything to do: not where the stream says [`NO_ROUND`], which is handed on.
///
/// # Errors
/// Those of `work` and `mark`, and what `unread` makes of a stream that cannot be read.
pub fn each_round<R: BufRead, O, E>(
    mut input: R,
    out: &mut O,
    unread: impl Fn(io::Error) -> E,
    mark: impl Fn(&mut O, &str) -> Result<(), E>,
    mut work: impl FnMut(Reader<&mut Round<'_, R>>, &mut O) -> Result<(), E>,
) -> Result<bool, E> {
    if is_over(&mut input).map_err(&unread)? {
        mark(out, NO_ROUND)?;
        return Ok(false);
    }
    let mut rounds = Rounds::new(input);
    while let Some(mut rows) = rounds.next_round().map_err(&unread)? {
        if !rows.is_empty().map_err(&unread)? {
            work(rows.reader(), out)?;
        }
        if rows.is_whole() {
            mark(out, ROUND_END)?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Each round's rows with their lines, and whether it is whole.
    fn rounds(file: &[u8], capacity: usize) -> Vec<(Vec<(usize, String)>, bool)> {
        let mut rounds = Rounds::new(BufReader::with_capacity(capacity, file));
        let mut all = Vec::new();
        while let Some(mut round) = rounds.next_round().unwrap() {
            let mut rows = Vec::new();
            if !round.is_empty().unwrap() {
                rows = round.reader().map(|row| row.unwrap()).map(|r| (r.line(), r.text().into())).collect();
            }
            all.push((rows, round.is_whole()));
        }
        all
    }

    #[test]
    fn a_form_feed_alone_on_its_line_ends_a_round() {
        let row = |line: usize, n: u32| (line, format!("{{\"a\":{n}}}"));
        for capacity in [1, 2, 5, 1000] {
            let file = b"{\"a\":1}\n\n{\"a\":2}\n\x0c\n\x0c\r\n{\"a\":3}\n \x0c \n{\"a\":4}\n";
            let whole = rounds(file, capacity);
            assert_eq!(
                whole,
                [
                    (vec![row(1, 1), row(3, 2)], true),
                    (vec![], true),
                    (vec![row(6, 3)], true),
                    (vec![row(8, 4)], false),
                ]
            );
            assert_eq!(rounds(&file[..file.len() - 8], capacity), whole[..3]);
            assert_eq!(rounds(b"{\"a\":1}", capacity), [(vec![row(1, 1)], false)]);
        }
        // What knows nothing of rounds sees a blank line.
        assert_eq!(Reader::new(&b"{}\n\x0c\n{}\n"[..]).filter(Result::is_ok).count(), 2);
    }

    #[test]
    fn a_stream_says_that_it_has_no_rounds() {
        let over = |file: &[u8]| is_over(&mut BufReader::new(file)).unwrap();
        assert!(over(b"\x0c\x0c\n") && !over(b"\x0c\n") && !over(b"") && !over(b"{}\n\x0c\x0c\n"));
    }

    #[test]
    fn a_filter_hands_on_what_ends_a_round() {
        let through = |file: &[u8]| {
            let mut out = Vec::new();
            let mark = |out: &mut Vec<String>, mark: &str| {
                out.push(mark.to_string());
                Ok(())
            };
            let worked = each_round(
                file,
                &mut out,
                |e| e.to_string(),
                mark,
                |rows, out| {
                    out.extend(
                        rows.map(|row| row.map_or_else(|e| e.to_string(), |row| row.text().to_string())),
                    );
                    Ok(())
                },
            );
            (worked.unwrap(), out)
        };
        let text = |parts: &[&str]| parts.iter().map(|part| part.to_string()).collect::<Vec<_>>();
        assert_eq!(
            through(b"{}\n\x0c\n\x0c\n{\"a\":1}\n"),
            (true, text(&["{}", "\u{c}", "\u{c}", "{\"a\":1}"]))
        );
        assert_eq!(through(b"\x0c\x0c\n"), (false, text(&["\u{c}\u{c}"])));
    }

    #[test]
    fn an_empty_stream_is_an_empty_input() {
        for empty in [&b""[..], b"\n \n"] {
            let mut rounds = Rounds::new(empty);
            let mut round = rounds.next_round().unwrap().unwrap();
            assert!(!round.is_empty().unwrap());
            assert!(round.reader().next().unwrap().unwrap_err().to_string().contains("empty"));
        }
    }
}
