//! Bad rows: they stop the run, or are set aside where the user asked for it.

use crate::Input;
use crate::output::AtomicFile;
use crate::talk::warn;
use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

/// `--skip-bad FILE`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SkipBad {
    /// Set bad rows aside in FILE (as they came) and go on, instead of stopping at the first
    #[arg(long = "skip-bad", value_name = "FILE")]
    bad_rows_file: Option<PathBuf>,
}

/// Lets good rows through; stops at a bad one, or sets it aside and counts it.
#[derive(Debug)]
pub struct Sieve {
    input: Input,
    aside: Option<AtomicFile>,
    count: u64,
    failure: Option<anyhow::Error>,
}

/// How many bad rows are told one by one.
const TOLD: u64 = 5;

impl SkipBad {
    /// A sieve for the rows of `input`.
    pub fn sieve(&self, input: &Input) -> anyhow::Result<Sieve> {
        let aside = self.bad_rows_file.as_ref().map(AtomicFile::create).transpose()?;
        Ok(Sieve { input: input.clone(), aside, count: 0, failure: None })
    }
}

impl Sieve {
    /// A good item passes. A bad one stops the run (exit 2, placed in the input), unless `--skip-bad` was given and `line`
    /// finds the line that setting aside would mend (`RecordError::bad_line`): then nothing passes.
    pub fn pass<T, E: Display>(
        &mut self,
        item: Result<T, E>,
        line: impl FnOnce(&E) -> Option<&[u8]>,
    ) -> anyhow::Result<Option<T>> {
        match item {
            Ok(item) => Ok(Some(item)),
            Err(error) if self.set_aside(&error, line(&error))? => Ok(None),
            Err(error) => Err(self.input.blame(error)),
        }
    }

    /// [`Sieve::pass`] over an iterator, for a consumer that wants the errors it must stop at as they are. Where the file of
    /// bad rows cannot be written the iterator ends, and [`Sieve::finish`] fails: call it before anything is published.
    pub fn filter<T, E: Display>(
        &mut self,
        items: impl Iterator<Item = Result<T, E>>,
        line: impl Fn(&E) -> Option<&[u8]>,
    ) -> impl Iterator<Item = Result<T, E>> {
        let mut items = items;
        std::iter::from_fn(move || {
            loop {
                match items.next()? {
                    Ok(item) => return Some(Ok(item)),
                    Err(error) => match self.set_aside(&error, line(&error)) {
                        Ok(true) => continue,
                        Ok(false) => return Some(Err(error)),
                        Err(failure) => {
                            self.failure = Some(failure);
                            return None;
                        }
                    },
                }
            }
        })
    }

    /// Whether the bad line could be set aside.
    fn set_aside(&mut self, error: &impl Display, line: Option<&[u8]>) -> anyhow::Result<bool> {
        let (Some(file), Some(bytes)) = (&mut self.aside, line) else { return Ok(false) };
        file.write_all(bytes).and_then(|()| file.write_all(b"\n")).map_err(|error| file.failure(error))?;
        self.count += 1;
        if self.count <= TOLD {
            warn(&format!("set aside: {}", self.input.blame(error)));
        }
        Ok(true)
    }

    /// How many rows were set aside so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Publishes the file of bad rows (empty where there were none) and tells how many there were.
    pub fn finish(self) -> anyhow::Result<u64> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if let Some(file) = self.aside {
            let name = file.target().display().to_string();
            file.publish()?;
            if self.count > 0 {
                warn(&format!("{} bad rows set aside in {name}", self.count));
            }
        }
        Ok(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_rows_stop_the_run_or_are_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let (input, aside) = (Input::of("rows.jsonl"), directory.path().join("bad.jsonl"));
        let bad = || Err::<(), &str>("3:7: wrong; mend it");
        let error = SkipBad::default().sieve(&input).unwrap().pass(bad(), |_| Some(b"{")).unwrap_err();
        assert_eq!(error.to_string(), "rows.jsonl:3:7: wrong; mend it");
        let mut sieve = SkipBad { bad_rows_file: Some(aside.clone()) }.sieve(&input).unwrap();
        assert_eq!(sieve.pass(Ok::<i32, &str>(5), |_| None).unwrap(), Some(5));
        assert_eq!(sieve.pass(bad(), |_| Some(b"{")).unwrap(), None);
        assert!(sieve.pass(bad(), |_| None).is_err(), "an error that no single line explains stops the run");
        assert_eq!(sieve.finish().unwrap(), 1);
        assert_eq!(std::fs::read_to_string(&aside).unwrap(), "{\n");
    }
}
