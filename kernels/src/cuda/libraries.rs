//! Finding NVIDIA's libraries. They are opened at run time, so that a binary with the feature starts anywhere; cudarc panics on one
//! that is missing, so each is looked for first.
//!
//! Where: the loader's own places, then `$CUDA_LIBRARY_DIRS` (parted by colons), then the usual folders of a toolkit. A library found
//! in a folder is opened by its path, after which the loader knows it by its name.

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::Error;

const FOLDERS: [&str; 3] = ["/usr/local/cuda/lib64", "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib"];

/// The driver, which comes with the card.
pub(crate) fn driver() -> Result<(), Error> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: opening a library of NVIDIA's runs its initializers only.
    let found = *FOUND.get_or_init(|| unsafe { cudarc::driver::sys::is_culib_present() });
    if found { Ok(()) } else { Err(Error::Absent("no NVIDIA driver on this machine (libcuda.so.1)".into())) }
}

/// The compiler.
pub(crate) fn nvrtc() -> Result<(), Error> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: as above.
    let found =
        *FOUND.get_or_init(|| find("libnvrtc.so.", || unsafe { cudarc::nvrtc::sys::is_culib_present() }));
    if found { Ok(()) } else { Err(missing("libnvrtc.so.13", "nvidia-cuda-nvrtc")) }
}

/// The matrix products.
pub(crate) fn cublaslt() -> Result<(), Error> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: as above.
    let found = *FOUND
        .get_or_init(|| find("libcublasLt.so.", || unsafe { cudarc::cublaslt::sys::is_culib_present() }));
    if found { Ok(()) } else { Err(missing("libcublasLt.so.13", "nvidia-cublas")) }
}

fn missing(library: &str, wheel: &str) -> Error {
    Error::Absent(format!(
        "{library} is not there: install CUDA 13, or the wheel {wheel}, and name its folder in CUDA_LIBRARY_DIRS"
    ))
}

fn find(stem: &str, present: impl Fn() -> bool) -> bool {
    if present() {
        return true;
    }
    let named = std::env::var("CUDA_LIBRARY_DIRS").unwrap_or_default();
    for folder in named.split(':').filter(|f| !f.is_empty()).chain(FOLDERS) {
        // NVRTC opens this one by its name when it first compiles.
        versions(folder, "libnvrtc-builtins.so.").into_iter().for_each(|path| {
            open(path);
        });
        if versions(folder, stem).into_iter().any(|path| open(path) && present()) {
            return true;
        }
    }
    false
}

/// Opens a library for good.
fn open(path: PathBuf) -> bool {
    let Ok(path) = CString::new(path.into_os_string().into_encoded_bytes()) else { return false };
    // SAFETY: a path that ends in NUL.
    let opened = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    !opened.is_null()
}

/// `folder/stem13`, … newest first.
fn versions(folder: &str, stem: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|e| e.path())
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(stem)))
        .collect();
    paths.sort();
    paths.reverse();
    paths
}
