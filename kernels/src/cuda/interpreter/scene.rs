//! What the threads of a block see: the arguments, global memory, and shared memory with the copies that are on their way to it.

use super::code::{Access, Space};
use super::parse::SHARED_START;
use super::shadow::{Shadow, Touch};

pub(super) struct Scene<'a> {
    pub params: &'a [u8],
    pub threads: u32,
    pub blocks: [u32; 3],
    /// This block.
    pub block: [u32; 3],
    /// Where each buffer begins and ends, ascending.
    pub buffers: &'a [(u64, u64)],
    /// The block's shared memory, aligned to 16 bytes, and how many bytes it has.
    pub shared: *mut u8,
    pub held: usize,
    pub shadow: Shadow,
    /// The kernel's instructions, to name one.
    pub text: &'a [String],
}

impl Scene<'_> {
    /// Where a value lies that a lane may reach, or why not.
    fn place(&self, space: Space, at: u64, bytes: usize) -> Result<*mut u8, String> {
        if !at.is_multiple_of(bytes as u64) {
            return Err(format!("address {at:#x} is not a multiple of {bytes}"));
        }
        if space == Space::Shared {
            let start = at.checked_sub(SHARED_START as u64).map(|start| start as usize);
            let inside = start.filter(|start| start.saturating_add(bytes) <= self.held);
            let start = inside.ok_or_else(|| {
                let at = at as i64 - SHARED_START as i64;
                format!("{bytes} bytes at {at} of the block's {} bytes of shared memory", self.held)
            })?;
            return Ok(self.shared.wrapping_add(start));
        }
        let before = self.buffers.partition_point(|&(start, _)| start <= at);
        let found = before.checked_sub(1).map(|i| self.buffers[i]);
        match found {
            Some((_, end)) if at + bytes as u64 <= end => Ok(at as *mut u8),
            Some((start, end)) => Err(format!(
                "{bytes} bytes at {at:#x}: {} bytes into the nearest buffer before it, which has {}",
                at - start,
                end - start
            )),
            None => Err(format!("{bytes} bytes at {at:#x}, where no buffer is")),
        }
    }

    /// As `place`, and what the lane does there, where other threads of the block may be.
    fn touch(
        &mut self,
        space: Space,
        at: u64,
        bytes: usize,
        lane: usize,
        touch: Touch,
    ) -> Result<*mut u8, String> {
        let place = self.place(space, at, bytes)?;
        if space == Space::Shared {
            self.shadow.touch(self.text, at as usize - SHARED_START, bytes, lane, touch)?;
        }
        Ok(place)
    }

    /// The values of one lane, first to last.
    pub fn load(
        &mut self,
        access: &Access,
        at: u64,
        to: &mut [u64; 4],
        lane: usize,
        touch: Touch,
    ) -> Result<(), String> {
        let (at, bytes) = (at.wrapping_add_signed(access.offset), access.bytes * access.count);
        let at = self.touch(access.space, at, bytes, lane, touch)?;
        // SAFETY: the place is memory of the host of at least these bytes, aligned to them.
        unsafe {
            for (i, value) in to.iter_mut().enumerate().take(access.count) {
                *value = match access.bytes {
                    2 => u64::from(*at.cast::<u16>().add(i)),
                    4 if access.signed => i64::from(*at.cast::<i32>().add(i)) as u64,
                    4 => u64::from(*at.cast::<u32>().add(i)),
                    _ => *at.cast::<u64>().add(i),
                };
            }
        }
        Ok(())
    }

    /// As `load`.
    pub fn store(
        &mut self,
        access: &Access,
        at: u64,
        from: &[u64; 4],
        lane: usize,
        touch: Touch,
    ) -> Result<(), String> {
        let (at, bytes) = (at.wrapping_add_signed(access.offset), access.bytes * access.count);
        let at = self.touch(access.space, at, bytes, lane, touch)?;
        // SAFETY: as above; neither the host nor another block reads it while this one runs.
        unsafe {
            for (i, &value) in from.iter().enumerate().take(access.count) {
                match access.bytes {
                    2 => *at.cast::<u16>().add(i) = value as u16,
                    4 => *at.cast::<u32>().add(i) = value as u32,
                    _ => *at.cast::<u64>().add(i) = value,
                }
            }
        }
        Ok(())
    }

    /// 16 bytes of shared memory: a row of a matrix.
    pub fn row(&mut self, at: u32, lane: usize) -> Result<[u16; 8], String> {
        let at = self.touch(Space::Shared, u64::from(at), 16, lane, Touch::Read)?;
        // SAFETY: the place has 16 bytes.
        Ok(unsafe { *at.cast::<[u16; 8]>() })
    }

    /// What may be wrong with a copy in the background, said when it is asked for.
    pub fn ask(&mut self, copy: &Copy, lane: usize) -> Result<(), String> {
        self.touch(Space::Shared, u64::from(copy.to), 16, lane, Touch::Ask)?;
        if !copy.from.is_multiple_of(16) {
            return Err(format!("address {:#x} is not a multiple of 16", copy.from));
        }
        match copy.bytes {
            0 => Ok(()),
            16 => self.place(Space::Global, copy.from, 16).map(|_| ()),
            other => Err(format!("a copy of {other} of 16 bytes")),
        }
    }

    /// Carries out a copy in the background that was asked for.
    pub fn copy(&mut self, copy: &Copy, lane: usize) -> Result<(), String> {
        let to = self.touch(Space::Shared, u64::from(copy.to), 16, lane, Touch::Land)?;
        // SAFETY: both places have 16 bytes.
        unsafe {
            if copy.bytes == 16 {
                std::ptr::copy_nonoverlapping(copy.from as *const u8, to, 16);
            } else {
                std::ptr::write_bytes(to, 0, 16);
            }
        }
        Ok(())
    }
}

/// A copy in the background that a lane asked for.
#[derive(Clone, Copy)]
pub(super) struct Copy {
    pub to: u32,
    pub from: u64,
    /// 16, or 0: zeros
    pub bytes: u32,
    /// How many groups its lane had ended before.
    pub group: usize,
}
