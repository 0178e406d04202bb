//! What hostile programs try, and what comes of it. Every attack runs under every kind of sandbox that this system lends.

use r1_sandbox::{End, Ended, Interpreter, Job, Kind, Limits, Sandbox};
use std::path::Path;
use std::time::{Duration, Instant};

/// Every sandbox that can be had here; says so where there is none, and the test skips.
fn sandboxes() -> Vec<Sandbox> {
    let python = match Interpreter::python("python3") {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: {why}");
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for kind in [Kind::Namespaces, Kind::Filters] {
        match Sandbox::new(python.clone(), Some(kind)) {
            Ok(sandbox) => found.push(sandbox),
            Err(why) => println!("skipped: {why}"),
        }
    }
    found
}

fn limits() -> Limits {
    Limits { wall: Duration::from_secs(20), cpu_seconds: 5, memory: 512 << 20, ..Limits::default() }
}

fn job<'j>(arguments: &'j [&'j str], input: &'j [u8], payload: &'j [u8]) -> Job<'j> {
    Job { arguments, input, payload }
}

fn python(sandbox: &Sandbox, code: &str, limits: &Limits) -> Ended {
    sandbox.run(&job(&["-I", "-S", "-c", code], b"", b""), limits).expect("the program starts")
}

/// Runs code under every sandbox; each line that it prints must be one of `expected` … in order.
#[track_caller]
fn prints(code: &str, expected: &str) {
    for sandbox in sandboxes() {
        let ended = python(&sandbox, code, &limits());
        let said = String::from_utf8_lossy(&ended.stdout);
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((said.trim(), ended.end), (expected, End::Exit(0)), "{}: {errors}", sandbox.kind());
    }
}

/// Tries each of some Python expressions; all must fail.
#[track_caller]
fn all_fail(preamble: &str, attempts: &[&str]) {
    let tries: String = attempts
        .iter()
        .map(|attempt| format!("try:\n  {attempt}\n  print('DONE', {attempt:?})\nexcept OSError: pass\n"))
        .collect();
    prints(&format!("{preamble}\n{tries}print('end')"), "end");
}

#[test]
fn a_good_program_runs() {
    for sandbox in sandboxes() {
        println!("{}", sandbox.kind());
        let code = "import os, sys, json, threading, math, random, decimal\n\
            t = threading.Thread(target=lambda: print('thread')); t.start(); t.join()\n\
            print(input() + os.read(3, 99).decode()); os.write(4, b'report'); sys.exit(3)";
        let ended =
            sandbox.run(&job(&["-I", "-S", "-c", code], b"in \n", b"payload"), &limits()).expect("it starts");
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.end, End::Exit(3), "{errors}");
        assert_eq!((&ended.stdout[..], &ended.report[..]), (&b"thread\nin payload\n"[..], &b"report"[..]));
        let long = vec![b'x'; 1 << 20];
        let ended = sandbox
            .run(&job(&["-I", "-S", "-c", "print(len(input()))"], &long, b""), &limits())
            .expect("it starts");
        assert_eq!(&ended.stdout[..], b"1048576\n");
    }
}

#[test]
fn a_writable_place_is_small_and_goes_away() {
    for sandbox in sandboxes().into_iter().filter(|sandbox| sandbox.kind() == Kind::Namespaces) {
        let code = "import os\nprint(os.listdir('/tmp'))\nopen('/tmp/a', 'w').write('x')\n\
            try:\n  for n in range(100): open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))\n\
            except OSError as e: print(e.strerror)\n\
            try:\n  for n in range(10000): open(f'/tmp/f{n}', 'w')\n\
            except OSError as e: print('files')";
        for _ in 0..2 {
            let ended = python(&sandbox, code, &limits());
            let said = String::from_utf8_lossy(&ended.stdout).into_owned();
            assert_eq!(
                said,
                "[]\nNo space left on device\nfiles\n",
                "{}",
                String::from_utf8_lossy(&ended.stderr)
            );
        }
    }
}

#[test]
fn no_processes_are_made() {
    all_fail(
        "import os, ctypes, subprocess",
        &[
            "os.fork()",
            "os.forkpty()",
            "os.posix_spawn('/bin/sh', ['sh'], {})",
            "subprocess.run(['/bin/sh', '-c', 'true'])",
            "os.system('true') == 0 or (_ for _ in ()).throw(OSError())",
        ],
    );
    // A fork bomb, with its errors ignored, ends by the clock or the processor time; the next program does not feel it.
    for sandbox in sandboxes() {
        let bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass";
        let ended = python(&sandbox, bomb, &Limits { wall: Duration::from_secs(1), ..limits() });
        assert_eq!(ended.end, End::TimeOut);
        assert_eq!(python(&sandbox, "print(1)", &limits()).end, End::Exit(0));
    }
}

#[test]
fn raw_system_calls_are_refused_too() {
    // By number, around the interpreter: clone with new namespaces, clone3, vfork, unshare, setns, mount, pivot_root, ptrace,
    // process_vm_readv, bpf, io_uring_setup, userfaultfd, keyctl, perf_event_open, memfd_create, open_by_handle_at, socket,
    // kill(-1), setuid, chroot, reboot, init_module, pidfd_open, name_to_handle_at, one by its x32 number; ioctl(TIOCSTI) and
    // (FIOSETOWN), prctl(PR_SET_DUMPABLE) and (PR_SET_KEEPCAPS), prlimit64, tgkill and tkill of others, chmod, fchmod, fchmodat, chown,
    // setrlimit, link, mknod, mknodat, seccomp, pidfd_send_signal. The filter says EPERM or ENOSYS; any other error would be the
    // kernel's own, of a call that it was given.
    if !cfg!(target_arch = "x86_64") {
        println!("skipped: the numbers are those of x86-64");
        return;
    }
    let code = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n\
        for number, *a in [(56, 0x10000011), (56, 0x10010900, 0), (56, 0x11), (435, 0, 0), (58,), (57,), (272, 0x10000000), (308, 0, 0), (165, 0, 0, 0, 0, 0),\n\
            (155, 0, 0), (101, 0, 0, 0, 0), (310, 1, 0, 0, 0, 0, 0), (321, 0, 0, 0), (425, 1, 0), (323, 0), (250, 0, 0),\n\
            (298, 0, 0, -1, -1, 0), (319, 0, 0), (304, 0, 0, 0), (41, 2, 1, 0), (41, 1, 1, 0), (41, 16, 3, 0), (62, -1, 9), (62, 0, 9),\n\
            (105, 0), (161, 0), (169, 0, 0, 0, 0), (175, 0, 0, 0), (434, 1, 0), (303, 0, 0, 0, 0, 0), (0x40000000 + 57,),\n\
            (16, 0, 0x5412, 0), (16, 1, 0x8901, 0), (157, 4, 1), (157, 8, 1), (302, 2, 7, 0, 0), (234, 2, 2, 9), (200, 2, 9), (90, 0, 0o777), (91, 1, 0o777),\n\
            (268, -100, 0, 0o777), (92, 0, 0, 0), (160, 7, 0), (86, 0, 0), (133, 0, 0, 0), (259, -100, 0, 0, 0), (317, 0, 0, 0), (424, 0, 9, 0, 0)]:\n\
        \x20 done = libc.syscall(number, *a)\n\
        \x20 if done >= 0 or ctypes.get_errno() not in (1, 38): print('DONE', number, a, done, ctypes.get_errno())\n\
        print('end')";
    prints(code, "end");
}

#[test]
fn the_network_is_not_there() {
    all_fail(
        "import socket",
        &[
            "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
            "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
            "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "socket.create_connection(('127.0.0.1', 22), 1)",
            "socket.getaddrinfo('localhost', 80)",
        ],
    );
}

#[test]
fn files_of_the_system_are_out_of_reach() {
    let directory = std::env::temp_dir().join(format!("r1-sandbox-attack-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    let secret = directory.join("secret");
    std::fs::write(&secret, "secret").expect("a file can be written");
    let secret = secret.to_str().expect("a path in UTF-8");
    let attempts = [
        "open('/etc/passwd').read()".to_string(),
        "open('/proc/self/environ').read()".to_string(),
        "open('/proc/1/maps').read()".to_string(),
        "open('/proc/self/mem', 'r+b')".to_string(),
        "open('/proc/sys/kernel/core_pattern', 'w')".to_string(),
        "open('/sys/kernel/uevent_helper', 'w')".to_string(),
        "open('/dev/mem', 'rb')".to_string(),
        "os.listdir('/home')".to_string(),
        "os.listdir('/etc')".to_string(),
        format!("open({secret:?}).read()"),
        format!("open({secret:?}, 'w')"),
        format!("os.unlink({secret:?})"),
        format!("os.symlink({secret:?}, '/tmp/link'); open('/tmp/link').read()"),
        format!("os.symlink('/', '/tmp/root'); open('/tmp/root' + {secret:?}).read()"),
        format!("open('/../../../../..' + {secret:?}).read()"),
        format!("os.link({secret:?}, '/tmp/hard')"),
        "os.chroot('/tmp')".to_string(),
        "open('/escaped', 'w')".to_string(),
        "open('/usr/lib/escaped', 'w')".to_string(),
        "open(os.__file__, 'a')".to_string(),
        "os.remove(os.__file__)".to_string(),
        "os.chmod(os.__file__, 0o777)".to_string(),
        "os.mkdir('/usr/lib/escaped')".to_string(),
        "os.mknod('/tmp/device', 0o600 | 0o020000, os.makedev(1, 1))".to_string(),
        "os.setuid(0) or (_ for _ in ()).throw(OSError()) if os.getuid() else (_ for _ in ()).throw(OSError())"
            .to_string(),
    ];
    let attempts: Vec<&str> = attempts.iter().map(String::as_str).collect();
    all_fail("import os", &attempts);
    assert_eq!(std::fs::read_to_string(secret).expect("it is still there"), "secret");
    assert!(!Path::new("/escaped").exists() && !Path::new("/usr/lib/escaped").exists());
    std::fs::remove_dir_all(&directory).expect("it can be removed");
}

#[test]
fn nobody_else_is_there_to_be_seen_or_hurt() {
    let victim = std::process::id();
    let attack = format!("os.kill({victim}, 0)");
    all_fail(
        "import os, signal",
        &[&attack, "os.kill(-1, 9)", "os.killpg(0, 9)", "os.getpgid(1); os.kill(2, 9)"],
    );
    prints(
        "import os\nprint(sorted(k for k in os.environ if k in ('HOME', 'USER', 'R1_SECRET')))",
        "['HOME']",
    );
    for sandbox in sandboxes().into_iter().filter(|sandbox| sandbox.kind() == Kind::Namespaces) {
        let ended = python(
            &sandbox,
            "import os; print(os.getpid(), os.getuid() != 0, sorted(os.listdir('/')))",
            &limits(),
        );
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(said.starts_with("1 True ["), "{said}");
        assert!(!said.contains("proc") && !said.contains("etc") && !said.contains("dev"), "{said}");
    }
    // Open files of this process do not travel along.
    prints(
        "import os\nopen_ones = []\nfor n in range(5, 64):\n  try: os.fstat(n); open_ones.append(n)\n  except OSError: pass\nprint(open_ones)",
        "[]",
    );
}

#[test]
fn memory_time_and_output_are_bounded() {
    for sandbox in sandboxes() {
        let ended = python(&sandbox, "x = []\nwhile True: x.append(bytearray(1 << 24))", &limits());
        assert_eq!(ended.end, End::Exit(1));
        assert!(String::from_utf8_lossy(&ended.stderr).contains("MemoryError"));
        let begun = Instant::now();
        let sleeps = "import time, signal\nsignal.signal(15, signal.SIG_IGN)\nwhile True: time.sleep(100)";
        let ended = python(&sandbox, sleeps, &Limits { wall: Duration::from_millis(500), ..limits() });
        assert_eq!(ended.end, End::TimeOut);
        assert!(begun.elapsed() < Duration::from_secs(5));
        let ended = python(&sandbox, "while True: pass", &Limits { cpu_seconds: 1, ..limits() });
        assert_eq!(ended.end, End::Signal(9));
        let ended = python(&sandbox, "while True: print('x' * 1000)", &limits());
        assert_eq!((ended.end, ended.stdout.len()), (End::TooMuchOutput, 1 << 20));
        let ended = python(
            &sandbox,
            "import os\nos.write(4, b'y' * 50); os._exit(0)",
            &Limits { output: 49, ..limits() },
        );
        assert_eq!((ended.end, ended.report.len()), (End::TooMuchOutput, 49));
        // Threads that never end do not outlive it, and there are only so many.
        let threads = "import threading, time\ntry:\n  for n in range(1000): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n\
            except RuntimeError: print('no more')";
        let begun = Instant::now();
        assert_eq!(&python(&sandbox, threads, &limits()).stdout[..], b"no more\n");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let files = "import os\ntry:\n  for n in range(1000): os.dup(0)\nexcept OSError: print(n < 64)";
        assert_eq!(&python(&sandbox, files, &limits()).stdout[..], b"True\n");
        let crash = "import ctypes; ctypes.string_at(0)";
        assert_eq!(python(&sandbox, crash, &limits()).end, End::Signal(libc::SIGSEGV));
    }
}

#[test]
fn one_examines_another_and_outlives_it_never() {
    for sandbox in sandboxes() {
        let of = |code| [["-I", "-S", "-c", code]];
        let ask = of("import os\nprint('6 7', flush=True)\nos.write(4, input().encode())");
        let answer = of(
            "import os\na, b = input().split()\nos.write(4, b'%d\\n' % (int(a) * int(b)))\nwhile True: pass",
        );
        let begun = Instant::now();
        let (first, second) = sandbox
            .run_two(&job(&ask[0], b"", b""), &job(&answer[0], b"", b""), &limits())
            .expect("they start");
        assert_eq!((first.end, &first.report[..]), (End::Exit(0), &b"42"[..]), "{first:?}");
        assert_eq!((second.end, &second.report[..]), (End::Signal(9), &b""[..]));
        assert!(begun.elapsed() < Duration::from_secs(5));
        // Neither sees what the other is given, nor the other itself.
        let look = of(
            "import os\nfor n in range(2, 40):\n  try: os.kill(n, 0); print('DONE', n)\n  except OSError: pass\nprint(os.read(3, 99).decode(), flush=True)\nos.write(4, b'x\\n')",
        );
        let hear = of("import os\nos.write(4, os.read(0, 99))");
        let (first, _) = sandbox
            .run_two(&job(&hear[0], b"", b"secret"), &job(&look[0], b"", b"mine"), &limits())
            .expect("they start");
        assert_eq!(&first.report[..], b"x\n", "{first:?}");
        let gone = of("import os\nos._exit(3)");
        let wait = of("import sys\nsys.exit(len(sys.stdin.read()))");
        let (first, second) = sandbox
            .run_two(&job(&wait[0], b"", b""), &job(&gone[0], b"", b""), &limits())
            .expect("they start");
        assert_eq!((first.end, second.end), (End::Exit(0), End::Exit(3)));
    }
}

/// The processes of this system that have `marker` among their arguments, by what the system tells of each.
fn processes(marker: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("there is /proc");
    let of = |process: std::fs::DirEntry| {
        let arguments = std::fs::read(process.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&arguments).contains(marker).then_some(())?;
        std::fs::read_to_string(process.path().join("status")).ok()
    };
    all.flatten().filter_map(of).collect()
}

/// Waits until `true`, for a minute at most.
fn comes_true(mut of: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        if of() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn a_program_does_not_outlive_who_started_it() {
    // This test starts itself once more, as the one who starts a program and is killed.
    const ROLE: &str = "R1_SANDBOX_STARTER";
    if let Ok(role) = std::env::var(ROLE) {
        let (which, marker) = role.split_once(' ').expect("two words");
        let sandbox = sandboxes().remove(which.parse().expect("a number"));
        let sleeps = format!("import time\ntime.sleep(200) # {marker}");
        python(&sandbox, &sleeps, &Limits { wall: Duration::from_secs(300), ..limits() });
        return;
    }
    for (which, sandbox) in sandboxes().iter().enumerate() {
        let marker = format!("orphan-{}-{which}", std::process::id());
        let mut starter =
            std::process::Command::new(std::env::current_exe().expect("this program has a path"))
                .args(["--exact", "a_program_does_not_outlive_who_started_it"])
                .env(ROLE, format!("{which} {marker}"))
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("it starts");
        let mut told = Vec::new();
        let began = comes_true(|| {
            told = processes(&marker);
            told.len() == 1
        });
        starter.kill().expect("it can be killed");
        starter.wait().expect("it ends");
        assert!(began, "{}: the program has not begun", sandbox.kind());
        // It has no rights beyond its user's, can get none, and is filtered.
        for line in
            ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(told[0].contains(line), "{}: {line} in {}", sandbox.kind(), told[0]);
        }
        assert!(comes_true(|| processes(&marker).is_empty()), "{}: the program lives on", sandbox.kind());
    }
}

#[test]
fn many_run_beside_each_other() {
    for sandbox in sandboxes() {
        std::thread::scope(|scope| {
            for worker in 0..4u8 {
                let sandbox = &sandbox;
                scope.spawn(move || {
                    for round in 0..5u8 {
                        let code = format!("import threading\nprint({worker} * 100 + {round})");
                        let ended = python(sandbox, &code, &limits());
                        let expected = format!("{}\n", u32::from(worker) * 100 + u32::from(round));
                        assert_eq!(String::from_utf8_lossy(&ended.stdout), expected, "{ended:?}");
                    }
                });
            }
        });
    }
}

#[test]
fn what_is_not_there_is_refused() {
    assert!(Interpreter::python("/no/such/python").is_err());
    let missing = Interpreter::new("/no/such/interpreter", []);
    let refusal = Sandbox::new(missing, None).expect_err("nothing to start").to_string();
    assert!(refusal.contains("execve") && !refusal.contains('\n'), "{refusal}");
}
