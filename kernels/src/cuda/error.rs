//! What can go wrong on a device, in one line each.

use std::fmt;

/// An error of the device or of the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no device to be had: no library, no driver, no such device, or one that is too old.
    Absent(String),
    /// The device's memory does not suffice.
    OutOfMemory {
        /// Who asked.
        op: &'static str,
        /// For how many bytes.
        bytes: usize,
        /// Bytes free at that moment.
        free: usize,
        /// Bytes that the device has.
        total: usize,
    },
    /// An operation failed. Work is queued, so the cause may lie in an operation before; `CUDA_LAUNCH_BLOCKING=1` tells.
    Failed {
        /// The operation.
        op: &'static str,
        /// What the library said.
        fact: String,
    },
}

impl Error {
    pub(crate) fn failed(op: &'static str, fact: impl fmt::Display) -> Error {
        Error::Failed { op, fact: fact.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Absent(fact) => write!(f, "cuda: {fact}"),
            Error::OutOfMemory { op, bytes, free, total } => {
                let mib = |bytes: &usize| *bytes as f64 / f64::from(1 << 20);
                let (bytes, free, total) = (mib(bytes), mib(free), mib(total));
                write!(f, "cuda: {op} asks for {bytes:.1} MiB, {free:.1} of {total:.1} MiB are free")
            }
            Error::Failed { op, fact } => write!(f, "cuda: {op}: {fact}"),
        }
    }
}

impl std::error::Error for Error {}
