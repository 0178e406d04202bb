//! NVIDIA GPUs: a [`Device`], its memory, and the launching of the ops' device code.
//!
//! Device code is CUDA C++ beside each op (`OP/cuda.cu`), compiled at first use by NVRTC for the card at hand and kept
//! (`module.rs`). `OP/cuda.rs` is its host side: the functions of the op on the host with the same names and the same order of
//! arguments, [`Device`] first, [`View`]s for slices. Matrix products are cuBLASLt's (`product.rs`). One stream; work is queued and
//! errors may surface at a later call.
//!
//! A device is a card, or one that the CPU plays, which is how kernels are tested where there is no card. There are two ways to play.
//! Emulated (`emulation/`), the device code is compiled by g++ and run thread by thread; interpreted (`interpreter/`), NVRTC
//! compiles it as for a card, and the PTX runs warp by warp. Both in an order that a test may choose. `R1_CUDA=emulated` or `R1_CUDA=interpreted`
//! selects one, `R1_CUDA=emulated:N` with order N.
//!
//! Activations are [`Float`]: f32, or bf16 (kept as its bits, `u16`). Sums, softmax, norms, the residual stream and gradients of
//! weights are f32. No sum is made by atomic additions: a run's bits are the same each time on one kind of card.
//!
//! The ops (`T`, `X`, `Y`, `D` are f32 or bf16; all return `Result<_, Error>`):
//! ```text
//! linear::cuda     forward<X, Y>(device, x: View<X>, w: View<X>, n, k, bias: Option<View<f32>>, y: ViewMut<Y>)
//!                  forward_add<X>(device, x: View<X>, w: View<X>, n, k, y: ViewMut<f32>)
//!                  backward_input<D, Y>(device, dy: View<D>, w: View<D>, n, k, dx: ViewMut<Y>, accumulate)
//!                  backward_weight<D>(device, dy: View<D>, x: View<D>, n, k, dw: ViewMut<f32>)
//!                  backward_bias<D>(device, dy: View<D>, db: ViewMut<f32>)
//!                  grouped_forward<X, Y>(device, x: View<X>, weights: View<u64>, n, k, Groups, y: ViewMut<Y>), grouped_backward_input,
//!                  grouped_backward_weight (each run of rows with a matrix of its own, by its address)
//!                  convert<X, Y>(device, from: View<X>, to: ViewMut<Y>)    add<Y>(device, x: ViewMut<f32>, y: View<Y>)
//!                  LowRank<T> { a, b: View<T>, n, k, rank, rows, scale }    .forward_add   .backward_input_add   .backward_weights
//! embedding::cuda  forward<T>(device, table: View<T>, c, ids: View<u32>, y: ViewMut<f32>)
//!                  backward(device, dy: View<f32>, c, ids: &[u32], dtable: ViewMut<f32>)
//! rope::cuda       Table::of(device, &rope::Table)
//!                  apply<T>(device, x: ViewMut<T>, heads, stride, offset, positions: View<u32>, &Table, pairing, inverse)
//! swiglu::cuda     forward<T>(device, gate_up: View<T>, f, y: ViewMut<T>)
//!                  backward<T>(device, dy: View<T>, gate_up: View<T>, f, dgate_up: ViewMut<T>)
//! attention::cuda  Plan::of(device, segments: &[Segment])
//!                  forward<T>(device, q, k, v: View<T>, &Plan, shape, out: ViewMut<T>, lse: ViewMut<f32>)
//!                  backward<T>(device, q, k, v, out: View<T>, lse: View<f32>, dout: View<T>, &Plan, shape, dq, dk, dv: ViewMut<T>)
//!                  Cache<T>::with_pages(device, pages, shape)   .write_rows(places: View<u32>, k, v: View<T>)   .copy_page(from, to, slots)
//!                    (a place is page · PAGE + slot)
//!                  LatentCache<T>::with_pages(device, pages, rank, rope)   .write_rows(places: View<u32>, latents, shared: View<T>)
//!                    .copy_page(from, to, slots)   .read_pages(pages: View<u32>, to: ViewMut<T>)
//!                    .expand(pages: View<u32>, expanded: View<T>, &mut Cache<T>)
//!                  Rows::of(device, tables: &[&[u32]], lens: &[usize], shape)   .places()
//!                  decode_rows<T>(device, q: View<T>, &Cache<T>, &Rows, out: ViewMut<T>)
//!                    (on tensor cores where they serve; neighbours read their common pages once)
//! head::cuda       forward<T>(device, h: View<T>, w: View<T>, c, targets: View<u32>, inv_temperature: View<f32>, entropy) -> Output
//!                  backward<T>(device, h, w, c, targets, inv_temperature, &Output, dlogprob: View<f32>, dentropy: Option<View<f32>>,
//!                              dh: ViewMut<f32>, dw: Option<ViewMut<f32>>)
//!                  draw(device, logits: View<f32>, v, &Rule { temperature, top_k, top_p, min_p }, Option<&Marks>, rows: Option<View<u32>>,
//!                       streams: View<u64>, positions: View<u32>, tokens: ViewMut<u32>, logprobs: ViewMut<f32>)
//!                    (several draws may share a row of logits; streams are `Stream`s by their bits)
//!                  top<T>(device, h, w: View<T>, c, inv_temperature: View<f32>, n) -> head::Top
//! divergence::cuda backward<T, U>(device, h, w: View<T>, c, Teacher<U>, beta, inv_temperature, weights: View<f32>, dh: ViewMut<f32>,
//!                                 dw: Option<ViewMut<f32>>) -> Buffer<f32>
//! adamw::cuda      update(device, w, m, v: ViewMut<f32>, g: View<f32>, half: Option<ViewMut<u16>>, &Step)
//! norm::cuda       sums_of_squares(device, &[View<f32>]) -> Vec<f64>    first_non_finite<T>(device, &[View<T>]) -> Vec<Option<usize>>
//!                    (one wait for all)
//! moe::cuda        route(device, logits: View<f32>, bias: Option<View<f32>>, &Router) -> Routing, and the other ops of the host
//! ```

mod driver;
mod emulation;
mod error;
mod interpreter;
mod launch;
mod libraries;
mod memory;
mod module;
mod product;
mod recording;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

pub use error::Error;
pub use memory::{Buffer, Element, Float, View, ViewMut};
pub use module::{compiled, names as sources};
pub use recording::{Pool, Recording};

pub(crate) use launch::{Arg, Grid};
pub(crate) use module::Source;
pub(crate) use product::{Operand, Product};

/// The device code of every op.
pub(crate) const SOURCES: &[Source] = &[
    crate::adamw::cuda::SOURCE,
    crate::attention::cuda::SOURCE,
    crate::divergence::cuda::SOURCE,
    crate::embedding::cuda::SOURCE,
    crate::head::cuda::SOURCE,
    crate::linear::cuda::SOURCE,
    crate::moe::cuda::SOURCE,
    crate::norm::cuda::SOURCE,
    crate::rmsnorm::cuda::SOURCE,
    crate::rope::cuda::SOURCE,
    crate::swiglu::cuda::SOURCE,
];

/// What a card or its emulation does. Addresses are the device's.
pub(crate) trait Backing: Send + Sync {
    fn name(&self) -> String;
    /// Compute capability: 80 is 8.0.
    fn capability(&self) -> u32;
    /// Multiprocessors.
    fn processors(&self) -> u32;
    /// Bytes free, bytes in all.
    fn memory(&self) -> Result<(usize, usize), Error>;
    /// Most bytes that this process has held.
    fn peak(&self) -> usize;
    fn take(&self, op: &'static str, bytes: usize) -> Result<u64, Error>;
    fn give(&self, at: u64, bytes: usize);
    /// Gives back to the system what was given here.
    fn release(&self, op: &'static str) -> Result<(), Error>;
    fn read(&self, op: &'static str, at: u64, to: &mut [u8]) -> Result<(), Error>;
    fn write(&self, op: &'static str, at: u64, from: &[u8]) -> Result<(), Error>;
    fn copy(&self, op: &'static str, from: u64, to: u64, bytes: usize) -> Result<(), Error>;
    fn clear(&self, op: &'static str, at: u64, bytes: usize) -> Result<(), Error>;
    fn synchronize(&self, op: &'static str) -> Result<(), Error>;
    fn launch(
        &self,
        op: &'static str,
        source: &Source,
        kernel: &str,
        grid: Grid,
        args: &[Arg],
    ) -> Result<(), Error>;
    fn product(&self, op: &'static str, p: &Product) -> Result<(), Error>;
    /// The memory of a recording that is being made.
    fn room(&self) -> &recording::Room;
    /// From now on work is recorded and does not run.
    fn begin(&self, op: &'static str) -> Result<(), Error>;
    /// What was recorded, by a name for [`Backing::replay`].
    fn end(&self, op: &'static str) -> Result<u64, Error>;
    fn replay(&self, op: &'static str, recording: u64) -> Result<(), Error>;
    fn forget(&self, recording: u64);
}

/// A device to compute on. Clones are the same device.
#[derive(Clone)]
pub struct Device {
    backing: Arc<dyn Backing>,
    batch_invariant: bool,
}

impl Device {
    /// Card `ordinal` of this machine, or the one that the CPU plays where `R1_CUDA` says so.
    ///
    /// # Errors
    /// No driver, no such card, one older than compute capability 8.0, or a library that is missing.
    pub fn open(ordinal: usize) -> Result<Device, Error> {
        let Ok(how) = std::env::var("R1_CUDA") else { return Device::card(ordinal) };
        let (kind, order) = how.split_once(':').unwrap_or((how.as_str(), "0"));
        match (kind, order.parse()) {
            ("emulated", Ok(order)) => Device::emulated(order),
            ("interpreted", Ok(order)) => Device::interpreted(order),
            _ => Err(Error::Absent(format!(
                "R1_CUDA is {how:?}: it may be `emulated`, `interpreted`, or one of these with an order, `emulated:N`"
            ))),
        }
    }

    /// Card `ordinal`, whatever `R1_CUDA` says.
    pub fn card(ordinal: usize) -> Result<Device, Error> {
        Ok(Device::of(Arc::new(driver::Card::open(ordinal)?)))
    }

    fn of(backing: Arc<dyn Backing>) -> Device {
        Device { backing, batch_invariant: false }
    }

    /// The same device, where every product is made in one order, so that a row's bits do not depend on the rows that ride along:
    /// the linear layers' products are our own instead of cuBLASLt's.
    #[must_use]
    pub fn batch_invariant(self, yes: bool) -> Device {
        Device { batch_invariant: yes, ..self }
    }

    /// What [`Device::batch_invariant`] said.
    pub fn is_batch_invariant(&self) -> bool {
        self.batch_invariant
    }

    /// How many cards this machine has; one that the CPU plays counts where `R1_CUDA` says so.
    ///
    /// # Errors
    /// No driver.
    pub fn count() -> Result<usize, Error> {
        if std::env::var_os("R1_CUDA").is_some() { Ok(1) } else { driver::count() }
    }

    /// A device that the CPU plays. Threads and blocks run in an order named by `order`: 0 ascending, 1 descending, others shuffled.
    ///
    /// # Errors
    /// There is no g++, or the target is not x86-64 Linux.
    pub fn emulated(order: u64) -> Result<Device, Error> {
        Device::emulated_with(order, emulation::MEMORY)
    }

    /// As [`Device::emulated`], with so many bytes of memory.
    ///
    /// # Errors
    /// As there.
    pub fn emulated_with(order: u64, memory: usize) -> Result<Device, Error> {
        Ok(Device::of(Arc::new(emulation::Emulated::new(order, memory)?)))
    }

    /// A device that the CPU plays by interpreting the PTX of NVIDIA's compiler, which needs no card. `order` as above.
    ///
    /// # Errors
    /// NVRTC is missing.
    pub fn interpreted(order: u64) -> Result<Device, Error> {
        let player = Box::new(interpreter::Interpreter::new(order)?);
        Ok(Device::of(Arc::new(emulation::Emulated::of(player, emulation::MEMORY))))
    }

    /// What the card calls itself.
    pub fn name(&self) -> String {
        self.backing.name()
    }

    /// Compute capability: 90 is 9.0.
    pub fn capability(&self) -> u32 {
        self.backing.capability()
    }

    /// Bytes free and bytes in all.
    ///
    /// # Errors
    /// The driver refused.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        self.backing.memory()
    }

    /// Most bytes that buffers of this process, in use or kept for the next, have held so far.
    pub fn peak(&self) -> usize {
        self.backing.peak()
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// Some of it failed.
    pub fn synchronize(&self) -> Result<(), Error> {
        self.backing.synchronize("synchronize")
    }

    /// Gives memory that was freed back to the driver, for other processes: a freed buffer's is kept for the next one otherwise. Waits until
    /// all work is done.
    ///
    /// # Errors
    /// Some of it failed.
    pub fn release(&self) -> Result<(), Error> {
        self.backing.release("release")
    }

    pub(crate) fn processors(&self) -> usize {
        self.backing.processors() as usize
    }

    pub(crate) fn take(&self, op: &'static str, bytes: usize) -> Result<u64, Error> {
        let room = self.backing.room();
        if let Some(at) = room.take(bytes) {
            return Ok(at);
        }
        let at = self.backing.take(op, bytes)?;
        room.keep(at, bytes);
        Ok(at)
    }

    pub(crate) fn give(&self, at: u64, bytes: usize) {
        if !self.backing.room().give(at) {
            self.backing.give(at, bytes);
        }
    }

    pub(crate) fn read(&self, op: &'static str, at: u64, to: &mut [u8]) -> Result<(), Error> {
        self.not_recorded(op)?;
        self.backing.read(op, at, to)
    }

    pub(crate) fn write(&self, op: &'static str, at: u64, from: &[u8]) -> Result<(), Error> {
        self.not_recorded(op)?;
        self.backing.write(op, at, from)
    }

    pub(crate) fn copy(&self, op: &'static str, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        self.backing.copy(op, from, to, bytes)
    }

    pub(crate) fn clear(&self, op: &'static str, at: u64, bytes: usize) -> Result<(), Error> {
        self.backing.clear(op, at, bytes)
    }

    /// Queues a kernel of `source`. An empty grid is no work.
    pub(crate) fn launch(
        &self,
        op: &'static str,
        source: &Source,
        kernel: &str,
        grid: Grid,
        args: &[Arg],
    ) -> Result<(), Error> {
        if grid.is_empty() { Ok(()) } else { self.backing.launch(op, source, kernel, grid, args) }
    }

    pub(crate) fn product(&self, op: &'static str, p: &Product) -> Result<(), Error> {
        if self.batch_invariant {
            crate::linear::cuda::product(self, op, p)
        } else {
            self.backing.product(op, p)
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.name())
    }
}
