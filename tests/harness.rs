//! Runs tools as processes and reads what they print. The tests of this package see the tools as a user does: arguments,
//! standard streams, files, exit codes.
#![allow(dead_code, reason = "each tool's tests use the part they need")]

use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a tool may take before it is killed and the test fails.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a process left behind.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The exit code; as a shell tells it, 128 + the signal for a process that a signal ended.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output of a tool that must have succeeded.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code(), 0, "the tool failed: {}", self.stderr);
        self.stdout
    }

    /// The rows on standard output of a tool that must have succeeded.
    #[track_caller]
    pub fn rows(self) -> Vec<Value> {
        rows(&self.success())
    }

    /// Asserts a failure in the manner of the house: this exit code, and one line on stderr (the tool's name first) that holds
    /// all the given words.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code(), code, "stderr: {}", self.stderr);
        let last = self.stderr.lines().last().unwrap_or("");
        assert!(last.starts_with("r1-") && last.contains(": "), "not an error line: {last:?}");
        for word in words {
            assert!(last.contains(word), "{word:?} is not in {last:?}");
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// The path of a tool's executable, which stands beside this test's own: `target/<profile>/`.
pub fn executable(tool: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the test knows its own path");
    let directory = own.parent().and_then(Path::parent).expect("tests run from target/<profile>/deps");
    let path = directory.join(tool);
    assert!(path.exists(), "{} is not built: run `cargo build --release` first", path.display());
    path
}

/// A command for a tool, in the repository's root.
pub fn command(tool: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(executable(tool));
    command.args(arguments).current_dir(root());
    heed_signals(&mut command);
    command
}

/// Gives a process the default action for the signals that ask it to end. A shell that starts a job in the background lets it
/// ignore SIGINT, every descendant inherits that, and our tools rightly keep it: a test of signals would wait for ever.
pub fn heed_signals(command: &mut Command) {
    let reset = || {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the default action runs no code of ours.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec only `signal` is called, which may be called there.
    unsafe { command.pre_exec(reset) };
}

/// Runs a tool with this text as standard input.
#[track_caller]
pub fn run(tool: &str, arguments: &[&str], stdin: &str) -> Outcome {
    run_bytes(tool, arguments, stdin.as_bytes())
}

/// [`run`] with bytes that need not be text.
#[track_caller]
pub fn run_bytes(tool: &str, arguments: &[&str], stdin: &[u8]) -> Outcome {
    let mut command = command(tool, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{tool} cannot be started: {error}"));
    wait(child, stdin)
}

/// Feeds a process, reads all that it prints, and waits for its end; kills it when it takes too long.
#[track_caller]
pub fn wait(mut child: Child, stdin: &[u8]) -> Outcome {
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let bytes = stdin.to_vec();
    let feeder = thread::spawn(move || {
        if let Some(mut input) = input {
            // A tool may refuse its input before it has read all of it.
            let _ = input.write_all(&bytes);
        }
    });
    let read = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                let _ = stream.read_to_end(&mut bytes);
            }
            String::from_utf8(bytes).expect("tools print UTF-8")
        })
    };
    let stdout = read(output.map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let stderr = read(errors.map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the process can be waited for") {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the tool did not end within {PATIENCE:?}; stderr: {}", stderr.join().unwrap_or_default());
        }
        thread::sleep(Duration::from_millis(2));
    };
    feeder.join().expect("feeding does not panic");
    Outcome { status, stdout: stdout.join().expect("reading"), stderr: stderr.join().expect("reading") }
}

/// Runs tools one after the other, the standard output of each being the standard input of the next; all must succeed.
#[track_caller]
pub fn pipe(stages: &[(&str, &[&str])], stdin: &str) -> String {
    stages.iter().fold(stdin.to_string(), |text, (tool, arguments)| run(tool, arguments, &text).success())
}

/// The JSON objects of a JSONL text.
#[track_caller]
pub fn rows(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// A directory that goes away when it is dropped.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the root").to_path_buf()
}

/// The text of a file under `tests/golden`.
#[track_caller]
pub fn golden(path: &str) -> String {
    let path = root().join("tests/golden").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of the real data sets that may stand beside the repository; where it does not, says so, and the test skips it.
pub fn shared_data(path: &str) -> Option<PathBuf> {
    let path = root().join("../shared/data").join(path);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not here", path.display());
    None
}

/// What every tool that reads rows must do with bad ones: `good` is a whole input that it accepts with `arguments`.
#[track_caller]
pub fn refuses_bad_rows(tool: &str, arguments: &[&str], good: &str) {
    let outcome = run(tool, arguments, good);
    assert_eq!(outcome.code(), 0, "the good input is refused: {}", outcome.stderr);
    let with = |line: &str| format!("{}\n{line}\n", good.trim_end());
    let number = good.trim_end().lines().count() + 1;
    let place = |column: usize| format!(": stdin:{number}:{column}: ");
    run(tool, arguments, "").refused(2, &["stdin", "empty"]);
    run(tool, arguments, "\n \n").refused(2, &["empty"]);
    run(tool, arguments, &with(r#"{"id": "x",, }"#)).refused(2, &[&place(12)]);
    run(tool, arguments, &with(r#"{"id": "x", "weight": NaN}"#)).refused(2, &[&place(23), "NaN"]);
    run(tool, arguments, &with(r#"{"id": "x", "prompt": "cut o"#))
        .refused(2, &[&format!("stdin:{number}:"), "cut short"]);
    run(tool, arguments, &with(r#"["a", "row"]"#)).refused(2, &[&format!("stdin:{number}:"), "object"]);
    run(tool, arguments, &with(r#"{"id": "x", "id": "y"}"#))
        .refused(2, &[&format!("stdin:{number}:"), "twice"]);
    run_bytes(tool, arguments, with("{\"id\": \"\u{e9}").as_bytes())
        .refused(2, &[&format!("stdin:{number}:")]);
    let mut bytes = with("").into_bytes();
    bytes.pop();
    bytes.extend(b"{\"id\": \"\xff\"}\n");
    run_bytes(tool, arguments, &bytes).refused(2, &[&place(9), "UTF-8"]);
    let mut absent = arguments.to_vec();
    absent.push("no/such/file.jsonl");
    run(tool, &absent, "").refused(2, &["no/such/file.jsonl"]);
    run(tool, &["--no-such-flag"], "").refused(2, &["--no-such-flag"]);
}

/// A disk without room fails cleanly (exit 1), on standard output and as `-o`.
#[track_caller]
pub fn reports_a_full_disk(tool: &str, arguments: &[&str], good: &str) {
    if !Path::new("/dev/full").exists() {
        println!("skipped: this system has no /dev/full");
        return;
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full can be opened");
    let mut command = command(tool, arguments);
    command.stdin(Stdio::piped()).stdout(full).stderr(Stdio::piped());
    wait(command.spawn().expect("the tool can be started"), good.as_bytes())
        .refused(1, &["stdout", "No space left"]);
    let mut arguments = arguments.to_vec();
    arguments.extend(["-o", "/dev/full"]);
    run(tool, &arguments, good).refused(1, &["/dev/full", "No space left"]);
}

/// A reader that leaves early ends the tool quietly. `good` must make the tool write more than a pipe holds (64 KiB).
#[track_caller]
pub fn survives_a_closed_pipe(tool: &str, arguments: &[&str], good: &str) {
    let mut command = command(tool, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the tool can be started");
    drop(child.stdout.take());
    let outcome = wait(child, good.as_bytes());
    assert_eq!((outcome.code(), outcome.stderr.contains("anic")), (0, false), "{}", outcome.stderr);
}
