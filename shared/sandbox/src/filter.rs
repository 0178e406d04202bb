//! The system calls that a program may make, as a seccomp filter. Everything that is not named is refused with EPERM; so
//! are new processes, sockets, and signals to anyone else.

use libc::{c_long, sock_filter};

/// The most instructions a filter of ours has.
pub const LONGEST: usize = 512;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<u32> = None;

/// Allowed whatever the arguments.
const ALLOWED: &[c_long] = &[
    // Files: which, the mounts or landlock decide.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_symlinkat,
    libc::SYS_renameat2,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_copy_file_range,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // Its own signals and threads.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_futex,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // The interpreter itself is started through it; whatever else it starts is as confined.
    libc::SYS_execve,
    // Who and when.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getcpu,
    // The older names of calls above.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_alarm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_getpgrp,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
];

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_BITS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Offsets in the `seccomp_data` that a filter sees.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// Low and high word of an argument (both architectures are little endian).
const fn argument(n: u32) -> u32 {
    16 + 8 * n
}

const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// A filter under construction.
struct Program(Vec<sock_filter>);

impl Program {
    fn add(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.0.push(sock_filter { code, jt, jf, k });
    }

    fn call(number: c_long) -> u32 {
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Where the call is `number`: allow it when argument `n` (its low word) has one of `values`, else refuse.
    fn allow_with(&mut self, number: c_long, n: u32, values: &[u32]) {
        let count = values.len() as u8;
        self.add(IF_EQUAL, Self::call(number), 0, 2 * count + 2);
        self.add(LOAD, argument(n), 0, 0);
        for value in values {
            self.add(IF_EQUAL, *value, 0, 1);
            self.add(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
        }
        self.add(RETURN, REFUSE, 0, 0);
    }
}

/// The filter, and the indexes of the instructions whose constant is the program's own process number, to be filled in
/// when it is known. Absent on architectures whose numbers we do not know.
pub fn filter() -> Option<(Vec<sock_filter>, Vec<usize>)> {
    let mut program = Program(Vec::with_capacity(LONGEST));
    let mut own = Vec::new();
    program.add(LOAD, ARCH, 0, 0);
    program.add(IF_EQUAL, ARCHITECTURE?, 1, 0);
    program.add(RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0);
    program.add(LOAD, NUMBER, 0, 0);
    // The x32 calls of x86-64 have other numbers for the same things.
    program.add(IF_AT_LEAST, 0x4000_0000, 0, 1);
    program.add(RETURN, UNKNOWN, 0, 0);
    for number in ALLOWED {
        program.add(IF_EQUAL, Program::call(*number), 0, 1);
        program.add(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    }
    // Threads, never processes; and no namespaces with them.
    program.add(IF_EQUAL, Program::call(libc::SYS_clone), 0, 6);
    program.add(LOAD, argument(0), 0, 0);
    program.add(IF_BITS, 0x7e02_0000, 0, 1);
    program.add(RETURN, REFUSE, 0, 0);
    program.add(IF_BITS, libc::CLONE_THREAD as u32, 0, 1);
    program.add(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    program.add(RETURN, REFUSE, 0, 0);
    // Its flags are behind a pointer, which a filter cannot follow: the C library then uses clone.
    program.add(IF_EQUAL, Program::call(libc::SYS_clone3), 0, 1);
    program.add(RETURN, UNKNOWN, 0, 0);
    // Signals to itself.
    for number in [libc::SYS_kill, libc::SYS_tgkill] {
        own.push(program.0.len() + 2);
        program.allow_with(number, 0, &[0]);
    }
    let commands = [libc::TCGETS, libc::TIOCGWINSZ, libc::FIOCLEX, libc::FIONBIO, libc::FIONREAD];
    program.allow_with(libc::SYS_ioctl, 1, &commands.map(|command| command as u32));
    // Names of threads and of memory; nothing about rights.
    program.allow_with(
        libc::SYS_prctl,
        0,
        &[libc::PR_SET_NAME as u32, libc::PR_GET_NAME as u32, 0x5356_4d41],
    );
    // Its own limits, which it can only lower.
    own.push(program.0.len() + 4);
    program.allow_with(libc::SYS_prlimit64, 0, &[0, 0]);
    #[cfg(target_arch = "x86_64")]
    {
        program.add(IF_EQUAL, Program::call(libc::SYS_getrlimit), 0, 1);
        program.add(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    }
    program.add(RETURN, REFUSE, 0, 0);
    (program.0.len() <= LONGEST).then_some((program.0, own))
}
