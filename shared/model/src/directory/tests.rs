//! The writer is killed (SIGKILL to a real process) after each of its steps; what remains must be whole and recoverable.

use std::process::Command;

use super::*;

/// A fresh directory below the system's temporary directory, removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn of(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("r1-directory-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fill(writer: &DirectoryWriter, text: &str) {
    fs::write(writer.path().join("config.json"), text).unwrap();
    fs::write(writer.path().join("model.safetensors"), text.repeat(1000)).unwrap();
}

fn content(target: &Path) -> Option<String> {
    let text = fs::read_to_string(target.join("config.json")).ok()?;
    assert_eq!(
        fs::read_to_string(target.join("model.safetensors")).unwrap(),
        text.repeat(1000),
        "half a directory"
    );
    Some(text)
}

fn leftovers(parent: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(parent).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|n| n.starts_with('.'));
    names
}

#[test]
fn a_published_directory_replaces_the_old_one_on_both_ways() {
    let scratch = Scratch::of("publish");
    let target = scratch.0.join("a/b/policy");
    for (text, exchange) in [("one", true), ("two", true), ("three", false)] {
        let writer = DirectoryWriter::create(&target).unwrap();
        fill(&writer, text);
        writer.publish_by(exchange, &mut |_| {}).unwrap();
        assert_eq!(content(&target).as_deref(), Some(text));
        assert_eq!(leftovers(target.parent().unwrap()), Vec::<String>::new());
    }
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let scratch = Scratch::of("drop");
    let target = scratch.0.join("policy");
    let writer = DirectoryWriter::create(&target).unwrap();
    fill(&writer, "one");
    assert!(DirectoryWriter::create(&target).is_err(), "two writers of one target in one process");
    drop(writer);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
}

#[test]
fn a_link_is_followed_and_a_file_is_refused() {
    let scratch = Scratch::of("link");
    let (real, link) = (scratch.0.join("real"), scratch.0.join("link"));
    let writer = DirectoryWriter::create(&real).unwrap();
    fill(&writer, "one");
    writer.publish().unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let writer = DirectoryWriter::create(&link).unwrap();
        fill(&writer, "two");
        writer.publish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(content(&real).as_deref(), Some("two"));
    }
    let file = scratch.0.join("file");
    fs::write(&file, "x").unwrap();
    let error = DirectoryWriter::create(&file).unwrap_err().to_string();
    assert!(error.contains("not a directory"), "{error}");
}

#[test]
fn a_directory_that_is_no_policy_is_not_replaced() {
    let scratch = Scratch::of("foreign");
    let target = scratch.0.join("thesis");
    fs::create_dir(&target).unwrap();
    drop(DirectoryWriter::create(&target).unwrap());
    fs::write(target.join("chapter-1.tex"), "x").unwrap();
    let error = DirectoryWriter::create(&target).unwrap_err().to_string();
    assert!(error.contains("would lose chapter-1.tex"), "{error}");
    assert!(target.join("chapter-1.tex").exists());
}

/// Not a test of its own: the process that [`a_kill_at_every_step_leaves_a_whole_directory`] starts and that kills itself.
#[test]
fn killed_child() {
    let Ok(job) = std::env::var("R1_DIRECTORY_TEST") else { return };
    let [target, exchange, moment] = job.split('|').collect::<Vec<_>>().try_into().unwrap();
    let writer = DirectoryWriter::create(Path::new(target)).unwrap();
    fill(&writer, "new");
    writer
        .publish_by(exchange == "true", &mut |reached| {
            if format!("{reached:?}") == moment {
                // SAFETY: kills this process, which is what the test asks for.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
                std::thread::sleep(std::time::Duration::from_secs(60));
            }
        })
        .unwrap();
}

#[cfg(unix)]
#[test]
fn a_kill_at_every_step_leaves_a_whole_directory() {
    use Moment::*;
    use std::os::unix::process::ExitStatusExt;
    let scratch = Scratch::of("kill");
    /// Moments, and whose content is there after a kill at each.
    type Kills = &'static [(Moment, &'static str)];
    let cases: [(bool, bool, Kills); 3] = [
        (false, true, &[(Written, ""), (Flushed, ""), (Renamed, "new")]),
        (true, true, &[(Written, "old"), (Flushed, "old"), (Exchanged, "new"), (OldRemoved, "new")]),
        (
            true,
            false,
            &[
                (Written, "old"),
                (Flushed, "old"),
                (OldSetAside, "old"),
                (Renamed, "new"),
                (OldRemoved, "new"),
            ],
        ),
    ];
    for (exists, exchange, moments) in cases {
        if exchange && exists && !cfg!(target_os = "linux") {
            continue;
        }
        for (moment, expected) in moments {
            let place = scratch.0.join(format!("{exists}-{exchange}-{moment:?}"));
            let target = place.join("policy");
            fs::create_dir(&place).unwrap();
            if exists {
                let writer = DirectoryWriter::create(&target).unwrap();
                fill(&writer, "old");
                writer.publish().unwrap();
            }
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "directory::tests::killed_child", "--nocapture"])
                .env("R1_DIRECTORY_TEST", format!("{}|{exchange}|{moment:?}", target.display()))
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(libc::SIGKILL), "{moment:?} was not reached");
            recover(&target).unwrap();
            let label = format!("{exists} {exchange} {moment:?}");
            assert_eq!(content(&target).unwrap_or_default(), *expected, "{label}");
            assert_eq!(leftovers(&place), Vec::<String>::new(), "{label}");
            // And the same command run again ends as if nothing had happened.
            let writer = DirectoryWriter::create(&target).unwrap();
            fill(&writer, "again");
            writer.publish_by(exchange, &mut |_| {}).unwrap();
            assert_eq!(content(&target).as_deref(), Some("again"));
        }
    }
}

#[test]
fn a_living_writer_is_not_disturbed_and_a_reused_process_id_does_not_save_a_dead_one() {
    let scratch = Scratch::of("living");
    let target = scratch.0.join("policy");
    // Process 1 lives, but does not hold the lock: the directory is a dead writer's whose number was used again.
    let dead = sibling(&target, "writing-1");
    fs::create_dir(&dead).unwrap();
    recover(&target).unwrap();
    assert!(!dead.exists());
    // A lock held elsewhere (another open description counts as another process) means that somebody writes.
    fs::create_dir(&dead).unwrap();
    let lock = File::open(&dead).unwrap();
    lock.lock().unwrap();
    let error = DirectoryWriter::create(&target).unwrap_err().to_string();
    assert!(error.contains("process 1 is writing it"), "{error}");
    drop(lock);
    drop(DirectoryWriter::create(&target).unwrap());
    assert!(!dead.exists());
}

#[test]
fn a_file_is_whole_or_absent() {
    let scratch = Scratch::of("file");
    let path = scratch.0.join("x.json");
    write_json(&path, &serde_json::json!({"a": 1})).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"a\": 1\n}\n");
    let failed = write_file(&path, |out| {
        out.write_all(b"half")?;
        bail!("stopped")
    });
    assert!(failed.is_err());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"a\": 1\n}\n");
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
}
