//! Device code compiled by g++ behind `shim.h`, a block's threads run as fibers.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::memory::Memory;
use super::{Player, SHARED};
use crate::cuda::launch::signatures;
use crate::cuda::{Arg, Error, Grid, Source, module};

const SHIM: &str = include_str!("shim.h");

type Entry = unsafe extern "C" fn(*mut *mut c_void, *const u32, u32, u64) -> *const c_char;

/// Compiled sources by name, one for the process: their state is static, so launches take turns.
static LOADED: Mutex<Option<HashMap<&'static str, HashMap<String, Entry>>>> = Mutex::new(None);

/// Runs threads and blocks in the order of this number.
pub(in crate::cuda) struct Fibers(u64);

impl Fibers {
    pub fn new(order: u64) -> Result<Fibers, Error> {
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            return Err(Error::Absent("the emulated card runs on x86-64 Linux only".into()));
        }
        if Command::new("g++").arg("--version").output().is_ok_and(|o| o.status.success()) {
            Ok(Fibers(order))
        } else {
            Err(Error::Absent("the emulated card needs g++".into()))
        }
    }
}

impl Player for Fibers {
    fn name(&self) -> String {
        format!("a card emulated on the CPU, order {}", self.0)
    }

    fn run(&self, source: &Source, kernel: &str, grid: Grid, args: &[Arg], _: &Memory) -> Result<(), String> {
        if grid.shared > SHARED {
            return Err(format!("{} bytes of shared memory are more than {SHARED}", grid.shared));
        }
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let modules = loaded.get_or_insert_default();
        if !modules.contains_key(source.name) {
            modules.insert(source.name, load(source).map_err(|e| e.to_string())?);
        }
        let entry = modules[source.name].get(kernel).copied().ok_or("it was not compiled")?;
        let mut bits: Vec<u64> = args.iter().map(Arg::bits).collect();
        let mut pointers: Vec<*mut c_void> = bits.iter_mut().map(|b| std::ptr::from_mut(b).cast()).collect();
        // SAFETY: the arguments are of the kernel's types, which the caller checked; the lock is held.
        let fault = unsafe { entry(pointers.as_mut_ptr(), grid.blocks.as_ptr(), grid.threads, self.0) };
        if fault.is_null() {
            return Ok(());
        }
        // SAFETY: a text of the library's own.
        Err(unsafe { CStr::from_ptr(fault) }.to_string_lossy().into_owned())
    }
}

/// Compiles a source to a shared library and opens it.
fn load(source: &Source) -> Result<HashMap<String, Entry>, Error> {
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
        for (name, _) in kernels {
            let symbol = CString::new(format!("emulated_{name}")).expect("a kernel's name has no NUL");
            let at = libc::dlsym(handle, symbol.as_ptr());
            assert!(!at.is_null(), "{name} was compiled");
            found.insert(name, std::mem::transmute::<*mut c_void, Entry>(at));
        }
        Ok(found)
    }
}
