//! A slice that several tasks write at once, each its own part.

use std::marker::PhantomData;
use std::ops::Range;

/// Hands out disjoint parts of one mutable slice to the tasks of a [`super::parallel`] call.
///
/// ```
/// use r1_kernels::threads::{SharedMut, parallel};
/// let mut squares = vec![0; 100];
/// let parts = SharedMut::new(&mut squares);
/// parallel(10, |task| {
///     // SAFETY: each task takes its own ten values.
///     let mine = unsafe { parts.slice(task * 10..task * 10 + 10) };
///     mine.iter_mut().enumerate().for_each(|(i, v)| *v = (task * 10 + i).pow(2));
/// });
/// assert_eq!(squares[99], 9801);
/// ```
pub struct SharedMut<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: a SharedMut gives out `&mut [T]`, which may be used on another thread when T may be sent there; that the
// parts are disjoint is the promise of whoever calls `slice`.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// Borrows `slice` for as long as parts of it are to be handed out.
    pub fn new(slice: &'a mut [T]) -> Self {
        SharedMut { start: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// The length of the whole slice.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the whole slice is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first element, for kernels that write a strided block by address.
    pub(crate) fn start(&self) -> *mut T {
        self.start
    }

    /// The part `range`.
    ///
    /// # Safety
    /// No two parts that are alive at the same time may overlap.
    ///
    /// # Panics
    /// When `range` is not inside the slice.
    #[allow(clippy::mut_from_ref)] // That is the point of the type; the caller promises disjointness.
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "threads: part {range:?} of a slice of {}",
            self.len
        );
        // SAFETY: inside the borrowed slice by the check above, disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.end - range.start) }
    }
}
