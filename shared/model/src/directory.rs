//! Files and directories that are either the old ones or the new ones, never half of each.
//!
//! A policy directory is written beside its target as `.NAME.writing-PID` and moved into place in one step, so that a
//! reader, or the same command run again after a SIGKILL, finds a whole checkpoint at every moment:
//!
//! 1. files are written into the temporary directory and flushed to the disk, with the directory itself;
//! 2. where the target does not exist, one rename;
//!    where it does, Linux exchanges the two names in one step (`renameat2`, `RENAME_EXCHANGE`);
//!    elsewhere the target is first renamed to `.NAME.old`;
//! 3. what was replaced is removed.
//!
//! [`recover`] puts right what a kill left between the steps: a lone `.NAME.old` goes back to its name, everything
//! else under those names is removed, unless a living process is still writing it (it holds a lock on the directory).

mod claim;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow, bail};

pub use claim::Claim;

/// Files of a policy directory that go along unchanged from policy to policy: all but weights and training state.
pub const CARRIED: [&str; 11] = [
    "config.json",
    "generation_config.json",
    ".gitattributes",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

/// Those of [`CARRIED`] that make up a tokenizer.
pub const TOKENIZER: &[&str] = CARRIED.split_at(3).1;

/// Weights and training state: what a new policy brings anew.
const REPLACED: [&str; 8] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_config.json",
    "adapter_model.safetensors",
    "optimizer.safetensors",
    "train.json",
    "old.json",
    "reference",
];

/// Copies what belongs to a policy besides weights and training state ([`CARRIED`]).
///
/// # Errors
/// When a file cannot be read or written; the message names it.
pub fn carry_files(from: &Path, to: &Path) -> Result<()> {
    copy_files(&CARRIED, from, to)
}

/// Copies those of the files `names` that are there.
///
/// # Errors
/// When a file cannot be read or written; the message names it.
pub fn copy_files(names: &[&str], from: &Path, to: &Path) -> Result<()> {
    for name in names {
        let file = from.join(name);
        if file.exists() {
            fs::copy(&file, to.join(name)).with_context(|| format!("{}: cannot copy", file.display()))?;
        }
    }
    Ok(())
}

/// Refuses to replace a directory that holds files which a new policy would not carry over.
///
/// # Errors
/// Names up to three of them.
pub fn check_replaceable(dir: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("{}", dir.display()))?;
    let mut foreign: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| {
            let shard = name.starts_with("model-") && name.ends_with(".safetensors");
            !shard && !CARRIED.contains(&name.as_str()) && !REPLACED.contains(&name.as_str())
        })
        .collect();
    foreign.sort();
    if foreign.is_empty() {
        return Ok(());
    }
    let more = if foreign.len() > 3 { " …" } else { "" };
    bail!(
        "{}: writing over it would lose {}{more}",
        dir.display(),
        foreign[..foreign.len().min(3)].join(", ")
    );
}

/// Temporary directories that this process is writing: their lock is held by us, so it says nothing to us.
static WRITING: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Default::default);

fn writing() -> std::sync::MutexGuard<'static, HashSet<PathBuf>> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The moments of [`DirectoryWriter::publish`] after which a kill leaves something different on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Written,
    Flushed,
    OldSetAside,
    Exchanged,
    Renamed,
    OldRemoved,
}

/// A directory being written beside its target; [`publish`](DirectoryWriter::publish) moves it into place.
///
/// Dropped without `publish`, the temporary directory is removed and the target stays as it was.
#[derive(Debug)]
pub struct DirectoryWriter {
    target: PathBuf,
    temporary: PathBuf,
    /// Held open for its lock, which tells other processes that the writer lives.
    _lock: File,
}

impl DirectoryWriter {
    /// Starts a directory that will replace `target` (which may exist, or not), after [`recover`]ing it. Missing parent
    /// directories are made.
    ///
    /// # Errors
    /// When `target` is something other than a directory, holds something other than a policy, is being written by
    /// another process, or its parent cannot be written.
    pub fn create(target: &Path) -> Result<DirectoryWriter> {
        let target = resolve(target)?;
        if target.exists() && !target.is_dir() {
            bail!("{}: exists and is not a directory", target.display());
        }
        // What is replaced is removed: never a home directory, or a folder with somebody's work, by a slip of -o.
        if target.exists() {
            check_replaceable(&target)?;
        }
        let parent = parent_of(&target);
        fs::create_dir_all(parent).with_context(|| format!("{}", parent.display()))?;
        recover(&target)?;
        let temporary = sibling(&target, &format!("writing-{}", std::process::id()));
        if !writing().insert(temporary.clone()) {
            bail!("{}: this process is already writing it", target.display());
        }
        match make_locked(&temporary) {
            Ok(lock) => Ok(DirectoryWriter { target, temporary, _lock: lock }),
            Err(e) => {
                writing().remove(&temporary);
                Err(e)
            }
        }
    }

    /// Where to write the files.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Flushes everything to the disk and moves the directory into place; what it replaces is removed.
    pub fn publish(self) -> Result<()> {
        self.publish_by(true, &mut |_| {})
    }

    fn publish_by(self, exchange_allowed: bool, reached: &mut dyn FnMut(Moment)) -> Result<()> {
        let (target, temporary) = (&self.target, &self.temporary);
        reached(Moment::Written);
        flush_tree(temporary)?;
        reached(Moment::Flushed);
        let place = || format!("{}", target.display());
        if !target.exists() {
            fs::rename(temporary, target).with_context(place)?;
            flush(parent_of(target))?;
            reached(Moment::Renamed);
        } else if exchange_allowed && exchange(temporary, target).with_context(place)? {
            flush(parent_of(target))?;
            reached(Moment::Exchanged);
            remove_tree(temporary)?;
            reached(Moment::OldRemoved);
        } else {
            let old = sibling(target, "old");
            remove_tree(&old)?;
            fs::rename(target, &old).with_context(place)?;
            reached(Moment::OldSetAside);
            if let Err(e) = fs::rename(temporary, target) {
                fs::rename(&old, target).with_context(place)?;
                return Err(e).with_context(place);
            }
            flush(parent_of(target))?;
            reached(Moment::Renamed);
            remove_tree(&old)?;
            reached(Moment::OldRemoved);
        }
        Ok(())
    }
}

impl Drop for DirectoryWriter {
    fn drop(&mut self) {
        // After a publish nothing is left here; before it, what was begun goes. Errors have nobody to go to.
        let _ = remove_tree(&self.temporary);
        writing().remove(&self.temporary);
    }
}

/// Finishes or rolls back what a killed [`DirectoryWriter`] left beside `target`; does nothing where nothing is left.
///
/// # Errors
/// When another living process is writing `target`, or the parent directory cannot be changed.
pub fn recover(target: &Path) -> Result<()> {
    let target = resolve(target)?;
    let parent = parent_of(&target);
    if !parent.is_dir() {
        return Ok(());
    }
    let old = sibling(&target, "old");
    if old.exists() {
        if target.exists() {
            remove_tree(&old)?;
        } else {
            fs::rename(&old, &target).with_context(|| format!("{}", old.display()))?;
            flush(parent)?;
        }
    }
    let Some(prefix) = sibling(&target, "writing-").file_name().map(OsStr::to_owned) else { return Ok(()) };
    let place = || format!("{}", parent.display());
    for entry in fs::read_dir(parent).with_context(place)? {
        let entry = entry.with_context(place)?;
        let Some(pid) = pid_after(&entry.file_name(), &prefix) else { continue };
        let path = entry.path();
        if writing().contains(&path) {
            continue;
        }
        if being_written(&path, pid) {
            bail!("{}: process {pid} is writing it at this moment", target.display());
        }
        remove_tree(&path)?;
    }
    Ok(())
}

/// Writes a file so that its name holds either what it held or all of what `write` puts out: a sibling temporary file,
/// flushed to the disk, then renamed.
pub fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let temporary = sibling(path, &format!("writing-{}", std::process::id()));
    let place = || format!("{}", path.display());
    let written = (|| {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&temporary).with_context(place)?);
        write(&mut out)?;
        let file = out.into_inner().map_err(|e| anyhow!("{}: {}", path.display(), e.error()))?;
        file.sync_all().with_context(place)?;
        drop(file);
        fs::rename(&temporary, path).with_context(place)?;
        flush(parent_of(path))
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// [`write_file`] for a JSON value: two spaces of indentation and a final newline, as transformers writes its configs.
pub fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    write_file(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value).with_context(|| format!("{}", path.display()))?;
        out.write_all(b"\n").with_context(|| format!("{}", path.display()))
    })
}

/// The target with symbolic links followed, so that what a link points to is replaced and not the link.
fn resolve(target: &Path) -> Result<PathBuf> {
    if target.exists() {
        return fs::canonicalize(target).with_context(|| format!("{}", target.display()));
    }
    match target.components().next_back() {
        Some(std::path::Component::Normal(_)) => Ok(target.to_path_buf()),
        _ => bail!("{}: not a name for a directory", target.display()),
    }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `.NAME.suffix` beside `path`.
fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or(OsStr::new("root")));
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

fn pid_after(name: &OsStr, prefix: &OsStr) -> Option<u32> {
    name.as_encoded_bytes()
        .strip_prefix(prefix.as_encoded_bytes())
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
}

/// Makes the directory and locks it. Between the two another process may take it for a dead one's and remove it; then
/// it is made again.
fn make_locked(path: &Path) -> Result<File> {
    let place = || format!("{}", path.display());
    for _ in 0..16 {
        match fs::create_dir(path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e).with_context(place),
            _ => {}
        }
        let Ok(lock) = File::open(path) else { continue };
        // Filesystems without locks fall back on the process id in the name.
        match lock.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) if path.exists() => return Ok(lock),
            _ => {}
        }
    }
    bail!("{}: cannot be made: something keeps removing it", path.display())
}

/// Whether a living process (not this one) writes this temporary directory.
fn being_written(path: &Path, pid: u32) -> bool {
    match File::open(path).map(|f| f.try_lock()) {
        Ok(Ok(())) => false,
        Ok(Err(TryLockError::WouldBlock)) => true,
        Ok(Err(TryLockError::Error(_))) | Err(_) => pid != std::process::id() && lives(pid),
    }
}

#[cfg(unix)]
fn lives(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: signal 0 is never delivered; the call only asks whether the process exists.
    let answer = unsafe { libc::kill(pid, 0) };
    answer == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

#[cfg(not(unix))]
fn lives(_pid: u32) -> bool {
    true
}

/// Exchanges two names in one step. `Ok(false)` where the system or the filesystem cannot.
#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> Result<bool> {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    let [a, b] = [a, b].map(|p| CString::new(p.as_os_str().as_bytes()));
    let (a, b) = (a?, b?);
    // SAFETY: both pointers are NUL-terminated strings that outlive the call; AT_FDCWD needs no descriptor.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            a.as_ptr(),
            libc::AT_FDCWD,
            b.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    if answer == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL | libc::ENOTSUP | libc::EPERM) => Ok(false),
        _ => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(_a: &Path, _b: &Path) -> Result<bool> {
    Ok(false)
}

/// Flushes every file and directory below `path`, and `path` itself.
fn flush_tree(path: &Path) -> Result<()> {
    let place = || format!("{}", path.display());
    for entry in fs::read_dir(path).with_context(place)? {
        let entry = entry.with_context(place)?;
        let kind = entry.file_type().with_context(place)?;
        if kind.is_dir() {
            flush_tree(&entry.path())?;
        } else if kind.is_file() {
            flush(&entry.path())?;
        }
    }
    flush(path)
}

fn flush(path: &Path) -> Result<()> {
    // A directory opens as a file on Unix only; elsewhere its entries are flushed by the system.
    if cfg!(unix) || path.is_file() {
        File::open(path).and_then(|f| f.sync_all()).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

/// Removes a file, link or directory tree; absent is fine, also when another process removes it at the same time.
fn remove_tree(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(m) if m.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("{}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
