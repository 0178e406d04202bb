//! Races in shared memory. The lanes of a warp go together here and a block's warps one after the other, so that a missing barrier may
//! hide; a shadow of the block's memory remembers who touched what since the last one.
//!
//! Two accesses to a place are a fault, in whatever order they came, when one of them writes, not both are atomic, and
//! - they are of different warps and no barrier of the block stands between them;
//! - they are of different lanes of a warp, not of one instruction, and neither such a barrier nor a warp's (`bar.warp.sync`) stands
//!   between them: shuffles, votes and matrices move registers and order no memory;
//! - one is a copy in the background that its lane has not yet waited for: it may land at any time. From its lane's wait on it is that
//!   lane's write.

use super::code::{Action, Kernel, Space};

/// What is done to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Touch {
    Read,
    Write,
    Atomic,
    /// A copy is asked for, and is there.
    Ask,
    Land,
}

/// The last write, the last reads and a copy on its way, each with its time (0: never) and its instruction.
#[derive(Clone, Copy, Default)]
struct Cell {
    /// Between which barriers of the block, and which warps. Several warps only where all are atomic.
    wrote: u32,
    writers: u32,
    plain: bool,
    /// Between which barriers of the warp, which lanes, which of its steps.
    wrote_phase: u32,
    wrote_lanes: u32,
    wrote_step: u32,
    wrote_at: u32,
    read: u32,
    readers: u32,
    read_phase: u32,
    read_lanes: u32,
    read_at: u32,
    asked: u32,
    asker: u32,
    asked_at: u32,
}

pub(super) struct Shadow {
    cells: Vec<Cell>,
    /// Bytes of a cell: the smallest access of the kernel, so that neighbours are not taken for one.
    unit: usize,
    /// Times: the block's first and its last barrier, the running warp's last, its step.
    block: u32,
    epoch: u32,
    phase: u32,
    step: u32,
    warp: u32,
    at: u32,
}

impl Shadow {
    pub fn new(kernel: &Kernel, held: usize) -> Shadow {
        let halves = kernel.code.iter().any(|instruction| match instruction.action {
            Action::Load(access) | Action::Store(access) | Action::Atomic(access, _) => {
                access.space == Space::Shared && access.bytes * access.count < 4
            }
            _ => false,
        });
        let unit = if halves { 2 } else { 4 };
        let cells = vec![Cell::default(); held.div_ceil(unit)];
        Shadow { cells, unit, block: 0, epoch: 0, phase: 0, step: 0, warp: 0, at: 0 }
    }

    /// Another block begins: nothing was touched.
    pub fn block(&mut self) {
        self.barrier();
        self.block = self.epoch;
    }

    /// All warps have come to a barrier.
    pub fn barrier(&mut self) {
        self.epoch += 1;
    }

    /// A warp goes on.
    pub fn warp(&mut self, warp: u32) {
        self.warp = warp;
        self.phase += 1;
    }

    /// The running warp's lanes have met.
    pub fn met(&mut self) {
        self.phase += 1;
    }

    /// The running warp is at an instruction.
    pub fn step(&mut self, at: usize) {
        self.at = at as u32;
        self.step += 1;
    }

    /// Notes what a lane of the running warp does to bytes from `start` on, or says with whom it races.
    pub fn touch(
        &mut self,
        text: &[String],
        start: usize,
        bytes: usize,
        lane: usize,
        touch: Touch,
    ) -> Result<(), String> {
        let (first, end) = (start / self.unit, (start + bytes).div_ceil(self.unit));
        let (warp, lane) = (1 << self.warp, 1 << lane);
        for i in first..end {
            let cell = &mut self.cells[i];
            let writes = touch != Touch::Read;
            let race = if cell.asked >= self.block && cell.asked != 0 && touch != Touch::Land {
                Some((cell.asker, 0, cell.asked_at, "a copy that is not waited for"))
            } else if cell.wrote == self.epoch
                && (touch != Touch::Atomic || cell.plain)
                && (cell.writers & !warp != 0
                    || cell.wrote_phase == self.phase
                        && cell.wrote_lanes & lane == 0
                        && cell.wrote_step != self.step)
            {
                Some((cell.writers, cell.wrote_lanes, cell.wrote_at, "a write"))
            } else if writes
                && cell.read == self.epoch
                && (cell.readers & !warp != 0
                    || cell.read_phase == self.phase && cell.read_lanes & !lane != 0)
            {
                Some((cell.readers, cell.read_lanes, cell.read_at, "a read"))
            } else {
                None
            };
            if let Some((warps, lanes, at, what)) = race {
                let who = match warps & !warp {
                    0 if lanes != 0 => format!("by lane {} of this warp", (lanes & !lane).trailing_zeros()),
                    0 => "by this warp".to_string(),
                    others => format!("by warp {}", others.trailing_zeros()),
                };
                let at = &text[at as usize];
                let byte = i * self.unit;
                return Err(format!(
                    "a race at byte {byte} of shared memory, with no barrier since {what} {who} in `{at}`"
                ));
            }
            match touch {
                Touch::Read => {
                    if cell.read != self.epoch {
                        (cell.read, cell.readers) = (self.epoch, 0);
                    }
                    if cell.read_phase != self.phase {
                        (cell.read_phase, cell.read_lanes) = (self.phase, 0);
                    }
                    cell.readers |= warp;
                    cell.read_lanes |= lane;
                    cell.read_at = self.at;
                }
                Touch::Ask => (cell.asked, cell.asker, cell.asked_at) = (self.epoch, warp, self.at),
                Touch::Write | Touch::Atomic | Touch::Land => {
                    if cell.wrote != self.epoch {
                        (cell.wrote, cell.writers, cell.plain) = (self.epoch, 0, false);
                    }
                    if cell.wrote_phase != self.phase || cell.wrote_step != self.step {
                        (cell.wrote_phase, cell.wrote_step, cell.wrote_lanes) = (self.phase, self.step, 0);
                    }
                    cell.writers |= warp;
                    cell.wrote_lanes |= lane;
                    cell.plain |= touch != Touch::Atomic;
                    cell.wrote_at = self.at;
                    if touch == Touch::Land {
                        cell.asked = 0;
                    }
                }
            }
        }
        Ok(())
    }
}
