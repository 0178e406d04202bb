//! `--decontaminate`: nothing that stands in an evaluation is trained on.
//!
//! A completion is refused where ten words in a row (the paper's number) of its prompt or of itself also stand in a row of an
//! evaluation file: in its prompt, or in its column `solution`, `canonical_solution` or `completion`. A prompt of fewer words is
//! refused where it is equal to one there.

use crate::reading::{hash, words};
use r1_cli::Input;
use r1_records::{Reader, RecordError, Row};
use std::collections::HashSet;
use std::path::PathBuf;

/// Columns of an evaluation that give away its answer in words.
const SOLUTIONS: [&str; 3] = ["solution", "canonical_solution", "completion"];

/// The flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Against {
    /// Refuse what shares an n-gram of words with the prompts or solutions of FILE; repeatable
    #[arg(long, value_name = "FILE")]
    decontaminate: Vec<PathBuf>,
    /// n for --decontaminate
    #[arg(long, value_name = "N", default_value_t = 10, requires = "decontaminate",
          value_parser = clap::value_parser!(u32).range(2..=100))]
    decontaminate_ngram: u32,
}

/// What the evaluations hold.
#[derive(Debug, Default)]
pub struct Evaluations {
    n: usize,
    /// Hashes of all runs of n words.
    grams: HashSet<u64>,
    /// Hashes of whole prompts with fewer words.
    short: HashSet<u64>,
}

impl Against {
    /// Reads the files; nothing where none is named.
    pub fn read(&self) -> anyhow::Result<Option<Evaluations>> {
        if self.decontaminate.is_empty() {
            return Ok(None);
        }
        let mut found = Evaluations { n: self.decontaminate_ngram as usize, ..Evaluations::default() };
        for path in &self.decontaminate {
            let input = Input::of(path);
            for row in Reader::new(input.open()?) {
                row.and_then(|row| found.add(&row)).map_err(|error| input.blame(error))?;
            }
        }
        Ok(Some(found))
    }
}

impl Evaluations {
    fn add(&mut self, row: &Row) -> Result<(), RecordError> {
        let prompt = words(row.prompt()?.question());
        if prompt.len() < self.n {
            self.short.insert(hash(&prompt));
        }
        self.grams.extend(prompt.windows(self.n).map(hash));
        for column in SOLUTIONS {
            if row.raw(column).is_some_and(|raw| raw.starts_with('"')) {
                let text: String = row.require(column)?;
                self.grams.extend(words(&text).windows(self.n).map(hash));
            }
        }
        Ok(())
    }

    /// The words that prompt or completion share with an evaluation, where they do.
    pub fn shared(&self, prompt: &str, completion: &str) -> Option<String> {
        let asked = words(prompt);
        if asked.len() < self.n && self.short.contains(&hash(&asked)) {
            return Some(format!("the prompt is one of an evaluation: {}", asked.join(" ")));
        }
        [asked, words(completion)].iter().find_map(|words| {
            let gram = words.windows(self.n).find(|gram| self.grams.contains(&hash(gram)))?;
            Some(format!("{} words of an evaluation: {}", self.n, gram.join(" ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_words_in_a_row() {
        let mut found = Evaluations { n: 10, ..Evaluations::default() };
        let row = |text: &str| Row::parse(text).unwrap();
        found
            .add(&row(r#"{"prompt":"One two three four five six seven eight, nine: TEN eleven?"}"#))
            .unwrap();
        found.add(&row(r#"{"question":"What is 2 + 3 * 4?","solution":"a b c d e f g h i j k"}"#)).unwrap();
        assert!(found.shared("x", "so two three four five six *seven* eight nine ten eleven").is_some());
        assert!(found.shared("x", "so two three four five six seven eight nine ten but").is_none());
        assert!(found.shared("what is 2+3*4", "").is_some(), "short prompts are compared whole");
        assert!(found.shared("what is 2+3*5", "what is 2 + 3 * 4?").is_none());
        assert!(found.shared("x", "b c d e f g h i j k").is_some(), "solutions count");
        assert!(found.add(&row("{}")).is_err());
    }
}
