//! A card: its context, one stream, a store of freed memory, the compiled modules.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use cudarc::driver::{result, sys};

use super::launch::signatures;
use super::recording::Room;
use super::{Arg, Backing, Error, Grid, Product, Source, libraries, module};

mod lt;

/// Blocks of memory are multiples of this.
const UNIT: usize = 512;

/// Shared memory that a block has without asking; no kernel of ours has some of its own besides what its launch gives it.
const FREE_SHARED: u32 = 48 * 1024;

pub(super) struct Card {
    context: sys::CUcontext,
    stream: sys::CUstream,
    name: String,
    capability: u32,
    processors: u32,
    store: Mutex<Store>,
    /// Bytes taken from the driver, and the most that they were.
    held: AtomicUsize,
    peak: AtomicUsize,
    kernels: Mutex<HashMap<&'static str, HashMap<String, Kernel>>>,
    products: Mutex<lt::Products>,
    room: Room,
}

/// Freed blocks. One stream runs everything in order, so a block may be used again at once.
#[derive(Default)]
struct Store {
    /// by size
    free: BTreeMap<usize, Vec<u64>>,
    /// Sizes of blocks in use that are larger than what was asked for.
    larger: HashMap<u64, usize>,
}

impl Store {
    /// The smallest block that fits, at most an eighth larger: batches differ a little from step to step.
    fn take(&mut self, size: usize) -> Option<u64> {
        let (&found, blocks) = self.free.range_mut(size..=size + size / 8).next()?;
        let at = blocks.pop()?;
        if blocks.is_empty() {
            self.free.remove(&found);
        }
        if found > size {
            self.larger.insert(at, found);
        }
        Some(at)
    }

    fn give(&mut self, at: u64, size: usize) {
        let size = self.larger.remove(&at).unwrap_or(size);
        self.free.entry(size).or_default().push(at);
    }
}

#[derive(Clone)]
struct Kernel {
    function: sys::CUfunction,
    kinds: Vec<String>,
    /// Shared memory that its launches may ask for. It only grows: a recorded launch may be of a larger one than those after it.
    shared: u32,
}

// SAFETY: the driver's handles may be used from any thread once the context is current there, which every call sees to.
unsafe impl Send for Card {}
// SAFETY: as above; what changes is behind mutexes.
unsafe impl Sync for Card {}

/// How many cards there are.
pub(super) fn count() -> Result<usize, Error> {
    libraries::driver()?;
    result::init().map_err(|e| Error::Absent(format!("the NVIDIA driver does not start: {e}")))?;
    let count = result::device::get_count().map_err(|e| Error::Absent(e.to_string()))?;
    Ok(count as usize)
}

impl Card {
    pub fn open(ordinal: usize) -> Result<Card, Error> {
        let cards = count()?;
        if ordinal >= cards {
            return Err(Error::Absent(format!("there is no card {ordinal}: this machine has {cards}")));
        }
        libraries::nvrtc()?;
        libraries::cublaslt()?;
        let absent = |e: result::DriverError| Error::Absent(format!("card {ordinal}: {e}"));
        let device = result::device::get(ordinal as i32).map_err(absent)?;
        let name = result::device::get_name(device).map_err(absent)?;
        let attribute = |which| {
            // SAFETY: the device is one that the driver just named.
            unsafe { result::device::get_attribute(device, which) }.map(|x| x as u32).map_err(absent)
        };
        let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let processors = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        if major < 8 {
            return Err(Error::Absent(format!(
                "card {ordinal} ({name}) has compute capability {major}.{minor}, 8.0 or later is needed"
            )));
        }
        // SAFETY: the primary context of a device that exists.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(absent)?;
        // SAFETY: the context was just retained.
        unsafe { result::ctx::set_current(context) }.map_err(absent)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(absent)?;
        let products = Mutex::new(lt::Products::new()?);
        let (store, kernels) = (Mutex::default(), Mutex::default());
        let (held, peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Card {
            context,
            stream,
            name,
            capability: major * 10 + minor,
            processors,
            store,
            held,
            peak,
            kernels,
            products,
            room: Room::default(),
        })
    }

    /// Makes the context this thread's.
    fn enter(&self, op: &'static str) -> Result<(), Error> {
        // SAFETY: the context lives as long as the card.
        unsafe { result::ctx::set_current(self.context) }.map_err(|e| Error::failed(op, e))
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Gives all stored blocks back to the driver.
    fn empty_store(&self) {
        for (size, blocks) in std::mem::take(&mut self.store().free) {
            self.held.fetch_sub(size * blocks.len(), Ordering::Relaxed);
            for at in blocks {
                // SAFETY: a stored block is nobody's; freeing waits for the work that used it.
                let _ = unsafe { result::free_sync(at) };
            }
        }
    }

    /// The kernel of this name, which may ask for `shared` bytes of shared memory.
    fn kernel(&self, op: &'static str, source: &Source, name: &str, shared: u32) -> Result<Kernel, Error> {
        let mut kernels = self.kernels.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !kernels.contains_key(source.name) {
            kernels.insert(source.name, self.load(op, source)?);
        }
        let found = kernels.get_mut(source.name).and_then(|loaded| loaded.get_mut(name));
        let found = found.ok_or_else(|| Error::failed(op, format!("no kernel {name} in {}", source.name)))?;
        if shared > found.shared {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is a loaded one.
            unsafe { result::function::set_function_attribute(found.function, most, shared as i32) }
                .map_err(|e| Error::failed(op, format!("{name}: {shared} bytes of shared memory: {e}")))?;
            found.shared = shared;
        }
        Ok(found.clone())
    }

    fn load(&self, op: &'static str, source: &Source) -> Result<HashMap<String, Kernel>, Error> {
        let mut code = module::compile(source, self.capability)?;
        code.push(0); // PTX is text that ends in NUL.
        // SAFETY: an image that NVRTC made; the driver copies it. Modules stay loaded with the context.
        let loaded = unsafe { result::module::load_data(code.as_ptr().cast()) }
            .map_err(|e| Error::failed(op, format!("loading {}: {e}", source.name)))?;
        let mut kernels = HashMap::new();
        for (name, kinds) in signatures(source.text) {
            let symbol = CString::new(name.clone()).expect("a kernel's name has no NUL");
            // SAFETY: the module was just loaded.
            let function = unsafe { result::module::get_function(loaded, symbol) }
                .map_err(|e| Error::failed(op, format!("{name} in {}: {e}", source.name)))?;
            kernels.insert(name, Kernel { function, kinds, shared: FREE_SHARED });
        }
        Ok(kernels)
    }
}

impl Backing for Card {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn capability(&self) -> u32 {
        self.capability
    }

    fn processors(&self) -> u32 {
        self.processors
    }

    fn memory(&self) -> Result<(usize, usize), Error> {
        self.enter("memory")?;
        let (free, total) = result::mem_get_info().map_err(|e| Error::failed("memory", e))?;
        let stored: usize = self.store().free.iter().map(|(size, blocks)| size * blocks.len()).sum();
        Ok((free + stored, total))
    }

    fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    fn take(&self, op: &'static str, bytes: usize) -> Result<u64, Error> {
        let size = bytes.next_multiple_of(UNIT);
        if let Some(at) = self.store().take(size) {
            return Ok(at);
        }
        self.enter(op)?;
        // SAFETY: a size above 0; the block is given back through `give`.
        let ask = || unsafe { result::malloc_sync(size) };
        let first = ask();
        let out_of_memory = |e: &result::DriverError| e.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let second = match first {
            Err(e) if out_of_memory(&e) => {
                self.empty_store();
                ask()
            }
            other => other,
        };
        if second.is_ok() {
            let held = self.held.fetch_add(size, Ordering::Relaxed) + size;
            self.peak.fetch_max(held, Ordering::Relaxed);
        }
        second.map_err(|e| {
            if out_of_memory(&e) {
                let (free, total) = self.memory().unwrap_or_default();
                Error::OutOfMemory { op, bytes, free, total }
            } else {
                Error::failed(op, e)
            }
        })
    }

    fn give(&self, at: u64, bytes: usize) {
        self.store().give(at, bytes.next_multiple_of(UNIT));
    }

    fn release(&self, op: &'static str) -> Result<(), Error> {
        self.synchronize(op)?;
        self.empty_store();
        Ok(())
    }

    fn read(&self, op: &'static str, at: u64, to: &mut [u8]) -> Result<(), Error> {
        self.enter(op)?;
        // SAFETY: the caller's buffer holds these bytes; the wait ends before `to` does.
        unsafe { result::memcpy_dtoh_async(to, at, self.stream) }.map_err(|e| Error::failed(op, e))?;
        self.synchronize(op)
    }

    fn write(&self, op: &'static str, at: u64, from: &[u8]) -> Result<(), Error> {
        self.enter(op)?;
        // SAFETY: the caller's buffer has room. From pageable memory the copy is staged before the call returns.
        unsafe { result::memcpy_htod_async(at, from, self.stream) }.map_err(|e| Error::failed(op, e))
    }

    fn copy(&self, op: &'static str, from: u64, to: u64, bytes: usize) -> Result<(), Error> {
        self.enter(op)?;
        // SAFETY: both buffers hold these bytes.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }.map_err(|e| Error::failed(op, e))
    }

    fn clear(&self, op: &'static str, at: u64, bytes: usize) -> Result<(), Error> {
        self.enter(op)?;
        // SAFETY: the buffer holds these bytes.
        unsafe { result::memset_d8_async(at, 0, bytes, self.stream) }.map_err(|e| Error::failed(op, e))
    }

    fn synchronize(&self, op: &'static str) -> Result<(), Error> {
        self.enter(op)?;
        // SAFETY: the stream lives as long as the card.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|e| Error::failed(op, e))
    }

    fn launch(
        &self,
        op: &'static str,
        source: &Source,
        kernel: &str,
        grid: Grid,
        args: &[Arg],
    ) -> Result<(), Error> {
        self.enter(op)?;
        let found = self.kernel(op, source, kernel, grid.shared)?;
        let given: Vec<String> = args.iter().map(Arg::kind).collect();
        assert_eq!(given, found.kinds, "{op}: arguments of {kernel}");
        let mut bits: Vec<u64> = args.iter().map(Arg::bits).collect();
        let mut pointers: Vec<*mut c_void> = bits.iter_mut().map(|b| std::ptr::from_mut(b).cast()).collect();
        let [x, y, z] = grid.blocks;
        // SAFETY: the arguments are of the kernel's types, checked above; the driver copies them before it returns.
        unsafe {
            result::launch_kernel(
                found.function,
                (x, y, z),
                (grid.threads, 1, 1),
                grid.shared,
                self.stream,
                &mut pointers,
            )
        }
        .map_err(|e| Error::failed(op, format!("{kernel}: {e}")))
    }

    fn product(&self, op: &'static str, p: &Product) -> Result<(), Error> {
        if p.is_empty() {
            return Ok(());
        }
        self.enter(op)?;
        let mut products = self.products.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        products.run(op, p, self.stream)
    }

    fn room(&self) -> &Room {
        &self.room
    }

    /// Relaxed: memory may be taken while work is captured.
    fn begin(&self, op: &'static str) -> Result<(), Error> {
        self.enter(op)?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream lives as long as the card.
        unsafe { result::stream::begin_capture(self.stream, mode) }.map_err(|e| Error::failed(op, e))
    }

    fn end(&self, op: &'static str) -> Result<u64, Error> {
        self.enter(op)?;
        // SAFETY: a capture was begun on the stream; the graph is used by nobody else.
        unsafe {
            let graph = result::stream::end_capture(self.stream).map_err(|e| Error::failed(op, e))?;
            let made = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(graph);
            Ok(made.map_err(|e| Error::failed(op, e))? as u64)
        }
    }

    fn replay(&self, op: &'static str, recording: u64) -> Result<(), Error> {
        self.enter(op)?;
        // SAFETY: what `end` gave and `forget` has not taken.
        unsafe { result::graph::launch(recording as sys::CUgraphExec, self.stream) }
            .map_err(|e| Error::failed(op, e))
    }

    fn forget(&self, recording: u64) {
        if self.enter("forget").is_ok() {
            // SAFETY: as above; a graph that still runs is destroyed at its end.
            let _ = unsafe { result::graph::exec_destroy(recording as sys::CUgraphExec) };
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if self.enter("drop").is_err() {
            return;
        }
        let _ = self.synchronize("drop");
        self.empty_store();
        // SAFETY: nothing uses the stream any more. The context stays until the process ends.
        let _ = unsafe { result::stream::destroy(self.stream) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_card_is_told_so() {
        match Card::open(99).err() {
            Some(Error::Absent(fact)) => {
                let known = ["no NVIDIA driver", "there is no card 99", "the NVIDIA driver does not start"];
                assert!(known.iter().any(|k| fact.contains(k)) && !fact.contains('\n'), "{fact}");
            }
            other => panic!("{other:?}"),
        }
    }
}
