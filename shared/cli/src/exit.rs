//! How a tool begins and ends: its arguments, its one-line error, its exit code.

use crate::{pipes, signals, talk};
use clap::Parser;
use clap::error::ErrorKind;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// An end that is not a plain failure.
#[derive(Debug)]
enum End {
    /// Exit 2: what was given is wrong.
    Wrong(String),
    /// Exit 2 with the usage: nothing was given.
    Nothing,
    /// Exit 0 without a word: whoever read our output has left.
    ReaderGone,
    /// Exit 128 + the signal, after saving.
    Stopped(i32),
    /// An exit code that the tool documents.
    Code(u8, String),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Wrong(text) | End::Code(_, text) => f.write_str(text),
            End::Nothing => f.write_str("no input; name a file, or pipe rows in"),
            End::ReaderGone => f.write_str("the reader of standard output has left; nothing to be done"),
            End::Stopped(signal) => {
                write!(f, "stopped by signal {signal}; run the same command again to go on")
            }
        }
    }
}

impl std::error::Error for End {}

/// Bad input (exit 2): `place: fact; remedy`, where the place is a file with line and column, or a file and a tensor.
pub fn bad_input(place: impl Display, fact: impl Display, remedy: impl Display) -> anyhow::Error {
    End::Wrong(format!("{place}: {fact}; {remedy}")).into()
}

/// A wrong combination of flags (exit 2): `fact; remedy`.
pub fn misuse(fact: impl Display, remedy: impl Display) -> anyhow::Error {
    End::Wrong(format!("{fact}; {remedy}")).into()
}

/// An end with a code of the tool's own (documented in its `--help`), and one line that says why.
pub fn exit_with(code: u8, message: impl Display) -> anyhow::Error {
    End::Code(code, message.to_string()).into()
}

/// The end of a tool that was asked to stop and has saved its work: exit 130 after SIGINT, 143 after SIGTERM. Return it
/// when [`signals::stop_requested`] is true.
pub fn stopped() -> anyhow::Error {
    End::Stopped(signals::received().unwrap_or(libc::SIGTERM)).into()
}

/// Standard input is a terminal: the usage is printed, exit 2.
pub(crate) fn nothing_given() -> anyhow::Error {
    End::Nothing.into()
}

/// Whoever reads standard output has left: exit 0 without a word.
pub(crate) fn reader_gone() -> anyhow::Error {
    End::ReaderGone.into()
}

/// Parses the command line, runs the tool, prints at most one line of error, and gives the exit code.
pub fn main<A: Parser>(run: impl FnOnce(A) -> anyhow::Result<()>) -> ExitCode {
    let mut command = A::command();
    talk::set_tool(command.get_name());
    let matches = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) => return refuse(&error),
    };
    let flag = |name: &str| matches!(matches.try_get_one::<bool>(name), Ok(Some(true)));
    talk::set_manner(flag("quiet"), flag("log_json"));
    let args = match A::from_arg_matches(&matches) {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    signals::install();
    let Err(error) = run(args) else { return ExitCode::SUCCESS };
    // An input that was given up because of a signal is not a bad one.
    let error = if pipes::was_interrupted() { stopped() } else { error };
    match error.downcast_ref::<End>() {
        Some(End::ReaderGone) => ExitCode::SUCCESS,
        Some(End::Nothing) => {
            talk::error(&error.to_string());
            // The usage is for a person at a terminal, whatever else stderr carries.
            let _ = writeln!(io::stderr(), "{}", command.render_usage());
            ExitCode::from(2)
        }
        Some(End::Wrong(_)) => {
            talk::error(&one_line(&error));
            ExitCode::from(2)
        }
        Some(End::Stopped(signal)) => {
            talk::error(&one_line(&error));
            ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
        }
        Some(End::Code(code, _)) => {
            talk::error(&one_line(&error));
            ExitCode::from(*code)
        }
        None => {
            talk::error(&one_line(&error));
            ExitCode::from(1)
        }
    }
}

/// The error with its causes, outermost first, on one line.
fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Help and version go to standard output; any other answer of the parser becomes one line and exit 2.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A pager that is closed early is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let mut fact = String::new();
    let mut remedy = None;
    for line in text.lines().map(str::trim) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            remedy = Some(tip.to_string());
        } else if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        } else if !line.is_empty() {
            fact.push_str(if fact.is_empty() { "" } else { " " });
            fact.push_str(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    let remedy = remedy.unwrap_or_else(|| format!("see {} --help", talk::tool()));
    talk::error(&format!("{fact}; {remedy}"));
    ExitCode::from(2)
}

/// Exit 2 with a line that is already composed.
pub(crate) fn wrong(text: String) -> anyhow::Error {
    End::Wrong(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let inner: anyhow::Result<()> = Err(anyhow::anyhow!("no\nroom"));
        let error = inner.context("cannot save").unwrap_err();
        assert_eq!(one_line(&error), "cannot save: no room");
    }

    #[test]
    fn a_context_does_not_change_the_end() {
        let error = bad_input("rows.jsonl:3", "wrong", "mend it").context("reading");
        assert!(matches!(error.downcast_ref::<End>(), Some(End::Wrong(_))));
        assert_eq!(one_line(&error), "reading: rows.jsonl:3: wrong; mend it");
    }
}
