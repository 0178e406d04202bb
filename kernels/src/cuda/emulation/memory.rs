//! The memory of a device that the CPU plays: memory of the host, each buffer of its own pages.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cuda::Error;

/// Bytes that such a device claims to have where nobody says.
pub(in crate::cuda) const MEMORY: usize = 4 << 30;

/// Bytes at either end of a fresh block that are NaN.
const FILLED: usize = 32 << 20;

/// Buffers by their addresses.
pub(in crate::cuda) struct Memory {
    total: usize,
    used: Mutex<BTreeMap<u64, Mapping>>,
    peak: AtomicUsize,
}

/// What `mmap` gave for a buffer.
struct Mapping {
    start: usize,
    whole: usize,
    bytes: usize,
}

impl Memory {
    pub fn new(total: usize) -> Memory {
        Memory { total, used: Mutex::default(), peak: AtomicUsize::new(0) }
    }

    fn used(&self) -> MutexGuard<'_, BTreeMap<u64, Mapping>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes free and bytes in all.
    pub fn room(&self) -> (usize, usize) {
        let used: usize = self.used().values().map(|m| m.bytes).sum();
        (self.total.saturating_sub(used), self.total)
    }

    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Where each buffer begins and ends, ascending.
    pub fn buffers(&self) -> Vec<(u64, u64)> {
        self.used().iter().map(|(&at, m)| (at, at + m.bytes as u64)).collect()
    }

    /// Ends at a page that may not be touched; begins as NaN, but for the middle of a large block, whose pages this machine may lack.
    pub fn take(&self, op: &'static str, bytes: usize) -> Result<u64, Error> {
        const PAGE: usize = 4096;
        let (free, total) = self.room();
        if bytes > free {
            return Err(Error::OutOfMemory { op, bytes, free, total });
        }
        let whole = bytes.next_multiple_of(PAGE) + PAGE;
        let (readable, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, given back by `give`; the last page is fenced off.
        let start = unsafe {
            let start = libc::mmap(std::ptr::null_mut(), whole, readable, flags, -1, 0);
            if start == libc::MAP_FAILED {
                return Err(Error::OutOfMemory { op, bytes, free, total });
            }
            libc::mprotect(start.cast::<u8>().add(whole - PAGE).cast(), PAGE, libc::PROT_NONE);
            let filled = (whole - PAGE).min(FILLED);
            std::ptr::write_bytes(start.cast::<u8>(), 0xff, filled);
            std::ptr::write_bytes(start.cast::<u8>().add(whole - PAGE - filled), 0xff, filled);
            start as usize
        };
        let at = (start + whole - PAGE - bytes.next_multiple_of(16)) as u64;
        self.used().insert(at, Mapping { start, whole, bytes });
        self.peak.fetch_max(total - free + bytes, Ordering::Relaxed);
        Ok(at)
    }

    pub fn give(&self, at: u64) {
        if let Some(Mapping { start, whole, .. }) = self.used().remove(&at) {
            // SAFETY: the mapping that `take` made.
            unsafe { libc::munmap(start as *mut libc::c_void, whole) };
        }
    }
}
