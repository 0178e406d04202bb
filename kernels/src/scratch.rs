//! Temporary buffers that live as long as their thread: fresh memory costs a page fault for every 4 KiB.

use std::cell::RefCell;

/// One cache line, so that buffers begin on one.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

thread_local! {
    /// Buffers not in use; a nested call finds another one here, or none.
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with a buffer of `len` values that hold anything at all, aligned to 64 bytes.
pub(crate) fn with<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut lines = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if lines.len() * 16 < len {
        lines.resize(len.div_ceil(16), Line([0.0; 16]));
    }
    // SAFETY: a Line is sixteen f32 without padding, and the vector holds at least `len` of them.
    let result = f(unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) });
    FREE.with_borrow_mut(|free| free.push(lines));
    result
}

#[cfg(test)]
mod tests {
    #[test]
    fn nested_buffers_are_different_and_aligned() {
        super::with(100, |a| {
            a.fill(1.0);
            super::with(1000, |b| {
                b.fill(2.0);
                assert_eq!((a.as_ptr() as usize % 64, b.as_ptr() as usize % 64), (0, 0));
            });
            assert!(a.iter().all(|&x| x == 1.0));
        });
    }
}
