//! Disks, quotas and side files without room.

use super::*;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

/// Runs a tool whose files may have at most `limit` bytes, as `ulimit -f` does it.
fn run_limited(tool: &str, arguments: &[&str], stdin: &str, limit: u64) -> Outcome {
    let mut command = command(tool, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec only setrlimit is called, which may be called there.
    unsafe {
        command.pre_exec(move || {
            let bound = libc::rlimit { rlim_cur: limit, rlim_max: limit };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &bound) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    wait(command.spawn().expect("the tool can be started"), stdin.as_bytes())
}

#[test]
fn no_room_leaves_what_was_there() {
    for tool in uses(deepseek()) {
        let dir = scratch();
        let out = dir.path().join("out");
        let mut arguments: Vec<&str> = tool.flags.iter().map(String::as_str).collect();
        arguments.extend(["-q", "-o", out.to_str().unwrap()]);
        // Small rows for the filters, weights for the others.
        let limit = if tool.rows == advantaged() && tool.tool != "r1-grpo" { 40 } else { 100_000 };
        let limit = if tool.tool == "r1-rollout" { 40 } else { limit };
        let outcome = run_limited(tool.tool, &arguments, tool.rows, limit);
        outcome.refused(1, &["out", "File too large"]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}: {}", tool.tool, outcome.stderr);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{} left something", tool.tool);
    }
    // A policy that is trained in place stays whole.
    let dir = scratch();
    let policy = dir.path().join("policy");
    fs::create_dir(&policy).unwrap();
    let before = files(Path::new(deepseek()));
    before
        .iter()
        .filter(|(name, _)| name != "train.json")
        .for_each(|(name, bytes)| fs::write(policy.join(name), bytes).unwrap());
    let before = files(&policy);
    let name = policy.to_str().unwrap();
    run_limited("r1-grpo", &[name, "-", "-o", name, "-q"], advantaged(), 100_000)
        .refused(1, &["File too large"]);
    assert!(files(&policy) == before && fs::read_dir(dir.path()).unwrap().count() == 1);
}

#[test]
fn a_full_file_system_leaves_what_was_there() {
    // A small file system of our own, where this machine lets us have one: mounted in a name space that ends with the shell.
    let probe = std::process::Command::new("unshare").args(["-rm", "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("skipped: unshare -rm is not allowed here");
        return;
    }
    for tool in uses(deepseek())
        .iter()
        .filter(|tool| ["r1-sft", "r1-grpo", "r1-distill", "r1-init"].contains(&tool.tool))
    {
        let dir = scratch();
        let script = "mount -t tmpfs -o size=400k none \"$1\" || exit 77; \
            shift; \"$@\"; code=$?; ls -A \"$HERE\"; exit $code";
        let here = dir.path().to_str().unwrap();
        let out = format!("{here}/out");
        let mut command = std::process::Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, "sh", here]).arg(executable(tool.tool)).args(&tool.flags);
        command.args(["-q", "-o", &out]).env("HERE", here).current_dir(root());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let outcome = wait(command.spawn().expect("unshare can be started"), tool.rows.as_bytes());
        if outcome.code() == 77 {
            println!("skipped: no file system can be mounted here");
            return;
        }
        outcome.refused(1, &["out", "No space left"]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}: {}", tool.tool, outcome.stderr);
        assert_eq!(outcome.stdout, "", "{} left something", tool.tool);
    }
}

#[test]
fn side_files_without_room_are_named() {
    let full = |tool: &str, arguments: &[&str], rows: &str| {
        let mut all = arguments.to_vec();
        all.push("-q");
        let outcome = run(tool, &all, rows);
        outcome.refused(1, &["/dev/full", "No space left"]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    };
    if !Path::new("/dev/full").exists() {
        println!("skipped: this system has no /dev/full");
        return;
    }
    let dir = scratch();
    let out = dir.path().join("out").to_str().unwrap().to_string();
    full("r1-tasks", &["--count", "5", "-o", "/dev/full"], "");
    full("r1-advantage", &["--metrics", "/dev/full"], advantaged());
    full("r1-reject", &["--report", "/dev/full"], advantaged());
    full("r1-reward", &["--skip-bad", "/dev/full"], &format!("{}no row\n", advantaged()));
    full("r1-rollout", &[qwen(), "-", "--max-tokens", "1", "--metrics", "/dev/full"], &tasks(1));
    full("r1-sft", &[qwen(), "-", "-o", &out, "--max-steps", "1", "--metrics", "/dev/full"], examples());
    full("r1-grpo", &[qwen(), "-", "-o", &out, "--metrics", "/dev/full"], advantaged());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
