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
        let fit = smallest(&pool, |n| n >= len && n <= 2 * len + 4096);
        let store = match fit {
            Some(i) => pool.swap_remove(i),
            None => {
                // A run's batches grow and shrink: one that this buffer outgrew makes room for it, so that the pool
                // stays as large as the largest batch.
                if let Some(outgrown) = smallest(&pool, |n| n < len && 2 * n >= len) {
                    pool.swap_remove(outgrown);
                }
                // Sizes in steps of an eighth fit more often.
                vec![0.0; len.next_multiple_of((len / 8).next_power_of_two())]
            }
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

/// Index of the smallest pooled buffer whose length is acceptable.
fn smallest(pool: &[Vec<f32>], acceptable: impl Fn(usize) -> bool) -> Option<usize> {
    let fitting = pool.iter().enumerate().filter(|(_, v)| acceptable(v.len()));
    fitting.min_by_key(|(_, v)| v.len()).map(|(i, _)| i)
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
