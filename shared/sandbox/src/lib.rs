//! Runs programs that nobody trusts.
//!
//! A program gets a process of its own and nothing else: no network, no files but its interpreter's (read-only), no other
//! processes to see, start, trace or signal, and bounds on processor time, wall time, memory and output. What holds it is
//! stated by [`Kind`]; both kinds need a Linux kernel that lends them, and where it does not, [`Sandbox::new`] refuses.
//! There is no way to run a program without.
//!
//! What it does not do: keep a program from lying about itself. Whoever runs tests inside the program's own process is
//! told by that process how they went; [`Sandbox::run_two`] lets another process ask it.
//!
//! ```no_run
//! use r1_sandbox::{End, Interpreter, Job, Limits, Sandbox};
//! let sandbox = Sandbox::new(Interpreter::python("python3")?, None)?;
//! let job = Job { arguments: &["-c", "print(6 * 7)"], input: b"", payload: b"" };
//! let ended = sandbox.run(&job, &Limits::default())?;
//! assert_eq!((ended.end, &ended.stdout[..]), (End::Exit(0), &b"42\n"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod filter;
mod interpreter;
#[cfg(target_os = "linux")]
mod landlock;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(not(target_os = "linux"))]
#[path = "nowhere.rs"]
mod launch;
#[cfg(target_os = "linux")]
mod streams;

pub use interpreter::Interpreter;
pub use launch::Sandbox;

use std::fmt;
use std::time::Duration;

/// What holds the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Namespaces of its own (mounts, processes, network, IPC, host name; users too where the caller is not root) with an
    /// empty read-only root, and a system call filter within.
    Namespaces,
    /// Landlock on files and a system call filter, in the namespaces of the caller.
    Filters,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Namespaces => "namespaces and a system call filter",
            Kind::Filters => "landlock and a system call filter",
        })
    }
}

/// What the interpreter is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job<'j> {
    /// Its arguments.
    pub arguments: &'j [&'j str],
    /// Its standard input.
    pub input: &'j [u8],
    /// What it can read from file descriptor 3.
    pub payload: &'j [u8],
}

/// How much a program may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time on the clock.
    pub wall: Duration,
    /// Seconds of processor time, of all threads together.
    pub cpu_seconds: u64,
    /// Bytes of address space; threads share it, and there is only one process.
    pub memory: u64,
    /// Bytes that its one writable directory, `/tmp`, may hold. With [`Kind::Filters`] there is none.
    pub files: u64,
    /// Bytes of each of standard output, standard error and the report; more ends the program.
    pub output: usize,
}

impl Default for Limits {
    /// 10 s on the clock and of processor time, 1 GiB of memory, 16 MiB of files, 1 MiB of output.
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(10),
            cpu_seconds: 10,
            memory: 1 << 30,
            files: 16 << 20,
            output: 1 << 20,
        }
    }
}

/// How a program came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exit(i32),
    /// By this signal: its own fault, or a limit (9 for processor time).
    Signal(i32),
    /// Its time on the clock was over.
    TimeOut,
    /// It has written more than it may.
    TooMuchOutput,
}

/// What a program left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// What it has written to file descriptor 4.
    pub report: Vec<u8>,
}

/// Why there is no sandbox here: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub(crate) String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}
