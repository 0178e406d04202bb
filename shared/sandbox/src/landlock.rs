//! Landlock: which files a process may open, by rules that it gives itself and cannot take back.

use libc::{c_int, c_long};

#[repr(C)]
struct Rules {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct Beneath {
    allowed_access: u64,
    parent_fd: i32,
}

const READ: u64 = 1 << 0 | 1 << 2 | 1 << 3; // execute, read file, read directory

/// The version of landlock in this kernel; 0 where there is none.
pub fn version() -> c_long {
    // SAFETY: asks for the version; no pointer is read when the flag is 1 and the size 0.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0usize, 0usize, 1u32) }.max(0)
}

/// Confines the calling thread to reading beneath the opened places (file descriptors with O_PATH; whether each is a
/// directory). Makes only system calls: it may run between fork and exec. Gives the failed step.
pub fn confine(version: c_long, places: &[(c_int, bool)]) -> Result<(), &'static str> {
    // Every right that this version knows is taken; reading is given back beneath the places.
    let known = match version {
        ..=0 => return Err("landlock"),
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    let rules = Rules {
        handled_access_fs: (1 << known) - 1,
        handled_access_net: if version >= 4 { 0b11 } else { 0 },
        scoped: if version >= 6 { 0b11 } else { 0 },
    };
    // Older kernels refuse a structure that they do not know in full.
    let size: usize = match version {
        1..=3 => 8,
        4 | 5 => 16,
        _ => 24,
    };
    // SAFETY: the structure outlives the call and is at least `size` bytes long.
    let ruleset = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rules, size, 0u32) };
    if ruleset < 0 {
        return Err("landlock_create_ruleset");
    }
    for (place, directory) in places {
        let access = if *directory { READ } else { READ & !(1 << 3) };
        let beneath = Beneath { allowed_access: access, parent_fd: *place };
        // SAFETY: rule type 1 (beneath a path) reads the structure, which outlives the call.
        let added =
            unsafe { libc::syscall(libc::SYS_landlock_add_rule, ruleset, 1u32, &raw const beneath, 0u32) };
        if added != 0 {
            return Err("landlock_add_rule");
        }
    }
    // SAFETY: takes a file descriptor and flags only.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0u32) } {
        0 => Ok(()),
        _ => Err("landlock_restrict_self"),
    }
}
