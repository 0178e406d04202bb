//! A queue of lines between two threads that never blocks its writer and never grows in memory: what memory should not
//! hold waits in a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, PoisonError};

/// First in, first out. A file without a name, which the system removes with the last handle, takes what is beyond
/// `limit` bytes.
pub struct Spool {
    state: Mutex<State>,
    more: Condvar,
    limit: usize,
}

#[derive(Default)]
struct State {
    memory: VecDeque<Vec<u8>>,
    bytes: usize,
    file: Option<File>,
    /// The bytes of the file that still wait.
    written: u64,
    read: u64,
    closed: bool,
}

impl Spool {
    /// An empty queue that keeps at most `limit` bytes in memory.
    pub fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), more: Condvar::new(), limit }
    }

    /// Adds an item. Errors: the temporary file cannot be made or written.
    pub fn push(&self, item: Vec<u8>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Once something waits in the file, all that comes later waits behind it.
        if state.written == 0 && state.bytes + item.len() <= self.limit {
            state.bytes += item.len();
            state.memory.push_back(item);
        } else {
            if state.file.is_none() {
                state.file = Some(tempfile::tempfile()?);
            }
            let at = state.written;
            if let Some(file) = &state.file {
                file.write_all_at(&(item.len() as u64).to_le_bytes(), at)?;
                file.write_all_at(&item, at + 8)?;
            }
            state.written += 8 + item.len() as u64;
        }
        self.more.notify_one();
        Ok(())
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.more.notify_one();
    }

    /// Waits for the next item; none at the end. Errors: the temporary file cannot be read.
    pub fn pop(&self) -> io::Result<Option<Vec<u8>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(item) = state.memory.pop_front() {
                state.bytes -= item.len();
                return Ok(Some(item));
            }
            if state.read < state.written {
                let mut length = [0; 8];
                let at = state.read;
                let Some(file) = &state.file else { return Ok(None) };
                file.read_exact_at(&mut length, at)?;
                let mut item = vec![0; usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX)];
                file.read_exact_at(&mut item, at + 8)?;
                state.read += 8 + item.len() as u64;
                if state.read == state.written {
                    if let Some(file) = &state.file {
                        file.set_len(0)?;
                    }
                    (state.read, state.written) = (0, 0);
                }
                return Ok(Some(item));
            }
            if state.closed {
                return Ok(None);
            }
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_through_memory_and_file() {
        let spool = Spool::new(20);
        let item = |n: u32| n.to_string().repeat(5).into_bytes();
        let mut next = 0;
        for n in 0..100 {
            spool.push(item(n)).unwrap();
            if n % 3 == 0 {
                assert_eq!(spool.pop().unwrap(), Some(item(next)));
                next += 1;
            }
        }
        spool.close();
        for n in next..100 {
            assert_eq!(spool.pop().unwrap(), Some(item(n)));
        }
        assert_eq!(spool.pop().unwrap(), None);
        assert!(spool.state.lock().unwrap().bytes == 0);
    }

    #[test]
    fn a_reader_waits_for_its_writer() {
        let spool = std::sync::Arc::new(Spool::new(1 << 20));
        let reader = std::thread::spawn({
            let spool = spool.clone();
            move || std::iter::from_fn(|| spool.pop().unwrap()).count()
        });
        for n in 0..1000u32 {
            spool.push(n.to_le_bytes().to_vec()).unwrap();
        }
        spool.close();
        assert_eq!(reader.join().unwrap(), 1000);
    }
}
