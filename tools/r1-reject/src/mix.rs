//! `--mix FILE=RATIO`: examples of another kind among the kept ones, in a stated proportion: the paper's 600,000 reasoning and
//! 200,000 other examples are `--mix general.jsonl=1/3`.

use crate::choose::Chooser;
use r1_cli::{Input, Sink};
use r1_records::Reader;
use serde_json::{Value, json};
use std::io::BufRead;
use std::str::FromStr;

/// The flag.
#[derive(clap::Args, Clone, Debug)]
pub struct Mixing {
    /// Write examples of FILE among the kept ones, RATIO (1/3, 1:3 or 0.25) for each, in the order of FILE; repeatable
    #[arg(long, value_name = "FILE=RATIO")]
    mix: Vec<Share>,
}

/// A file and how many of its examples there are for each kept one, as a fraction.
#[derive(Clone, Debug, PartialEq)]
struct Share {
    file: String,
    part: u64,
    whole: u64,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "a mixture is written FILE=RATIO, with a ratio such as 1/3, 1:3 or 0.25".to_string();
        let (file, ratio) = text.rsplit_once('=').filter(|(file, _)| !file.is_empty()).ok_or_else(bad)?;
        let whole_number = |text: &str| text.trim().parse::<u64>().ok().filter(|n| *n <= 1_000_000_000);
        let (part, whole) = if let Some((part, whole)) = ratio.split_once(['/', ':']) {
            (whole_number(part).ok_or_else(bad)?, whole_number(whole).ok_or_else(bad)?)
        } else {
            // As it is written: 0.3 is 3/10, not the binary number next to it.
            let (before, after) = ratio.split_once('.').unwrap_or((ratio, ""));
            if after.len() > 6 {
                return Err(bad());
            }
            (whole_number(&format!("{before}{after}")).ok_or_else(bad)?, 10u64.pow(after.len() as u32))
        };
        if part == 0 || whole == 0 {
            return Err(bad());
        }
        Ok(Share { file: file.to_string(), part, whole })
    }
}

/// An open file with its count.
pub struct Source {
    share: Share,
    input: Input,
    rows: Reader<Box<dyn BufRead + Send>>,
    written: u64,
    contaminated: u64,
    exhausted: bool,
}

impl Mixing {
    /// Opens the files.
    pub fn open(&self) -> anyhow::Result<Vec<Source>> {
        let open = |share: &Share| {
            let input = Input::of(&share.file);
            let rows = Reader::new(input.open()?);
            Ok(Source { share: share.clone(), input, rows, written: 0, contaminated: 0, exhausted: false })
        };
        self.mix.iter().map(open).collect()
    }
}

impl Source {
    /// Writes what is due after `kept` examples, each line as it came. Errors: a row that is no example.
    pub fn write(&mut self, kept: u64, chooser: &Chooser<'_>, out: &mut Sink) -> anyhow::Result<()> {
        while !self.exhausted && self.written < self.due(kept) {
            let Some(row) = self.rows.next() else {
                self.exhausted = true;
                break;
            };
            let found = row.and_then(|row| row.example().map(|example| (row, example)));
            let (row, example) = found.map_err(|error| self.input.blame(error))?;
            if chooser.contaminated(example.prompt.question(), &example.completion).is_some() {
                self.contaminated += 1;
                continue;
            }
            out.line(row.text())?;
            self.written += 1;
        }
        Ok(())
    }

    fn due(&self, kept: u64) -> u64 {
        (u128::from(kept) * u128::from(self.share.part) / u128::from(self.share.whole)) as u64
    }

    /// What was mixed in, for the report; says where the file was too short.
    pub fn finish(&self, kept: u64) -> Value {
        let due = self.due(kept);
        if self.written < due {
            r1_cli::warn(&format!(
                "{} gave {} examples of the {due} that {}/{} of {kept} asks for",
                self.share.file, self.written, self.share.part, self.share.whole
            ));
        }
        json!({"file": self.share.file, "ratio": format!("{}/{}", self.share.part, self.share.whole),
            "asked": due, "written": self.written, "contaminated": self.contaminated})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios() {
        let read = |text: &str| text.parse::<Share>().map(|share| (share.part, share.whole));
        assert_eq!(read("a=b.jsonl=1/3"), Ok((1, 3)));
        assert_eq!(read("a:1=1:3"), Ok((1, 3)));
        assert_eq!((read("a=0.25"), read("a=2"), read("a=.5")), (Ok((25, 100)), Ok((2, 1)), Ok((5, 10))));
        for bad in ["a", "a=", "=1", "a=0", "a=1/0", "a=-1", "a=x", "a=1e3", "a=0.1234567"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
