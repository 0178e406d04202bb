//! Decoding one token at a time.

use anyhow::Result;

use super::Tokenizer;

/// Turns a stream of token ids into text as soon as the text is certain.
///
/// The pieces returned by [`push`](Decoder::push) and [`finish`](Decoder::finish), joined, are exactly what
/// [`Tokenizer::decode`] gives for all ids at once. A character whose bytes are spread over several tokens comes out
/// with its last token.
#[derive(Debug)]
pub struct Decoder<'a> {
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    ids: Vec<u32>,
    /// ids before this are out of reach: their text is certain and has been returned
    context: usize,
    /// ids in `context..read` have been returned too, and stay as left context of what follows
    read: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn of(tokenizer: &'a Tokenizer, skip_special: bool) -> Decoder<'a> {
        Decoder { tokenizer, skip_special, ids: Vec::new(), context: 0, read: 0 }
    }

    /// Adds a token; returns the text that became certain (often that of this token, sometimes none).
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        self.advance(false)
    }

    /// Ends the stream: returns what was held back, with U+FFFD for bytes that never became a character.
    pub fn finish(mut self) -> Result<String> {
        self.advance(true)
    }

    fn advance(&mut self, last: bool) -> Result<String> {
        let decode = |ids: &[u32]| self.tokenizer.decode(ids, self.skip_special);
        let before = decode(&self.ids[self.context..self.read])?;
        let now = decode(&self.ids[self.context..])?;
        // An unfinished character shows as U+FFFD at the end; a later token may still complete it.
        if !last && now.ends_with('\u{FFFD}') {
            return Ok(String::new());
        }
        let fresh = now.strip_prefix(before.as_str()).unwrap_or_default().to_owned();
        if !fresh.is_empty() {
            self.context = self.read;
            self.read = self.ids.len();
        }
        Ok(fresh)
    }
}
