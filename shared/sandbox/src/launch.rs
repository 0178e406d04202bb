//! Finds out what this system lends, and starts programs in it.

use crate::confine::{self, Plan};
use crate::streams::{Running, Started, attend, pipe, sealed};
use crate::{End, Ended, Interpreter, Job, Kind, Limits, Unavailable, filter, landlock};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A way to run programs that nobody trusts.
#[derive(Debug)]
pub struct Sandbox {
    interpreter: Interpreter,
    way: Way,
}

/// The ways to make the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Root takes the namespaces, then becomes a user that nothing else is.
    Root,
    /// Anyone takes them, within a user namespace.
    User,
    /// None are lent.
    Filters,
}

/// Where the new root is put together. Nothing that a program is shown can lie there.
const BASE: &CStr = c"/proc";
/// Threads that a program may have.
const THREADS: u64 = 64;

impl Sandbox {
    /// Tries to confine the interpreter: by the kind asked for, or by the strongest that works. Errors: no kind works here.
    pub fn new(interpreter: Interpreter, kind: Option<Kind>) -> Result<Sandbox, Unavailable> {
        let ways =
            [(Kind::Namespaces, Way::Root), (Kind::Namespaces, Way::User), (Kind::Filters, Way::Filters)];
        let mut sandbox = Sandbox { interpreter, way: Way::Filters };
        let mut reasons = Vec::new();
        for (of, way) in ways {
            // SAFETY: asks for a number.
            let is_root = unsafe { libc::geteuid() } == 0;
            if kind.is_some_and(|kind| kind != of) || (way == Way::Root && !is_root) {
                continue;
            }
            sandbox.way = way;
            // Every interpreter we know ends well when it is given an empty program.
            let nothing = Job { arguments: &["-c", ""], input: b"", payload: b"" };
            match sandbox.run(&nothing, &Limits::default()) {
                Ok(Ended { end: End::Exit(0), .. }) => return Ok(sandbox),
                Ok(ended) => {
                    let said = String::from_utf8_lossy(&ended.stderr).trim().replace('\n', " ");
                    reasons.push(format!("{of}: the interpreter does not start ({:?} {said})", ended.end));
                }
                Err(error) => reasons.push(format!("{of}: {error}")),
            }
        }
        Err(Unavailable(format!("this system lends no way to confine programs ({})", reasons.join("; "))))
    }

    /// What holds the programs.
    pub fn kind(&self) -> Kind {
        match self.way {
            Way::Root | Way::User => Kind::Namespaces,
            Way::Filters => Kind::Filters,
        }
    }

    /// Runs the interpreter. It may write a report to file descriptor 4. Safe to call from many threads. Errors: it could not
    /// be started or confined.
    pub fn run(&self, job: &Job<'_>, limits: &Limits) -> io::Result<Ended> {
        let started = self.start(job, limits, [None, None, None])?;
        attend(started, job.input, limits, None)
    }

    /// Runs the interpreter twice, beside each other, each time in a sandbox of its own: what the first writes to its standard
    /// output is the standard input of the second, and the second's report is the standard input of the first (the
    /// `input` of the jobs is not used). When the first ends, so does the second. Errors: as for [`Sandbox::run`].
    pub fn run_two(&self, first: &Job<'_>, second: &Job<'_>, limits: &Limits) -> io::Result<(Ended, Ended)> {
        let (ask, asked) = pipe().map(|(from, to)| (to, from))?;
        let (heard, answer) = pipe()?;
        let (stop, over) = pipe()?;
        let second = self.start(second, limits, [Some(asked), None, Some(answer)])?;
        let first = self.start(first, limits, [Some(heard), Some(ask), None])?;
        std::thread::scope(|scope| {
            let attended = scope.spawn(move || attend(second, b"", limits, Some(stop)));
            let first = attend(first, b"", limits, None);
            drop(over);
            let second = attended.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((first?, second?))
        })
    }

    /// Starts the interpreter, its standard input, output and report connected to what is given, else to pipes of ours.
    fn start(&self, job: &Job<'_>, limits: &Limits, given: [Option<OwnedFd>; 3]) -> io::Result<Started> {
        let Job { arguments, payload, .. } = *job;
        let [stdin, stdout, report] = given;
        let inward = |given: Option<OwnedFd>| match given {
            Some(end) => Ok((end, None)),
            None => pipe().map(|(from, to)| (from, Some(to))),
        };
        let outward = |given: Option<OwnedFd>| match given {
            Some(end) => Ok((end, None)),
            None => pipe().map(|(from, to)| (to, Some(from))),
        };
        let (stdin, to_stdin) = inward(stdin)?;
        let (stdout, from_stdout) = outward(stdout)?;
        let (stderr, from_stderr) = outward(None)?;
        let (report, from_report) = outward(report)?;
        let (told, tell) = pipe()?;
        let payload = sealed(payload)?;
        let executable = text(&self.interpreter.executable)?;
        let mut words = vec![executable.clone()];
        for argument in arguments {
            words.push(CString::new(*argument)?);
        }
        let environment =
            [c"PATH=/usr/bin:/bin", c"HOME=/tmp", c"LANG=C.UTF-8", c"PYTHONHASHSEED=0", c"OMP_NUM_THREADS=1"];
        let null_ended = |words: &mut dyn Iterator<Item = *const libc::c_char>| {
            words.chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let mut plan = self.plan(executable, limits)?;
        plan.arguments = null_ended(&mut words.iter().map(|word| word.as_ptr()));
        plan.environment = null_ended(&mut environment.iter().map(|word| word.as_ptr()));
        plan.streams = [
            stdin.as_raw_fd(),
            stdout.as_raw_fd(),
            stderr.as_raw_fd(),
            payload.as_raw_fd(),
            report.as_raw_fd(),
            tell.as_raw_fd(),
        ];
        let spaces = libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS;
        let flags = libc::SIGCHLD
            | match self.way {
                Way::Root => spaces,
                Way::User => spaces | libc::CLONE_NEWUSER,
                Way::Filters => 0,
            };
        // SAFETY: like fork: the child has a copy of our memory and one thread, makes only system calls, and never returns.
        let pid = unsafe {
            let pid = libc::syscall(libc::SYS_clone, flags as libc::c_ulong, 0usize, 0usize, 0usize, 0usize);
            if pid == 0 {
                confine::enter(&mut plan);
            }
            pid
        };
        if pid < 0 {
            let error = io::Error::last_os_error();
            return Err(io::Error::new(error.kind(), format!("clone: {error}")));
        }
        let child = Running { pid: pid as libc::pid_t, ended: false };
        drop((stdin, stdout, stderr, report, tell, payload));
        // Closed when the program starts; else it holds what failed.
        let mut failure = Vec::new();
        File::from(told).read_to_end(&mut failure)?;
        if let Some((number, step)) = failure.split_first_chunk::<4>() {
            let error = io::Error::from_raw_os_error(i32::from_le_bytes(*number));
            return Err(io::Error::new(error.kind(), format!("{}: {error}", String::from_utf8_lossy(step))));
        }
        Ok(Started { child, stdin: to_stdin, outputs: [from_stdout, from_stderr, from_report] })
    }

    /// Lays out what the child does.
    fn plan(&self, executable: CString, limits: &Limits) -> io::Result<Plan> {
        let Some((filter, own)) = filter::filter() else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "no system call filter for this architecture",
            ));
        };
        let base = Path::new(std::ffi::OsStr::from_bytes(BASE.to_bytes()));
        let inside = |path: &Path| base.join(path.strip_prefix("/").unwrap_or(path));
        let (mut directories, mut shown): (Vec<PathBuf>, Vec<_>) = (vec![base.join("tmp")], Vec::new());
        for path in &self.interpreter.readable {
            let directory = path.is_dir();
            let target = inside(path);
            let last = if directory { Some(target.as_path()) } else { target.parent() };
            let mut above: Vec<PathBuf> = last
                .into_iter()
                .flat_map(Path::ancestors)
                .take_while(|p| *p != base)
                .map(Path::to_path_buf)
                .collect();
            above.reverse();
            directories.extend(above);
            shown.push((text(path)?, text(&target)?, directory));
        }
        directories.sort();
        directories.dedup();
        let options = CString::new(format!("mode=1777,size={},nr_inodes=1024", limits.files.max(4096)))?;
        let writable = (limits.files > 0).then_some((text(&base.join("tmp"))?, options));
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed) % 64;
        // SAFETY: ask for numbers.
        let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
        let map = |id: u32| format!("65534 {id} 1\n").into_bytes();
        Ok(Plan {
            base: BASE,
            user_map: (self.way == Way::User).then(|| (map(user), map(group))),
            user: (self.way == Way::Root).then_some((1 << 30) + std::process::id() * 64 + run),
            directories: directories.iter().map(|path| text(path)).collect::<io::Result<_>>()?,
            shown,
            writable,
            landlock: (self.way == Way::Filters).then(landlock::version),
            limits: [
                (libc::RLIMIT_CPU, limits.cpu_seconds.max(1)),
                (libc::RLIMIT_AS, limits.memory),
                (libc::RLIMIT_FSIZE, limits.files),
                (libc::RLIMIT_NOFILE, 64),
                (libc::RLIMIT_CORE, 0),
                (libc::RLIMIT_MEMLOCK, 0),
                (libc::RLIMIT_MSGQUEUE, 0),
            ]
            .into_iter()
            // Without namespaces it would count what else the user runs.
            .chain((self.way != Way::Filters).then_some((libc::RLIMIT_NPROC, THREADS)))
            .map(|(resource, limit)| (resource as libc::c_uint, limit))
            .collect(),
            filter,
            own,
            executable,
            arguments: Vec::new(),
            environment: Vec::new(),
            streams: [0; 6],
        })
    }
}

/// A path for the system.
fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
