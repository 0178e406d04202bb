//! The file that a tool reads, or standard input.

use crate::exit::{bad_input, nothing_given};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};

/// `[FILE]`: a file, or standard input.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Input {
    /// File to read; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    input_file: Option<PathBuf>,
}

impl Input {
    /// For a file that another flag names.
    pub fn of(file: impl Into<PathBuf>) -> Self {
        Self { input_file: Some(file.into()) }
    }

    /// The file, unless it is standard input.
    pub fn path(&self) -> Option<&Path> {
        self.input_file.as_deref().filter(|file| *file != Path::new("-"))
    }

    /// What errors call it: the file as it was given, or `stdin`.
    pub fn name(&self) -> String {
        self.path().map_or_else(|| "stdin".to_string(), |file| file.display().to_string())
    }

    /// Opens it. Errors (exit 2): no such file, a directory, or a terminal as standard input, which prints the usage.
    pub fn open(&self) -> anyhow::Result<Box<dyn BufRead + Send>> {
        let Some(path) = self.path() else {
            if io::stdin().is_terminal() {
                return Err(nothing_given());
            }
            return Ok(Box::new(BufReader::with_capacity(1 << 16, io::stdin())));
        };
        let file =
            File::open(path).map_err(|error| bad_input(self.name(), error, "see that the path is right"))?;
        if file.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(bad_input(self.name(), "is a directory", "name a file"));
        }
        Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
    }

    /// Bad input (exit 2) in this file: puts its name before an error that begins with `line:column: ` (as the errors of
    /// r1-records display) or with the fact.
    pub fn blame(&self, error: impl Display) -> anyhow::Error {
        let text = error.to_string();
        let placed = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
        crate::exit::wrong(format!("{}:{}{text}", self.name(), if placed { "" } else { " " }))
    }
}
