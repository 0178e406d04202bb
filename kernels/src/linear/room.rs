//! Memory for packed weights: one block, so on huge pages, for all matrices of a network.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Words of a cache line; every part starts at one.
const LINE: usize = 16;
/// Bytes of a cache line.
const LINE_BYTES: usize = LINE * size_of::<u32>();

/// Zeros that packed weights are laid into, one behind the other.
///
/// A matrix of a small network is smaller than a huge page; on its own it lies on small ones, each of which costs a fault
/// when it is first touched, and breaks the prefetcher's stride ever after. The block is given back with its last weight.
pub struct Room {
    block: Arc<Block>,
    taken: AtomicUsize,
}

struct Block {
    start: NonNull<u32>,
    lines: usize,
}

// SAFETY: a block is plain memory; its parts are handed out once each, and every access goes through the one owner of a part.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Room {
    /// Room for `words` 32-bit words.
    pub(super) fn of(words: usize) -> Room {
        let lines = words.div_ceil(LINE);
        let start = if lines == 0 {
            NonNull::dangling()
        } else {
            let layout = layout(lines);
            // SAFETY: the layout is not empty.
            let start = unsafe { alloc_zeroed(layout) };
            NonNull::new(start.cast()).unwrap_or_else(|| handle_alloc_error(layout))
        };
        Room { block: Arc::new(Block { start, lines }), taken: AtomicUsize::new(0) }
    }

    /// The next `words` words; a block of their own where the room is too small.
    pub(super) fn take(&self, words: usize) -> Part {
        let lines = words.div_ceil(LINE);
        let from = self.taken.fetch_add(lines, Ordering::Relaxed);
        match from.checked_add(lines) {
            Some(end) if end <= self.block.lines => Part { block: Arc::clone(&self.block), from, words },
            _ => Part { block: Room::of(words).block, from: 0, words },
        }
    }
}

fn layout(lines: usize) -> Layout {
    match Layout::array::<[u8; LINE_BYTES]>(lines).and_then(|l| l.align_to(LINE_BYTES)) {
        Ok(layout) => layout,
        Err(_) => panic!("linear: packed weights of {lines} cache lines are more than an address can name"),
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.lines > 0 {
            // SAFETY: allocated by `Room::of` with this layout; the last part that pointed here is gone.
            unsafe { dealloc(self.start.as_ptr().cast(), layout(self.lines)) };
        }
    }
}

/// A part of a [`Room`], owned.
pub(super) struct Part {
    block: Arc<Block>,
    from: usize,
    words: usize,
}

impl std::ops::Deref for Part {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        // SAFETY: inside the block by `take`, initialized (zeros at first), and no other part covers it.
        unsafe { std::slice::from_raw_parts(self.block.start.as_ptr().add(self.from * LINE), self.words) }
    }
}

impl std::ops::DerefMut for Part {
    fn deref_mut(&mut self) -> &mut [u32] {
        // SAFETY: as above, and the part itself is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.block.start.as_ptr().add(self.from * LINE), self.words) }
    }
}
