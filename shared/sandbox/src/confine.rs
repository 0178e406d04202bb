//! What a process does to itself between its birth and the program: gives up everything that [`Plan`] does not leave it.
//! Only system calls, no allocation and no locks: other threads of the parent may have held any lock at the fork.

use crate::landlock;
use libc::{c_char, c_int, c_long, c_uint, c_ulong, c_void, gid_t, rlimit, sock_filter, uid_t};
use std::ffi::{CStr, CString};
use std::ptr;

/// Everything the child needs, laid out before it is born.
pub struct Plan {
    /// Where the new root is put together: a directory that is always there and that nothing below is read from.
    pub base: &'static CStr,
    /// Present where the caller's user becomes `nobody` in a user namespace of its own.
    pub user_map: Option<(Vec<u8>, Vec<u8>)>,
    /// Present where root becomes a user of its own that nothing else is.
    pub user: Option<uid_t>,
    /// Directories to make, from the outermost on, within the new root.
    pub directories: Vec<CString>,
    /// What is shown: source, target, whether it is a directory.
    pub shown: Vec<(CString, CString, bool)>,
    /// Mount options of the writable directory, and its place.
    pub writable: Option<(CString, CString)>,
    /// Version of landlock, where it confines instead of mounts.
    pub landlock: Option<c_long>,
    /// Resources and their limits.
    pub limits: Vec<(c_uint, u64)>,
    pub filter: Vec<sock_filter>,
    /// Where the filter names the process itself.
    pub own: Vec<usize>,
    pub executable: CString,
    pub arguments: Vec<*const c_char>,
    pub environment: Vec<*const c_char>,
    /// Standard input, output and error, the payload (3), the report (4), and where a failure is told (5).
    pub streams: [c_int; 6],
}

/// Where the failure is told, in the child.
const TOLD: c_int = 5;

/// Gives 0, or the failed step.
fn check(result: c_long, step: &'static str) -> Result<(), &'static str> {
    if result < 0 { Err(step) } else { Ok(()) }
}

/// Confines the process and starts the program; on failure tells the step and its error number, and ends.
///
/// # Safety
/// The caller is a fresh child with a single thread; all pointers of the plan are valid.
pub unsafe fn enter(plan: &mut Plan) -> ! {
    // SAFETY: as promised by the caller.
    let step = match unsafe { confine(plan) } {
        Err(step) => step,
        Ok(()) => {
            // SAFETY: path, arguments and environment are null-terminated and outlive the call.
            unsafe {
                libc::execve(plan.executable.as_ptr(), plan.arguments.as_ptr(), plan.environment.as_ptr())
            };
            "execve"
        }
    };
    let number = std::io::Error::last_os_error().raw_os_error().unwrap_or(0).to_le_bytes();
    // SAFETY: both buffers are as long as said; the child ends here.
    unsafe {
        libc::write(TOLD, number.as_ptr().cast(), number.len());
        libc::write(TOLD, step.as_ptr().cast(), step.len());
        libc::_exit(127)
    }
}

/// # Safety
/// As for [`enter`].
unsafe fn confine(plan: &mut Plan) -> Result<(), &'static str> {
    // SAFETY: every call gets valid null-terminated strings and structures of the plan; none allocates or locks. The
    // identity calls are made directly, since the C library's own would signal threads that this process has not got.
    unsafe {
        streams(&plan.streams)?;
        libc::syscall(libc::SYS_setsid);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::umask(0o022);
        if let Some((users, groups)) = &plan.user_map {
            put(c"/proc/self/setgroups", b"deny", "setgroups")?;
            put(c"/proc/self/uid_map", users, "uid_map")?;
            put(c"/proc/self/gid_map", groups, "gid_map")?;
        }
        match plan.landlock {
            Some(version) => {
                let mut places = [(0, false); 64];
                let count = plan.shown.len().min(places.len());
                for (place, (source, _, directory)) in places.iter_mut().zip(&plan.shown) {
                    let opened = libc::open(source.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
                    check(opened.into(), "open")?;
                    *place = (opened, *directory);
                }
                check(libc::chdir(c"/".as_ptr()).into(), "chdir")?;
                check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(), "no_new_privs")?;
                landlock::confine(version, &places[..count])?;
            }
            None => root(plan)?,
        }
        check(libc::syscall(libc::SYS_close_range, 6 as c_uint, c_uint::MAX, 0), "close_range")?;
        for (resource, limit) in &plan.limits {
            let mut limit = rlimit { rlim_cur: *limit, rlim_max: *limit };
            let mut old = limit;
            if libc::getrlimit(*resource as _, &mut old) == 0 {
                limit.rlim_max = limit.rlim_max.min(old.rlim_max);
                limit.rlim_cur = limit.rlim_max;
            }
            check(libc::setrlimit(*resource as _, &limit).into(), "setrlimit")?;
        }
        if let Some(user) = plan.user {
            check(libc::syscall(libc::SYS_setgroups, 0usize, ptr::null::<gid_t>()), "setgroups")?;
            check(libc::syscall(libc::SYS_setresgid, user, user, user), "setresgid")?;
            check(libc::syscall(libc::SYS_setresuid, user, user, user), "setresuid")?;
        }
        // No capability, now or through the program that is started.
        for capability in 0..64 {
            if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                break;
            }
        }
        let head: [u32; 2] = [0x2008_0522, 0];
        let nothing = [0u32; 6];
        check(libc::syscall(libc::SYS_capset, head.as_ptr(), nothing.as_ptr()), "capset")?;
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(), "no_new_privs")?;
        // Last of the identity's changes, which would undo it: whoever waits for us must not die before us.
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into(), "death signal")?;
        let own = libc::syscall(libc::SYS_getpid) as u32;
        for at in &plan.own {
            if let Some(instruction) = plan.filter.get_mut(*at) {
                instruction.k = own;
            }
        }
        let program = libc::sock_fprog { len: plan.filter.len() as u16, filter: plan.filter.as_mut_ptr() };
        let mode = libc::SECCOMP_MODE_FILTER as c_ulong;
        check(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program).into(), "seccomp")
    }
}

/// Puts the streams on 0 to 5; only the last is closed when the program starts.
///
/// # Safety
/// As for [`enter`].
unsafe fn streams(given: &[c_int; 6]) -> Result<(), &'static str> {
    let mut high = [0; 6];
    // SAFETY: file descriptors only.
    unsafe {
        // Away from the numbers they are going to, the last first: failures are told through it.
        for (high, given) in high.iter_mut().zip(given) {
            *high = libc::fcntl(*given, libc::F_DUPFD_CLOEXEC, 16);
            check((*high).into(), "dup")?;
        }
        for (number, high) in high.iter().enumerate().rev() {
            let flags = if number as c_int == TOLD { libc::O_CLOEXEC } else { 0 };
            check(libc::dup3(*high, number as c_int, flags).into(), "dup3")?;
        }
    }
    Ok(())
}

/// Writes a file in one call.
///
/// # Safety
/// As for [`enter`].
unsafe fn put(path: &CStr, bytes: &[u8], step: &'static str) -> Result<(), &'static str> {
    // SAFETY: the path is null-terminated, the buffer as long as said.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file.into(), step)?;
        let written = libc::write(file, bytes.as_ptr().cast::<c_void>(), bytes.len());
        check(written as c_long, step)?;
        libc::close(file);
    }
    Ok(())
}

/// The attributes of every mount that is shown.
#[repr(C)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const READ_ONLY: u64 = 0x1;
const NO_SET_ID: u64 = 0x2;
const NO_DEVICES: u64 = 0x4;

/// # Safety
/// As for [`enter`].
unsafe fn seal(path: &CStr, attributes: u64) -> c_long {
    let set = Attributes { set: attributes, clear: 0, propagation: 0, user_namespace: 0 };
    // SAFETY: the path is null-terminated, the structure as long as said.
    unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            0u32,
            &raw const set,
            size_of::<Attributes>(),
        )
    }
}

/// Builds the new root, shows in it what the plan shows, and leaves the old one.
///
/// # Safety
/// As for [`enter`].
unsafe fn root(plan: &Plan) -> Result<(), &'static str> {
    let tmpfs = c"tmpfs".as_ptr();
    // SAFETY: strings are null-terminated; the mounts are those of a namespace of our own.
    unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(
            libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()).into(),
            "private mounts",
        )?;
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        let options = c"mode=0755,size=1m,nr_inodes=4096".as_ptr().cast();
        check(libc::mount(tmpfs, plan.base.as_ptr(), tmpfs, flags, options).into(), "root")?;
        for directory in &plan.directories {
            if libc::mkdir(directory.as_ptr(), 0o755) != 0
                && std::io::Error::last_os_error().raw_os_error() != Some(libc::EEXIST)
            {
                return Err("mkdir");
            }
        }
        for (source, target, directory) in &plan.shown {
            if !directory {
                let file =
                    libc::open(target.as_ptr(), libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC, 0o644);
                check(file.into(), "file to bind")?;
                libc::close(file);
            }
            let bind = libc::mount(source.as_ptr(), target.as_ptr(), ptr::null(), libc::MS_BIND, ptr::null());
            check(bind.into(), "bind")?;
            check(seal(target, READ_ONLY | NO_SET_ID | NO_DEVICES), "mount_setattr")?;
        }
        if let Some((place, options)) = &plan.writable {
            let flags = flags | libc::MS_NOEXEC;
            check(
                libc::mount(tmpfs, place.as_ptr(), tmpfs, flags, options.as_ptr().cast()).into(),
                "writable",
            )?;
        }
        check(seal(plan.base, READ_ONLY | NO_SET_ID | NO_DEVICES), "mount_setattr")?;
        check(libc::chdir(plan.base.as_ptr()).into(), "chdir")?;
        check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()), "pivot_root")?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH).into(), "umount")?;
        check(libc::chdir(c"/".as_ptr()).into(), "chdir")
    }
}
