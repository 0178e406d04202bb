//! Programs, judged by running them against tests in a sandbox.
//!
//! A program never meets its tests. What it prints is compared here, outside of the sandbox. Tests that call its functions run
//! in an examiner: a second process in a sandbox of its own, to which the first hands the values of calls as data
//! (`peer.py`), so that nothing a program does to itself, and no object that claims to equal everything, passes a test. It can
//! still do what a function can: see the arguments that it is given, and change them.

use crate::accuracy::Outcome;
use r1_records::{Prompt, RecordError, Row};
use r1_sandbox::{End, Interpreter, Job, Limits, Sandbox};
use r1_verify::code::same_output;
use serde::Deserialize;
use serde_json::json;
use std::io;
use std::time::Duration;

/// Whether and how programs are run.
#[derive(clap::Args, Clone, Debug)]
pub struct CodeFlags {
    /// Run the programs of rows with the task code against the row's tests, in a sandbox; refused where the system lends none
    #[arg(long)]
    allow_code: bool,
    /// Seconds that a program may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600), requires = "allow_code")]
    code_time: u32,
    /// MiB of memory that a program may use
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(64..=1_048_576), requires = "allow_code")]
    code_memory: u32,
    /// The Python that runs them
    #[arg(long, value_name = "PROGRAM", default_value = "python3", requires = "allow_code")]
    python: String,
}

impl CodeFlags {
    /// Sets up the sandbox where it was asked for. Errors: no Python, or no way to confine it.
    pub fn runner(&self) -> anyhow::Result<Option<Runner>> {
        if !self.allow_code {
            return Ok(None);
        }
        let sandbox = Interpreter::python(&self.python)
            .and_then(|python| Sandbox::new(python, None))
            .map_err(|why| anyhow::anyhow!("--allow-code: {why}; programs are never run unconfined"))?;
        let limits = Limits {
            wall: Duration::from_secs(self.code_time.into()),
            cpu_seconds: self.code_time.into(),
            memory: u64::from(self.code_memory) << 20,
            ..Limits::default()
        };
        Ok(Some(Runner { sandbox, limits }))
    }
}

/// Tests of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Tests {
    /// What the program may be preceded by: the tests' imports, and the prompt that a completion goes on from.
    setup: String,
    prompt: String,
    /// The function that the tests call, where they name it.
    entry: Option<String>,
    kind: Checks,
}

#[derive(Clone, Debug, PartialEq)]
enum Checks {
    /// Statements that raise nothing when they hold.
    Calls(Vec<String>),
    /// What is given to the program, and what it must print.
    Streams(Vec<(String, String)>),
}

/// One entry of the column `tests`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Call(String),
    Stream { input: String, output: String },
}

impl Tests {
    /// The row's tests, where it has any: `test` and `entry_point` (HumanEval), a list of assertions in `tests` or `test_list`
    /// with imports in `setup`, `test_setup_code` or `test_imports` (MBPP), or a list of `{"input", "output"}` in `tests`.
    pub fn of(row: &Row) -> Result<Option<Tests>, RecordError> {
        let prompt = match row.prompt_column() {
            Some(_) => match row.prompt()? {
                Prompt::Text(text) => text,
                Prompt::Messages(_) => String::new(),
            },
            None => String::new(),
        };
        let entry: Option<String> = row.get("entry_point")?;
        if let (Some(test), Some(entry)) = (row.get::<String>("test")?, &entry) {
            let kind = Checks::Calls(vec![format!("{test}\ncheck({entry})")]);
            return Ok(Some(Tests { setup: String::new(), prompt, entry: Some(entry.clone()), kind }));
        }
        let mut setup: String = row.get::<Vec<String>>("test_imports")?.unwrap_or_default().join("\n");
        for name in ["setup", "test_setup_code"] {
            if let Some(text) = row.get::<String>(name)? {
                setup = format!("{setup}\n{text}");
            }
        }
        let (mut calls, mut streams) = (Vec::new(), Vec::new());
        for name in ["tests", "test_list"] {
            for test in row.get::<Vec<Entry>>(name)?.unwrap_or_default() {
                match test {
                    Entry::Call(text) => calls.push(text),
                    Entry::Stream { input, output } => streams.push((input, output)),
                }
            }
        }
        let kind = match (calls.is_empty(), streams.is_empty()) {
            (true, true) => return Ok(None),
            (false, true) => Checks::Calls(calls),
            (true, false) => Checks::Streams(streams),
            (false, false) => {
                return Err(row.error_in(
                    "tests",
                    "assertions and inputs with outputs in one list",
                    "use one kind of test a row",
                ));
            }
        };
        Ok(Some(Tests { setup, prompt, entry, kind }))
    }

    /// What the tests may use beside the program: imports, and the functions that stand in the prompt before the one asked for.
    fn before(&self) -> String {
        let begun = self.entry.as_ref().and_then(|entry| defines(&self.prompt, entry)).unwrap_or(0);
        format!("{}\n{}", self.setup, &self.prompt[..begun])
    }

    /// The texts that may be the program, the first that is Python counts: a whole program, after what the prompt gives
    /// before the function; or the rest of the function that the prompt has begun.
    fn programs(&self, program: &str) -> Vec<String> {
        let with_setup = |text: &str| format!("{}\n{text}", self.setup);
        let Some(begun) = self.entry.as_ref().and_then(|entry| defines(&self.prompt, entry)) else {
            return vec![with_setup(program)];
        };
        if self.entry.as_ref().is_some_and(|entry| defines(program, entry).is_some()) {
            return vec![with_setup(&format!("{}\n{program}", &self.prompt[..begun])), with_setup(program)];
        }
        vec![with_setup(&format!("{}{program}", self.prompt)), with_setup(program)]
    }
}

/// Where a text begins to define a function, at the beginning of a line.
fn defines(text: &str, function: &str) -> Option<usize> {
    let start = format!("def {function}");
    text.match_indices(&start)
        .find(|(at, _)| {
            let behind = text[at + start.len()..].trim_start();
            (*at == 0 || text[..*at].ends_with('\n')) && behind.starts_with('(')
        })
        .map(|(at, _)| at)
}

/// Runs programs.
#[derive(Debug)]
pub struct Runner {
    sandbox: Sandbox,
    limits: Limits,
}

/// After so many time-outs the rest of a row's tests count as failed.
const PATIENCE: usize = 3;
const CANDIDATE: &str = concat!(include_str!("peer.py"), include_str!("candidate.py"));
const EXAMINER: &str = concat!(include_str!("peer.py"), include_str!("examiner.py"));

impl Runner {
    /// How many of the tests the program passes. Errors: it could not be run at all.
    pub fn test(&self, tests: &Tests, program: &str) -> io::Result<Outcome> {
        let programs = tests.programs(program);
        let (passed, total) = match &tests.kind {
            Checks::Calls(calls) => (self.calls(tests, &programs, calls)?, calls.len()),
            Checks::Streams(cases) => (self.streams(&programs, cases)?, cases.len()),
        };
        Ok(Outcome::Tested { passed, total })
    }

    /// Runs all tests against one process; where one of them ends it, the rest run against another.
    fn calls(&self, tests: &Tests, programs: &[String], calls: &[String]) -> io::Result<usize> {
        let program = serde_json::to_vec(&json!({"programs": programs, "examined": true}))?;
        let (mut passed, mut next, mut late) = (0, 0, 0);
        while next < calls.len() && late < PATIENCE {
            let left: Vec<(usize, &String)> = calls.iter().enumerate().skip(next).collect();
            let payload = json!({"setup": tests.before(), "entry": tests.entry, "tests": left});
            let payload = serde_json::to_vec(&payload)?;
            let examiner = Job { arguments: &["-I", "-S", "-c", EXAMINER], input: b"", payload: &payload };
            let candidate = Job { arguments: &["-I", "-S", "-c", CANDIDATE], input: b"", payload: &program };
            let (examiner, candidate) = self.sandbox.run_two(&examiner, &candidate, &self.limits)?;
            // A program that is killed for its time ends the examiner too.
            late += usize::from([examiner.end, candidate.end].contains(&End::TimeOut));
            let (mut begun, mut over) = (None, false);
            for line in String::from_utf8_lossy(&examiner.report).lines() {
                match line.split_at_checked(1) {
                    Some(("?", number)) => begun = number.parse::<usize>().ok(),
                    Some(("+", _)) => passed += 1,
                    Some((".", _)) => over = true,
                    _ => {}
                }
            }
            next = match begun {
                // Without any test begun the program itself does not run.
                Some(number) if !over && number >= next => number + 1,
                _ => break,
            };
        }
        Ok(passed)
    }

    /// Runs the program once for each case.
    fn streams(&self, programs: &[String], cases: &[(String, String)]) -> io::Result<usize> {
        let payload = serde_json::to_vec(&json!({"programs": programs, "examined": false}))?;
        let (mut passed, mut late) = (0, 0);
        for (input, output) in cases {
            if late == PATIENCE {
                break;
            }
            let job =
                Job { arguments: &["-I", "-S", "-c", CANDIDATE], input: input.as_bytes(), payload: &payload };
            let ended = self.sandbox.run(&job, &self.limits)?;
            late += usize::from(ended.end == End::TimeOut);
            let printed = String::from_utf8_lossy(&ended.stdout);
            passed += usize::from(ended.end == End::Exit(0) && same_output(&printed, output));
        }
        Ok(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tests(text: &str) -> Result<Option<Tests>, RecordError> {
        Tests::of(&Row::parse(text).unwrap())
    }

    #[test]
    fn tests_of_known_data_sets_are_understood() {
        let human = tests(
            r#"{"prompt":"import re\ndef f(x):\n","test":"def check(c): assert c(1)","entry_point":"f"}"#,
        );
        let human = human.unwrap().unwrap();
        assert_eq!(human.kind, Checks::Calls(vec!["def check(c): assert c(1)\ncheck(f)".into()]));
        assert_eq!(human.programs("    return x")[0], "\nimport re\ndef f(x):\n    return x");
        assert_eq!(human.programs("def f(x): return x")[0], "\nimport re\n\ndef f(x): return x");
        let basic =
            tests(r#"{"prompt":"Write f","test_list":["assert f(1)"],"test_setup_code":"import re"}"#);
        let basic = basic.unwrap().unwrap();
        assert_eq!(basic.programs("def f(x): return x"), ["\nimport re\ndef f(x): return x"]);
        let stream = tests(r#"{"prompt":"Add","tests":[{"input":"1 2","output":"3"}]}"#).unwrap().unwrap();
        assert_eq!(stream.kind, Checks::Streams(vec![("1 2".into(), "3".into())]));
        assert_eq!(tests(r#"{"prompt":"Add"}"#).unwrap(), None);
        assert_eq!(tests(r#"{"prompt":"Add","tests":[]}"#).unwrap(), None);
        assert!(tests(r#"{"tests":["assert 1",{"input":"","output":""}]}"#).is_err());
        assert!(tests(r#"{"tests":[1]}"#).is_err() && tests(r#"{"tests":"assert 1"}"#).is_err());
    }

    #[test]
    fn a_definition_begins_a_line() {
        assert_eq!(defines("import re\ndef f (x):", "f"), Some(10));
        for other in ["def fg(x):", "# def f(x):", "  def f(x):", "def f"] {
            assert_eq!(defines(other, "f"), None, "{other}");
        }
    }
}
