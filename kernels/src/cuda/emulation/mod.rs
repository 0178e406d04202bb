//! A device that the CPU plays, for tests and where there is no card: memory, copies, recordings and plain products here; how the ops'
//! device code runs is a [`Player`]'s.
//!
//! [`fibers`] has it compiled by g++; `interpreter/` runs the PTX that NVIDIA's compiler makes of it. Both find wrong numbers, reads and writes
//! past a buffer's end (a guard page: the process dies; the interpreter names the place), memory used before it is written (fresh memory
//! is NaN), missing barriers (by running in several orders) and barriers that not all threads reach. They find nothing about speed or
//! memory models.

mod fibers;
mod memory;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::launch::signatures;
use super::recording::Room;
use super::{Arg, Backing, Error, Grid, Product, Source, product};
pub(super) use fibers::Fibers;
pub(super) use memory::{MEMORY, Memory};

/// Shared memory that a block of a card of compute capability 9.0 may have; 8.0 has 163 KiB.
pub(super) const SHARED: u32 = 227 * 1024;

/// Runs kernels.
pub(super) trait Player: Send + Sync {
    /// What the device calls itself.
    fn name(&self) -> String;
    /// Runs a kernel of the source, whose arguments have the kinds that it declares. What went wrong, if something did.
    fn run(
        &self,
        source: &Source,
        kernel: &str,
        grid: Grid,
        args: &[Arg],
        memory: &Memory,
    ) -> Result<(), String>;
}

/// What a recording holds.
enum Work {
    Launch(&'static str, Source, String, Grid, Vec<Arg>),
    Product(&'static str, Product),
    Copy(u64, u64, usize),
    Clear(u64, usize),
}

/// Finished recordings by name, and the one that is being made.
#[derive(Default)]
struct Recordings {
    made: HashMap<u64, Vec<Work>>,
    names: u64,
    open: Option<Vec<Work>>,
}

/// The kinds of arguments of each kernel of a source.
type Kinds = HashMap<String, Vec<String>>;

pub(super) struct Emulated {
    player: Box<dyn Player>,
    memory: Memory,
    room: Room,
    recordings: Mutex<Recordings>,
    kinds: Mutex<HashMap<&'static str, Kinds>>,
}

impl Emulated {
    /// Plays by fibers, with this many bytes of memory.
    pub fn new(order: u64, memory: usize) -> Result<Emulated, Error> {
        Ok(Emulated::of(Box::new(Fibers::new(order)?), memory))
    }

    pub fn of(player: Box<dyn Player>, memory: usize) -> Emulated {
        let (memory, room) = (Memory::new(memory), Room::default());
        Emulated { player, memory, room, recordings: Mutex::default(), kinds: Mutex::default() }
    }

    fn recordings(&self) -> MutexGuard<'_, Recordings> {
        self.recordings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the work was recorded, in place of being done.
    fn recorded(&self, work: impl FnOnce() -> Work) -> bool {
        let mut recordings = self.recordings();
        let open = recordings.open.as_mut();
        open.map(|list| list.push(work())).is_some()
    }

    /// The kinds of a kernel's arguments.
    fn kinds(&self, op: &'static str, source: &Source, kernel: &str) -> Result<Vec<String>, Error> {
        let mut all = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source =
            all.entry(source.name).or_insert_with(|| signatures(source.text).into_iter().collect());
        let kinds = of_source.get(kernel).cloned();
        kinds.ok_or_else(|| Error::failed(op, format!("no kernel {kernel} in {}", source.name)))
    }
}

impl Backing for Emulated {
    fn name(&self) -> String {
        self.player.name()
    }

    fn capability(&self) -> u32 {
        90
    }

    fn processors(&self) -> u32 {
        4
    }

    fn memory(&self) -> Result<(usize, usize), Error> {
        Ok(self.memory.room())
    }

    fn peak(&self) -> usize {
        self.memory.peak()
    }

    fn take(&self, op: &'static str, bytes: usize) -> Result<u64, Error> {
        self.memory.take(op, bytes)
    }

    fn give(&self, at: u64, _: usize) {
        self.memory.give(at);
    }

    fn release(&self, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    fn read(&self, _: &'static str, at: u64, to: &mut [u8]) -> Result<(), Error> {
        // SAFETY: the caller's buffer holds these bytes.
        unsafe { std::ptr::copy_nonoverlapping(at as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    fn write(&self, _: &'static str, at: u64, from: &[u8]) -> Result<(), Error> {
        // SAFETY: the caller's buffer has room.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), at as *mut u8, from.len()) };
        Ok(())
    }

    fn copy(&self, _: &'static str, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        if self.recorded(|| Work::Copy(from, to, bytes)) {
            return Ok(());
        }
        // SAFETY: both buffers hold these bytes.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn clear(&self, _: &'static str, at: u64, bytes: usize) -> Result<(), Error> {
        if self.recorded(|| Work::Clear(at, bytes)) {
            return Ok(());
        }
        // SAFETY: the buffer holds these bytes.
        unsafe { std::ptr::write_bytes(at as *mut u8, 0, bytes) };
        Ok(())
    }

    fn synchronize(&self, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    fn launch(
        &self,
        op: &'static str,
        source: &Source,
        kernel: &str,
        grid: Grid,
        args: &[Arg],
    ) -> Result<(), Error> {
        let kinds = self.kinds(op, source, kernel)?;
        let given: Vec<String> = args.iter().map(Arg::kind).collect();
        assert_eq!(given, kinds, "{op}: arguments of {kernel}");
        if self.recorded(|| Work::Launch(op, *source, kernel.to_string(), grid, args.to_vec())) {
            return Ok(());
        }
        let done = self.player.run(source, kernel, grid, args, &self.memory);
        done.map_err(|fault| Error::failed(op, format!("{kernel}: {fault}")))
    }

    fn product(&self, op: &'static str, p: &Product) -> Result<(), Error> {
        if self.recorded(|| Work::Product(op, *p)) {
            return Ok(());
        }
        // SAFETY: the operands' buffers are memory of the host of the sizes that the product says.
        unsafe { product::plain(p) };
        Ok(())
    }

    fn room(&self) -> &Room {
        &self.room
    }

    fn begin(&self, _: &'static str) -> Result<(), Error> {
        self.recordings().open = Some(Vec::new());
        Ok(())
    }

    fn end(&self, _: &'static str) -> Result<u64, Error> {
        let mut recordings = self.recordings();
        recordings.names += 1;
        let (name, list) = (recordings.names, recordings.open.take().unwrap_or_default());
        recordings.made.insert(name, list);
        Ok(name)
    }

    fn replay(&self, op: &'static str, recording: u64) -> Result<(), Error> {
        let list = self.recordings().made.remove(&recording);
        let list = list.ok_or_else(|| Error::failed(op, "no such recording"))?;
        let done = list.iter().try_for_each(|work| match work {
            Work::Launch(op, source, kernel, grid, args) => self.launch(op, source, kernel, *grid, args),
            Work::Product(op, p) => self.product(op, p),
            Work::Copy(from, to, bytes) => self.copy(op, *from, *to, *bytes),
            Work::Clear(at, bytes) => self.clear(op, *at, *bytes),
        });
        self.recordings().made.insert(recording, list);
        done
    }

    fn forget(&self, recording: u64) {
        self.recordings().made.remove(&recording);
    }
}

#[cfg(test)]
mod tests;
