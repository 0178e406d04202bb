//! From device code to a module: the sources of the ops, and NVRTC, which compiles them for the card at hand.
//!
//! A compiled module is kept in `$XDG_CACHE_HOME/r1` (or `~/.cache/r1`) under a hash of source, options and compiler, so a
//! second process compiles nothing. Where that folder cannot be written, each process compiles for itself.

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use cudarc::nvrtc::{result, sys};

use super::{Error, libraries};

/// The device code of an op.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub name: &'static str,
    pub text: &'static str,
}

/// What every source may use.
const PRELUDE: &str = concat!(include_str!("prelude.cuh"), include_str!("tensor.cuh"));

impl Source {
    /// The whole translation unit.
    pub fn whole(&self) -> String {
        format!("{PRELUDE}\n#line 1 \"{}/cuda.cu\"\n{}", self.name, self.text)
    }
}

/// Compiles for a card of the given compute capability (80 is 8.0): machine code, or, for a card that this NVRTC does
/// not know yet, PTX for the newest that it knows.
pub(crate) fn compile(source: &Source, capability: u32) -> Result<Vec<u8>, Error> {
    libraries::nvrtc()?;
    let (mut major, mut minor, mut count) = (0, 0, 0);
    // SAFETY: the library is there; the pointers are to locals, the list as long as the library says.
    let known = unsafe {
        sys::nvrtcVersion(&mut major, &mut minor);
        sys::nvrtcGetNumSupportedArchs(&mut count);
        let mut known = vec![0i32; count.max(1) as usize];
        sys::nvrtcGetSupportedArchs(known.as_mut_ptr());
        known
    };
    let target = if known.contains(&(capability as i32)) {
        format!("sm_{capability}")
    } else {
        let newest = known.iter().filter(|&&k| k <= capability as i32).max();
        format!("compute_{}", newest.copied().unwrap_or(80))
    };
    translated(source, &target, &format!("{major}.{minor}"))
}

/// Compiles to PTX, as text.
pub(super) fn intermediate(source: &Source, capability: u32) -> Result<Vec<u8>, Error> {
    libraries::nvrtc()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is there; the pointers are to locals.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    translated(source, &format!("compute_{capability}"), &format!("{major}.{minor}"))
}

/// What this version of NVRTC makes of a source, kept.
fn translated(source: &Source, target: &str, version: &str) -> Result<Vec<u8>, Error> {
    let text = source.whole();
    let options = options(target).join(" ");
    let key = hash(&[text.as_bytes(), options.as_bytes(), version.as_bytes()]);
    let name = format!("{}-{target}-{key:016x}.cubin", source.name);
    kept(&name, || translate(source.name, &text, target, true))
}

/// A source compiled, to be read: its PTX as text, or the machine code of a card as an object for nvdisasm.
///
/// # Errors
/// NVRTC is missing, or the source does not compile.
pub fn compiled(name: &str, capability: u32, machine_code: bool) -> Result<Vec<u8>, Error> {
    libraries::nvrtc()?;
    let source = super::SOURCES.iter().find(|s| s.name == name);
    let source = source.ok_or_else(|| Error::failed("nvrtc", format!("no source named {name}")))?;
    let target = format!("{}_{capability}", if machine_code { "sm" } else { "compute" });
    let mut code = translate(source.name, &source.whole(), &target, machine_code)?;
    if !machine_code && code.last() == Some(&0) {
        code.pop();
    }
    Ok(code)
}

/// Names of all sources.
pub fn names() -> Vec<&'static str> {
    super::SOURCES.iter().map(|s| s.name).collect()
}

/// Fused multiply-adds stand where they are written: the emulation and the CPU round in the same places.
fn options(target: &str) -> [String; 3] {
    [format!("--gpu-architecture={target}"), "--std=c++17".into(), "--fmad=false".into()]
}

fn translate(name: &str, text: &str, target: &str, loadable: bool) -> Result<Vec<u8>, Error> {
    let failed = |fact: String| Error::failed("nvrtc", format!("{name} for {target}: {fact}"));
    let text = CString::new(text).expect("a source has no NUL");
    let file = CString::new(format!("{name}.cu")).expect("a name has no NUL");
    let program = result::create_program(&text, Some(&file)).map_err(|e| failed(e.to_string()))?;
    let options = options(target);
    // SAFETY: the program was just made and is destroyed below; sizes are asked for before each copy.
    unsafe {
        let made = result::compile_program(program, &options).map_err(|e| {
            let log = result::get_program_log(program).unwrap_or_default();
            let log: Vec<u8> = log.into_iter().map(|c| c as u8).collect();
            failed(format!("{e}: {}", String::from_utf8_lossy(&log).trim_end_matches('\0')))
        });
        let code = made.and_then(|()| {
            let mut size = 0;
            if loadable && target.starts_with("sm_") {
                sys::nvrtcGetCUBINSize(program, &mut size).result().map_err(|e| failed(e.to_string()))?;
                let mut code = vec![0u8; size];
                sys::nvrtcGetCUBIN(program, code.as_mut_ptr().cast())
                    .result()
                    .map_err(|e| failed(e.to_string()))?;
                Ok(code)
            } else {
                let code = result::get_ptx(program).map_err(|e| failed(e.to_string()))?;
                Ok(code.into_iter().map(|c| c as u8).collect())
            }
        });
        let _ = result::destroy_program(program);
        code
    }
}

/// The kept file of this name; made and kept where there is none.
pub(super) fn kept(name: &str, make: impl FnOnce() -> Result<Vec<u8>, Error>) -> Result<Vec<u8>, Error> {
    let Some(folder) = folder() else { return make() };
    let path = folder.join(name);
    if let Ok(code) = fs::read(&path) {
        return Ok(code);
    }
    let code = make()?;
    keep(&path, &code);
    Ok(code)
}

/// Writes a file whole or not at all. A store that cannot be written is no error.
fn keep(path: &std::path::Path, code: &[u8]) {
    let temporary = path.with_extension(format!("{}.part", std::process::id()));
    let written = fs::File::create(&temporary).and_then(|mut f| f.write_all(code));
    if written.and_then(|()| fs::rename(&temporary, path)).is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

/// The folder of compiled modules.
pub(super) fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("r1");
    fs::create_dir_all(&folder).ok().map(|()| folder)
}

/// FNV-1a over the parts.
pub(super) fn hash(parts: &[&[u8]]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.iter().chain(&[0xff]))
        .fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_compiles_for_every_card() {
        if let Err(missing) = libraries::nvrtc() {
            return eprintln!("skipped: {missing}");
        }
        for source in super::super::SOURCES {
            for target in ["sm_80", "sm_90"] {
                let code = translate(source.name, &source.whole(), target, true);
                let code = code.unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(&code[..4], b"\x7fELF", "{} for {target}", source.name);
                for (kernel, _) in crate::cuda::launch::signatures(source.text) {
                    let named = code.windows(kernel.len()).any(|w| w == kernel.as_bytes());
                    assert!(named, "{kernel} is not in {} for {target}", source.name);
                }
            }
        }
    }
}
