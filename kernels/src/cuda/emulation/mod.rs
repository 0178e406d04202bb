//! A device that the CPU plays: the ops' device code compiled by g++ behind `shim.h`, its threads run as fibers.
//!
//! It finds wrong numbers, reads and writes past a buffer's end (a guard page: the process dies), memory used before it is written (fresh
//! memory is NaN), missing barriers (by running in several orders) and barriers that not all threads reach. It finds nothing about speed,
//! memory models, or what a card's compiler does.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::launch::signatures;
use super::recording::Room;
use super::{Arg, Backing, Error, Grid, Product, Source, module, product};

const SHIM: &str = include_str!("shim.h");

/// Bytes that the emulated card claims to have where nobody says.
pub(super) const MEMORY: usize = 4 << 30;

/// Bytes at either end of a fresh block that are NaN.
const FILLED: usize = 32 << 20;

/// Shared memory that a block of a card of compute capability 9.0 may have; 8.0 has 163 KiB.
const SHARED: u32 = 227 * 1024;

type Entry = unsafe extern "C" fn(*mut *mut c_void, *const u32, u32, u64) -> *const c_char;

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

pub(super) struct Emulated {
    room: Room,
    recordings: Mutex<Recordings>,
    order: u64,
    memory: usize,
    used: Mutex<HashMap<u64, Mapping>>,
    peak: AtomicUsize,
}

/// What `mmap` gave for a buffer.
struct Mapping {
    start: usize,
    whole: usize,
    bytes: usize,
}

#[derive(Clone)]
struct Kernel {
    entry: Entry,
    kinds: Vec<String>,
}

/// Compiled sources by name, one for the process: their state is static, so launches take turns.
static LOADED: Mutex<Option<HashMap<&'static str, HashMap<String, Kernel>>>> = Mutex::new(None);

impl Emulated {
    pub fn new(order: u64, memory: usize) -> Result<Emulated, Error> {
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            return Err(Error::Absent("the emulated card runs on x86-64 Linux only".into()));
        }
        if Command::new("g++").arg("--version").output().is_ok_and(|o| o.status.success()) {
            let (room, recordings) = (Room::default(), Mutex::default());
            let (used, peak) = (Mutex::default(), AtomicUsize::new(0));
            Ok(Emulated { room, recordings, order, memory, used, peak })
        } else {
            Err(Error::Absent("the emulated card needs g++".into()))
        }
    }

    fn recordings(&self) -> MutexGuard<'_, Recordings> {
        self.recordings.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether the work was recorded, in place of being done.
    fn recorded(&self, work: impl FnOnce() -> Work) -> bool {
        let mut recordings = self.recordings();
        let open = recordings.open.as_mut();
        open.map(|list| list.push(work())).is_some()
    }

    fn used(&self) -> MutexGuard<'_, HashMap<u64, Mapping>> {
        self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Compiles a source to a shared library and opens it.
fn load(source: &Source) -> Result<HashMap<String, Kernel>, Error> {
    let failed = |fact: String| Error::failed("emulation", format!("{}: {fact}", source.name));
    let kernels = signatures(source.text);
    let mut text = format!("{SHIM}\n{}\n", source.whole());
    for (name, kinds) in &kernels {
        // How many arguments there are is for the imitation of NVIDIA's driver (tests/card.rs).
        text += &format!(
            "extern \"C\" const int arguments_{name} = {};\n\
             extern \"C\" const char *emulated_{name}(void **args, const unsigned *blocks, unsigned threads, unsigned long order) {{\n  \
             return emulation::run([](void **args) {{ emulation::call({name}, args); }}, args, blocks, threads, order);\n}}\n",
            kinds.len()
        );
    }
    #[cfg(target_arch = "x86_64")]
    let fused = if std::arch::is_x86_feature_detected!("fma") { "-mfma" } else { "-O2" };
    #[cfg(not(target_arch = "x86_64"))]
    let fused = "-O2";
    let key = module::hash(&[text.as_bytes(), fused.as_bytes()]);
    let folder = module::folder().unwrap_or_else(std::env::temp_dir);
    let library = folder.join(format!("emulated-{}-{key:016x}.so", source.name));
    if !library.exists() {
        let stem = format!("{}.{}", library.display(), std::process::id());
        let (unit, fresh) = (format!("{stem}.cpp"), format!("{stem}.part"));
        std::fs::write(&unit, &text).map_err(|e| failed(format!("{unit}: {e}")))?;
        // -ffp-contract=off: fused multiply-adds only where they are written.
        let out = Command::new("g++")
            .args(["-std=c++17", "-O2", fused, "-shared", "-fPIC", "-ffp-contract=off", "-fno-exceptions"])
            .args([
                "-fno-strict-aliasing",
                "-fcf-protection=none",
                "-w",
                "-Wl,-Bsymbolic",
                "-o",
                &fresh,
                &unit,
            ])
            .output()
            .map_err(|e| failed(format!("g++: {e}")))?;
        let _ = std::fs::remove_file(&unit);
        if !out.status.success() {
            return Err(failed(String::from_utf8_lossy(&out.stderr).into_owned()));
        }
        std::fs::rename(&fresh, &library).map_err(|e| failed(format!("{}: {e}", library.display())))?;
    }
    let path = CString::new(library.into_os_string().into_encoded_bytes()).expect("a path has no NUL");
    // SAFETY: a library that we compiled; it stays open. What it exports has the type `Entry`.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        if handle.is_null() {
            return Err(failed(CStr::from_ptr(libc::dlerror()).to_string_lossy().into_owned()));
        }
        let mut found = HashMap::new();
        for (name, kinds) in kernels {
            let symbol = CString::new(format!("emulated_{name}")).expect("a kernel's name has no NUL");
            let at = libc::dlsym(handle, symbol.as_ptr());
            assert!(!at.is_null(), "{name} was compiled");
            found.insert(name, Kernel { entry: std::mem::transmute::<*mut c_void, Entry>(at), kinds });
        }
        Ok(found)
    }
}

impl Backing for Emulated {
    fn name(&self) -> String {
        format!("a card emulated on the CPU, order {}", self.order)
    }

    fn capability(&self) -> u32 {
        90
    }

    fn processors(&self) -> u32 {
        4
    }

    fn memory(&self) -> Result<(usize, usize), Error> {
        let used: usize = self.used().values().map(|m| m.bytes).sum();
        Ok((self.memory.saturating_sub(used), self.memory))
    }

    fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Ends at a page that may not be touched; begins as NaN, but for the middle of a large block, whose pages this machine may lack.
    fn take(&self, op: &'static str, bytes: usize) -> Result<u64, Error> {
        const PAGE: usize = 4096;
        let (free, total) = self.memory()?;
        if bytes > free {
            return Err(Error::OutOfMemory { op, bytes, free, total });
        }
        let whole = bytes.next_multiple_of(PAGE) + PAGE;
        let (readable, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, given back by `give`; the last page is fenced off.
        let start = unsafe {
            let start = libc::mmap(std::ptr::null_mut(), whole, readable, flags, -1, 0);
            if start == libc::MAP_FAILED {
                return Err(Error::OutOfMemory { op, bytes, free, total });
            }
            libc::mprotect(start.cast::<u8>().add(whole - PAGE).cast(), PAGE, libc::PROT_NONE);
            let filled = (whole - PAGE).min(FILLED);
            std::ptr::write_bytes(start.cast::<u8>(), 0xff, filled);
            std::ptr::write_bytes(start.cast::<u8>().add(whole - PAGE - filled), 0xff, filled);
            start as usize
        };
        let at = (start + whole - PAGE - bytes.next_multiple_of(16)) as u64;
        self.used().insert(at, Mapping { start, whole, bytes });
        self.peak.fetch_max(total - free + bytes, Ordering::Relaxed);
        Ok(at)
    }

    fn give(&self, at: u64, _: usize) {
        if let Some(Mapping { start, whole, .. }) = self.used().remove(&at) {
            // SAFETY: the mapping that `take` made.
            unsafe { libc::munmap(start as *mut c_void, whole) };
        }
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
        let mut loaded = LOADED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let modules = loaded.get_or_insert_default();
        if !modules.contains_key(source.name) {
            modules.insert(source.name, load(source)?);
        }
        let found = modules[source.name].get(kernel).cloned();
        let found =
            found.ok_or_else(|| Error::failed(op, format!("no kernel {kernel} in {}", source.name)))?;
        let given: Vec<String> = args.iter().map(Arg::kind).collect();
        assert_eq!(given, found.kinds, "{op}: arguments of {kernel}");
        assert!(grid.shared <= SHARED, "{op}: {kernel} asks for {} bytes of shared memory", grid.shared);
        if self.recorded(|| Work::Launch(op, *source, kernel.to_string(), grid, args.to_vec())) {
            return Ok(());
        }
        let mut bits: Vec<u64> = args.iter().map(Arg::bits).collect();
        let mut pointers: Vec<*mut c_void> = bits.iter_mut().map(|b| std::ptr::from_mut(b).cast()).collect();
        // SAFETY: the arguments are of the kernel's types, checked above; the lock is held.
        let fault =
            unsafe { (found.entry)(pointers.as_mut_ptr(), grid.blocks.as_ptr(), grid.threads, self.order) };
        if fault.is_null() {
            return Ok(());
        }
        // SAFETY: a text of the library's own.
        let fault = unsafe { CStr::from_ptr(fault) }.to_string_lossy();
        Err(Error::failed(op, format!("{kernel}: {fault}")))
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
