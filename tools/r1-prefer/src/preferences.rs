//! Pairs and labels in words, and in tokens.

use anyhow::Result;
use r1_model::batch::Sequence;
use r1_model::template::Prompt;
use r1_records::{Reader, RecordError, Row};
use r1_train::checkpoint::Hashing;
use r1_train::corpus::Corpus;
use r1_train::examples::{Example, Words};
use r1_train::update::Unit;

/// What is known about the completions of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    /// The first of two is better, by at least this margin.
    Pair {
        /// column `margin`, 0 where the row has none
        margin: f64,
    },
    /// The one completion is right (true) or wrong.
    Label(bool),
}

/// Rows as they were read: completions stand flat, two for a pair and one for a label.
#[derive(Debug, Default)]
pub struct Read {
    completions: Vec<Example>,
    known: Vec<Known>,
    /// `sha256:…` of the input's bytes
    pub hash: String,
}

/// Reads a whole input. With `pointwise` a pair becomes two labels.
///
/// # Errors
/// Exit 2, naming line and field.
pub fn read(input: &r1_cli::Input, pointwise: bool) -> Result<Read> {
    let mut bytes = Hashing::new(input.open()?);
    let mut read = Read::default();
    for row in Reader::new(&mut bytes) {
        row.and_then(|row| read.add(&row, pointwise)).map_err(|error| input.blame(error))?;
    }
    read.hash = bytes.finish();
    Ok(read)
}

impl Read {
    fn add(&mut self, row: &Row, pointwise: bool) -> Result<(), RecordError> {
        let mut push = |prompt: &Prompt, completion: String| -> Result<(), RecordError> {
            self.completions.push(Example::of(row, prompt.clone(), completion)?);
            Ok(())
        };
        if row.has("chosen") || row.has("rejected") {
            let pair = row.preference()?;
            if pair.chosen == pair.rejected {
                let fact = "`chosen` and `rejected` are the same";
                return Err(row.error_in("rejected", fact, "leave the row out: it prefers nothing"));
            }
            push(&pair.prompt, pair.chosen)?;
            push(&pair.prompt, pair.rejected)?;
            match pointwise {
                true => self.known.extend([Known::Label(true), Known::Label(false)]),
                false => self.known.push(Known::Pair { margin: row.get("margin")?.unwrap_or(0.0) }),
            }
            return Ok(());
        }
        if !row.has("label") {
            return Err(
                row.error("neither `chosen` and `rejected` nor `label`", "a preference needs one of them")
            );
        }
        let example = row.example()?;
        push(&example.prompt, example.completion)?;
        self.known.push(Known::Label(label(row)?));
        Ok(())
    }
}

/// `label`: true or false, 1 or 0, "safe" or "unsafe".
fn label(row: &Row) -> Result<bool, RecordError> {
    match row.raw("label") {
        Some("true" | "1" | "\"safe\"") => Ok(true),
        Some("false" | "0" | "\"unsafe\"") => Ok(false),
        _ => Err(row.error_in(
            "label",
            "`label` is none of true, false, 1, 0, \"safe\", \"unsafe\"",
            "give one of them",
        )),
    }
}

/// One row in tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// what is known
    pub known: Known,
    /// line in the input, from 1
    pub line: usize,
    /// its first completion in the corpus
    first: usize,
}

#[cfg(test)]
impl Judged {
    /// A row that came from no file.
    pub fn of(known: Known) -> Judged {
        Judged { known, line: 0, first: 0 }
    }
}

/// All rows in tokens.
#[derive(Debug, Default)]
pub struct Preferences {
    corpus: Corpus,
    /// the rows
    pub rows: Vec<Judged>,
}

impl Preferences {
    /// Tokenizes; rows with a completion that makes more than `max_length` tokens with its prompt are left out and counted.
    ///
    /// # Errors
    /// Exit 2: a row that cannot be rendered (naming its line), or none that is short enough.
    pub fn tokenize(
        read: &Read,
        words: &Words,
        input: &r1_cli::Input,
        max_length: Option<usize>,
    ) -> Result<Preferences> {
        let most = words.config.max_position_embeddings;
        let most = max_length.unwrap_or(most).min(most);
        let list = &read.completions;
        let all = Corpus::tokenize(list.len(), |i| words.ids(&list[i])).map_err(|(i, error)| {
            let remedy = "mend the row, or choose another --template";
            input.blame(RecordError::new(format!("{error:#}"), remedy).at_line(list[i].line))
        })?;
        let mut kept = Preferences::default();
        let (mut longest, mut at) = (0, 0);
        for &known in &read.known {
            let own = at..at + if matches!(known, Known::Pair { .. }) { 2 } else { 1 };
            at = own.end;
            let length = all[own.clone()].iter().map(|(p, c)| p.len() + c.len()).max().unwrap_or(0);
            longest = longest.max(length);
            if length <= most {
                kept.rows.push(Judged { known, line: list[own.start].line, first: kept.corpus.len() });
                own.for_each(|i| kept.corpus.push(&all[i].0, &all[i].1, list[i].line));
            }
        }
        let left_out = read.known.len() - kept.rows.len();
        if kept.rows.is_empty() {
            let fact = format!("no row fits into {most} tokens (the longest has {longest})");
            return Err(r1_cli::bad_input(input.name(), fact, "raise --max-length"));
        }
        if left_out > 0 {
            r1_cli::warn(&format!(
                "{}: {left_out} of {} rows left out: longer than {most} tokens (the longest has {longest})",
                input.name(),
                read.known.len()
            ));
        }
        Ok(kept)
    }

    /// The completions of a row, as what the loss sees together.
    pub fn unit(&self, row: &Judged) -> Unit<'_> {
        let count = if matches!(row.known, Known::Pair { .. }) { 2 } else { 1 };
        let sequence = |i: usize| {
            let r = self.corpus.row(i);
            Sequence { prompt: r.prompt, completion: r.completion }
        };
        Unit { sequences: (row.first..row.first + count).map(sequence).collect() }
    }

    /// Pairs among the rows.
    pub fn pairs(&self) -> usize {
        self.rows.iter().filter(|r| matches!(r.known, Known::Pair { .. })).count()
    }

    /// Tokens of the longest prompt with a completion.
    pub fn longest(&self) -> usize {
        self.corpus.longest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(text: &str, pointwise: bool) -> Result<Vec<Known>, String> {
        let mut read = Read::default();
        read.add(&Row::parse(text).unwrap(), pointwise).map_err(|e| e.to_string())?;
        let expected: usize =
            read.known.iter().map(|k| if matches!(k, Known::Pair { .. }) { 2 } else { 1 }).sum();
        assert_eq!(read.completions.len(), expected);
        Ok(read.known)
    }

    #[test]
    fn pairs_margins_and_labels() {
        let pair = r#"{"prompt":"q","chosen":"a","rejected":"b"}"#;
        assert_eq!(add(pair, false), Ok(vec![Known::Pair { margin: 0.0 }]));
        assert_eq!(add(pair, true), Ok(vec![Known::Label(true), Known::Label(false)]));
        let margin = r#"{"prompt":"q","chosen":"a","rejected":"b","margin":1.5}"#;
        assert_eq!(add(margin, false), Ok(vec![Known::Pair { margin: 1.5 }]));
        for (text, known) in [("true", true), ("0", false), ("\"safe\"", true), ("\"unsafe\"", false)] {
            let row = format!(r#"{{"prompt":"q","completion":"a","label":{text}}}"#);
            assert_eq!(add(&row, false), Ok(vec![Known::Label(known)]));
        }
        let turns = r#"{"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]}"#;
        assert_eq!(add(turns, false), Ok(vec![Known::Pair { margin: 0.0 }]));
    }

    #[test]
    fn what_is_no_preference() {
        for (bad, word) in [
            (r#"{"prompt":"q","chosen":"a"}"#, "rejected"),
            (r#"{"prompt":"q","chosen":"a","rejected":"a"}"#, "the same"),
            (r#"{"prompt":"q","completion":"a"}"#, "label"),
            (r#"{"prompt":"q","completion":"a","label":"good"}"#, "unsafe"),
            (r#"{"prompt":"q","label":true}"#, "completion"),
            (r#"{"prompt":"q","chosen":"a","rejected":"b","margin":"much"}"#, "margin"),
        ] {
            let error = add(bad, false).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
