//! Reused memory for activations.
//!
//! Fresh pages cost more than the arithmetic of a small layer, so a buffer that is dropped goes back to a pool and the
//! next one of a fitting size takes it. Contents of a new buffer are arbitrary: every kernel overwrites its output.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

static POOL: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// `len` f32 values that return to the pool when dropped.
pub(crate) struct Buffer {
    store: Vec<f32>,
    len: usize,
}

impl Buffer {
    /// A buffer with arbitrary contents.
    pub fn new(len: usize) -> Buffer {
        let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
        // Smallest that fits and is not wastefully large.
        let fit = pool
            .iter()
            .enumerate()
            .filter(|(_, v)| v.len() >= len && v.len() <= 2 * len + 4096)
            .min_by_key(|(_, v)| v.len())
            .map(|(i, _)| i);
        let store = match fit {
            Some(i) => pool.swap_remove(i),
            None => vec![0.0; len],
        };
        Buffer { store, len }
    }

    /// A buffer of zeros.
    pub fn zeros(len: usize) -> Buffer {
        let mut b = Buffer::new(len);
        b.fill(0.0);
        b
    }

    /// A copy of `values`.
    pub fn of(values: &[f32]) -> Buffer {
        let mut b = Buffer::new(values.len());
        b.copy_from_slice(values);
        b
    }
}

/// Frees what the pool holds: called where a phase of another size begins.
pub(crate) fn release() {
    POOL.lock().unwrap_or_else(|e| e.into_inner()).clear();
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.store[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.store[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.store.is_empty() {
            POOL.lock().unwrap_or_else(|e| e.into_inner()).push(std::mem::take(&mut self.store));
        }
    }
}
