//! Large blocks of memory on huge pages.
//!
//! Weights, moments and activations are read from end to end, every step. On pages of 4 KiB each of them costs a page fault when it is
//! first touched, and address translation for ever after; Linux gives pages of 2 MiB to a program that asks (`madvise`), and
//! leaves the rest as it was. A program that links this crate gets its blocks of 4 MiB and more this way, each on pages of its own; those
//! from 128 KiB on, a layer's matrices, share regions of such pages; smaller ones come from the system's allocator, as before.

mod shared;

use std::alloc::{GlobalAlloc, Layout, System};

/// The allocator.
struct Pages;

#[global_allocator]
static PAGES: Pages = Pages;

/// A huge page.
const HUGE: usize = 2 << 20;
/// Blocks from here on are large.
const LARGE: usize = 2 * HUGE;

/// Where a block of this layout lies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// with the system's allocator
    System,
    /// in a region, beside others
    Shared,
    /// on pages of its own
    Own,
}

fn place(layout: &Layout) -> Place {
    if !cfg!(target_os = "linux") || layout.align() > shared::UNIT {
        Place::System
    } else if layout.size() >= LARGE {
        Place::Own
    } else if layout.size() >= shared::LEAST {
        Place::Shared
    } else {
        Place::System
    }
}

/// `size` bytes of zeros on whole huge pages; null where there are none.
#[cfg(target_os = "linux")]
fn map(size: usize) -> *mut u8 {
    let Some(whole) = size.checked_next_multiple_of(HUGE) else { return std::ptr::null_mut() };
    let Some(reserved) = whole.checked_add(HUGE) else { return std::ptr::null_mut() };
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, of which the ends before and after the aligned part are given back; nothing else knows of it.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), reserved, protection, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        let start = start.cast::<u8>();
        let before = start.align_offset(HUGE);
        if before > 0 {
            libc::munmap(start.cast(), before);
        }
        let block = start.add(before);
        libc::munmap(block.add(whole).cast(), reserved - before - whole);
        // Advice: where it is refused, pages are small.
        libc::madvise(block.cast(), whole, libc::MADV_HUGEPAGE);
        block
    }
}

#[cfg(not(target_os = "linux"))]
fn map(_: usize) -> *mut u8 {
    unreachable!("no block is large here")
}

#[cfg(target_os = "linux")]
fn unmap(block: *mut u8, size: usize) {
    // SAFETY: `map` made it with this size, and its owner gives it back.
    unsafe { libc::munmap(block.cast(), size.next_multiple_of(HUGE)) };
}

#[cfg(not(target_os = "linux"))]
fn unmap(_: *mut u8, _: usize) {
    unreachable!("no block is large here")
}

// SAFETY: a block's layout says where it lies (`place`), for allocation and deallocation alike; blocks on pages of their own are mappings
// aligned to HUGE and at least as long as asked, shared ones are `shared`'s promise, all others are the system's.
unsafe impl GlobalAlloc for Pages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match place(&layout) {
            Place::Own => map(layout.size()),
            Place::Shared => shared::alloc(layout.size()).0,
            // SAFETY: the caller's promise is handed on.
            Place::System => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match place(&layout) {
            Place::Own => map(layout.size()),
            Place::Shared => {
                let (block, fresh) = shared::alloc(layout.size());
                if !fresh && !block.is_null() {
                    // SAFETY: the block is as long as was asked.
                    unsafe { block.write_bytes(0, layout.size()) };
                }
                block
            }
            // SAFETY: the caller's promise is handed on.
            Place::System => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match place(&layout) {
            Place::Own => unmap(block, layout.size()),
            // SAFETY: the caller's promise: the block is one of this layout.
            Place::Shared => unsafe { shared::dealloc(block, layout.size()) },
            // SAFETY: as above.
            Place::System => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that size fits the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if place(&layout) == Place::System && place(&new) == Place::System {
            // SAFETY: the caller's promise is handed on.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: a new block of the new layout, the shorter length of both copied, the old one given back.
        unsafe {
            let to = self.alloc(new);
            if !to.is_null() {
                std::ptr::copy_nonoverlapping(block, to, layout.size().min(size));
                self.dealloc(block, layout);
            }
            to
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_zeros_whole_and_grow_across_the_border() {
        for len in
            [shared::LEAST - 1, shared::LEAST, LARGE / 2 - 1, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 12345]
        {
            let mut block = vec![0u8; len];
            assert!(block.iter().all(|b| *b == 0));
            block[len - 1] = 7;
            block.resize(2 * len, 9);
            assert!(block[len - 1] == 7 && block[len] == 9 && block[2 * len - 1] == 9);
            block.truncate(10);
            block.shrink_to_fit();
            assert_eq!(block, [0; 10]);
        }
        #[cfg(target_os = "linux")]
        {
            let large = vec![0f32; LARGE];
            assert_eq!(large.as_ptr().align_offset(HUGE), 0);
        }
    }

    #[test]
    fn threads_allocate_side_by_side() {
        let sums: Vec<u64> = std::thread::scope(|scope| {
            let all: Vec<_> = (1..=4u64)
                .map(|n| {
                    scope.spawn(move || (0..8).map(|_| vec![n; LARGE / 8 + 5].iter().sum::<u64>()).sum())
                })
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let words = 8 * (LARGE as u64 / 8 + 5);
        assert_eq!(sums, [words, 2 * words, 3 * words, 4 * words]);
    }
}
