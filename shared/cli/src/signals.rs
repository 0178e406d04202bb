//! SIGINT and SIGTERM.
//!
//! A filter has nothing to save: the first signal removes its temporary files and ends it. A tool that has something to save
//! calls [`watch`] and asks [`stop_requested`] between its steps; for it the first signal only sets a flag, and a second one
//! ends it at once. A signal that was ignored when the tool began (a background job, nohup) stays ignored.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};

static WATCHED: AtomicBool = AtomicBool::new(false);
static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// Paths to remove when a signal ends the process. A handler may not lock, so they are C strings in atomic slots; a slot is
/// taken out before its string is freed.
static DOOMED: [AtomicPtr<libc::c_char>; 16] = [const { AtomicPtr::new(ptr::null_mut()) }; 16];

/// From now on the first SIGINT or SIGTERM is a request: the tool saves, and returns [`crate::stopped`].
pub fn watch() {
    WATCHED.store(true, Ordering::SeqCst);
}

/// Whether a signal has asked this tool to save and end.
pub fn stop_requested() -> bool {
    received().is_some()
}

/// The signal that came, where one did.
pub fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(signal),
    }
}

/// Whether a process with this id is there.
pub fn is_running(pid: i32) -> bool {
    // SAFETY: signal 0 only asks; no memory is involved.
    let answer = unsafe { libc::kill(pid, 0) };
    // "Not permitted" also means that somebody is there.
    answer == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Sets the handler of both signals, unless they are ignored. A file that grows beyond the user's limit (`ulimit -f`) becomes an
/// error of the write instead of a signal, so that it is told like any other lack of room.
pub(crate) fn install() {
    // SAFETY: no memory is involved, and ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: both structures are plain memory for which all-zero is valid, and live through the calls; `handle` only calls
        // functions that may be called in a handler.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, ptr::null(), &mut old) != 0 || old.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
}

/// Registers a file for removal when a signal ends the process. More than sixteen at once are left to the next run's cleaning.
pub(crate) fn remove_when_killed(path: &Path) {
    let Ok(text) = CString::new(path.as_os_str().as_bytes()) else { return };
    let text = text.into_raw();
    for slot in &DOOMED {
        if slot.compare_exchange(ptr::null_mut(), text, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            return;
        }
    }
    // SAFETY: `text` came from `into_raw` above and no slot took it.
    drop(unsafe { CString::from_raw(text) });
}

/// Takes a file out of the register.
pub(crate) fn keep(path: &Path) {
    for slot in &DOOMED {
        // Taken out before it is looked at, so that nobody frees it meanwhile.
        let text = slot.swap(ptr::null_mut(), Ordering::SeqCst);
        if text.is_null() {
            continue;
        }
        // SAFETY: every pointer in a slot came from `into_raw`, and this call alone holds it now.
        let text = unsafe { CString::from_raw(text) };
        if text.as_bytes() != path.as_os_str().as_bytes() {
            slot.store(text.into_raw(), Ordering::SeqCst);
        }
    }
}

extern "C" fn handle(signal: libc::c_int) {
    let first = RECEIVED.swap(signal, Ordering::SeqCst) == 0;
    if first && WATCHED.load(Ordering::SeqCst) {
        return;
    }
    end_now(128 + signal);
}

/// Removes what is half-written and ends the process, from a handler or any thread.
pub(crate) fn end_now(code: libc::c_int) -> ! {
    for slot in &DOOMED {
        let text = slot.swap(ptr::null_mut(), Ordering::SeqCst);
        if !text.is_null() {
            // SAFETY: a C string that nobody frees once it is out of its slot; unlink may be called in a handler.
            unsafe { libc::unlink(text) };
        }
    }
    // SAFETY: _exit may be called in a handler and does not return.
    unsafe { libc::_exit(code) }
}
