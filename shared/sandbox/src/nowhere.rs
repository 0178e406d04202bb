//! Systems without a sandbox of ours.

use crate::{Ended, Interpreter, Job, Kind, Limits, Unavailable};
use std::io;

/// Never made here.
#[derive(Debug)]
pub struct Sandbox {
    kind: Kind,
}

impl Sandbox {
    /// Always refuses.
    pub fn new(_: Interpreter, _: Option<Kind>) -> Result<Sandbox, Unavailable> {
        Err(Unavailable("programs can be confined on Linux only".to_string()))
    }

    /// What holds the programs.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Never reached, since there is no sandbox to call it on.
    pub fn run(&self, _: &Job<'_>, _: &Limits) -> io::Result<Ended> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never reached either.
    pub fn run_two(&self, _: &Job<'_>, _: &Job<'_>, _: &Limits) -> io::Result<(Ended, Ended)> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
