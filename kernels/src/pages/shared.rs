//! Regions of huge pages that blocks of 128 KiB to 4 MiB share.
//!
//! What is free is a list in order of address whose nodes lie in the free memory itself; neighbours are joined. A block takes the
//! smallest piece that it fits into, else the untouched end of the last region, else a new region. Regions are kept for good: what
//! the largest step of a run needed, the next one needs again.

use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, PoisonError};

/// Blocks from here on are shared ones.
pub(super) const LEAST: usize = 128 << 10;
/// What sizes and addresses are multiples of.
pub(super) const UNIT: usize = 4 << 10;
/// A region.
const REGION: usize = 32 << 20;

/// The beginning of a free piece.
struct Free {
    size: usize,
    next: Option<NonNull<Free>>,
}

/// All regions.
struct Regions {
    free: Option<NonNull<Free>>,
    /// the end of the last region that nothing was written to: address and size
    untouched: (*mut u8, usize),
}

// SAFETY: the pointers lead to memory that only the holder of the lock uses.
unsafe impl Send for Regions {}

static REGIONS: Mutex<Regions> = Mutex::new(Regions { free: None, untouched: (null_mut(), 0) });

/// A block, and whether it is untouched (zeros); null where there is no memory.
pub(super) fn alloc(size: usize) -> (*mut u8, bool) {
    REGIONS.lock().unwrap_or_else(PoisonError::into_inner).take(size.next_multiple_of(UNIT))
}

/// Gives a block back.
///
/// # Safety
/// [`alloc`] gave it for this size, and nobody uses it any more.
pub(super) unsafe fn dealloc(block: *mut u8, size: usize) {
    let mut regions = REGIONS.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the caller's promise.
    unsafe { regions.put(block, size.next_multiple_of(UNIT)) };
}

impl Regions {
    fn take(&mut self, size: usize) -> (*mut u8, bool) {
        // SAFETY: nodes of the list are free memory of at least one UNIT, written by `put`.
        unsafe {
            let mut best: Option<(usize, *mut Option<NonNull<Free>>)> = None;
            let mut link: *mut Option<NonNull<Free>> = &raw mut self.free;
            while let Some(node) = *link {
                let here = node.as_ref().size;
                if here >= size && best.is_none_or(|(least, _)| here < least) {
                    best = Some((here, link));
                }
                link = &raw mut (*node.as_ptr()).next;
            }
            if let Some((here, link)) = best
                && let Some(node) = *link
            {
                // The end of the piece, so that its node stays where it is.
                let left = here - size;
                if left == 0 {
                    *link = node.as_ref().next;
                } else {
                    (*node.as_ptr()).size = left;
                }
                return (node.as_ptr().cast::<u8>().add(left), false);
            }
            if self.untouched.1 < size {
                let region = super::map(REGION);
                if region.is_null() {
                    return (null_mut(), false);
                }
                let (rest, left) = std::mem::replace(&mut self.untouched, (region, REGION));
                if left > 0 {
                    self.put(rest, left);
                }
            }
            let block = self.untouched.0;
            self.untouched = (block.add(size), self.untouched.1 - size);
            (block, true)
        }
    }

    /// # Safety
    /// The memory is a part of a region that nobody uses.
    unsafe fn put(&mut self, block: *mut u8, size: usize) {
        // SAFETY: the caller's promise; nodes of the list are free memory.
        unsafe {
            let mut before: Option<NonNull<Free>> = None;
            let mut link: *mut Option<NonNull<Free>> = &raw mut self.free;
            while let Some(node) = *link
                && node.as_ptr().cast::<u8>() < block
            {
                before = Some(node);
                link = &raw mut (*node.as_ptr()).next;
            }
            let mut piece = Free { size, next: *link };
            if let Some(after) = *link
                && block.add(size) == after.as_ptr().cast()
            {
                piece = Free { size: size + after.as_ref().size, next: after.as_ref().next };
            }
            if let Some(before) = before
                && before.as_ptr().cast::<u8>().add(before.as_ref().size) == block
            {
                *before.as_ptr() = Free { size: before.as_ref().size + piece.size, next: piece.next };
                return;
            }
            let at = block.cast::<Free>();
            at.write(piece);
            *link = NonNull::new(at);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Sizes and addresses of what is free.
    fn free(regions: &Regions) -> Vec<(usize, usize)> {
        let (mut list, mut link) = (Vec::new(), regions.free);
        while let Some(node) = link {
            // SAFETY: a node of the list.
            let node = unsafe { node.as_ref() };
            list.push((std::ptr::from_ref(node) as usize, node.size));
            link = node.next;
        }
        list
    }

    #[test]
    fn blocks_never_overlap_and_what_is_free_comes_together_again() {
        let mut regions = Regions { free: None, untouched: (null_mut(), 0) };
        let mut random = 12345u64;
        let mut draw = |n: usize| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as usize % n
        };
        let mut held: Vec<(*mut u8, usize)> = Vec::new();
        for turn in 0..4000 {
            if draw(5) < 3 && held.len() < 40 {
                let size = (draw(1000) + 32) * UNIT;
                let (block, fresh) = regions.take(size);
                assert!(!block.is_null() && (block as usize).is_multiple_of(UNIT));
                // SAFETY: the block is ours; its ends are marked.
                unsafe {
                    assert!(!fresh || (*block == 0 && *block.add(size - 1) == 0));
                    block.write((turn % 251) as u8);
                    block.add(size - 1).write((turn % 251) as u8);
                }
                for &(other, its) in &held {
                    assert!(
                        (block as usize + size <= other as usize) || (other as usize + its <= block as usize)
                    );
                }
                held.push((block, size));
            } else if !held.is_empty() {
                let (block, size) = held.swap_remove(draw(held.len()));
                // SAFETY: a block of ours, given back.
                unsafe {
                    assert_eq!(*block, *block.add(size - 1));
                    regions.put(block, size);
                }
            }
            let list = free(&regions);
            assert!(list.windows(2).all(|two| two[0].0 + two[0].1 < two[1].0), "joined and in order");
        }
        for (block, size) in held.drain(..) {
            // SAFETY: a block of ours, given back.
            unsafe { regions.put(block, size) };
        }
        let total: usize = free(&regions).iter().map(|piece| piece.1).sum::<usize>() + regions.untouched.1;
        assert_eq!(total % REGION, 0);
        assert!(total / REGION < 12, "{} regions for at most 40 blocks of 4 MiB", total / REGION);
    }
}
