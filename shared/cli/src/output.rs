//! Where a tool writes: standard output, or a file that appears whole or not at all.

use crate::exit::{bad_input, misuse, reader_gone};
use crate::pipes;
use crate::signals;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// `-o FILE`: a file, or standard output.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Output {
    /// File to write, which appears only when it is whole; `-` or nothing is standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output_file: Option<PathBuf>,
}

impl Output {
    /// The file, unless it is standard output.
    pub fn path(&self) -> Option<&Path> {
        self.output_file.as_deref().filter(|file| *file != Path::new("-"))
    }

    /// Opens it. Errors (exit 2): the directory is not there, or cannot be written to.
    pub fn create(&self) -> anyhow::Result<Sink> {
        match self.path() {
            None => {
                pipes::watch_reader();
                Ok(Sink::Standard(BufWriter::with_capacity(1 << 16, io::stdout())))
            }
            Some(path) => Ok(Sink::File(AtomicFile::create(path)?)),
        }
    }
}

/// An open [`Output`].
#[derive(Debug)]
pub enum Sink {
    /// Standard output.
    Standard(BufWriter<io::Stdout>),
    /// A file that is not there yet.
    File(AtomicFile),
}

impl Sink {
    /// The end of a group, or of whatever the next tool in a pipe can begin to work on: hands it on.
    pub fn flush_group(&mut self) -> anyhow::Result<()> {
        let result = match self {
            Sink::Standard(out) => out.flush(),
            Sink::File(_) => Ok(()),
        };
        self.judge(result)
    }

    /// Ends the tool quietly, as a write would, where whoever reads standard output has left: for a tool that waits with nothing
    /// to write.
    pub fn check_reader(&self) -> anyhow::Result<()> {
        match self {
            Sink::Standard(_) if pipes::reader_has_left() => Err(reader_gone()),
            _ => Ok(()),
        }
    }

    /// Writes bytes, with the failure named: the error to return from a tool.
    pub fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let result = self.write_all(bytes);
        self.judge(result)
    }

    /// Writes one line and its end.
    pub fn line(&mut self, text: &str) -> anyhow::Result<()> {
        let result = self.write_all(text.as_bytes()).and_then(|()| self.write_all(b"\n"));
        self.judge(result)
    }

    /// Writes a line that the next stage waits for.
    pub fn mark(&mut self, text: &str) -> anyhow::Result<()> {
        self.line(text)?;
        self.flush_group()
    }

    /// Turns the result of writing through [`Write`] into a tool's result: a reader who has left ends the tool quietly, and a
    /// full disk is named.
    pub fn judge<T>(&self, result: io::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| match self {
            Sink::Standard(_) if error.kind() == io::ErrorKind::BrokenPipe => reader_gone(),
            Sink::Standard(_) => failure(Path::new("stdout"), error),
            Sink::File(file) => file.failure(error),
        })
    }

    /// Everything is written: flushes standard output, or brings the file to the disk and under its name.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.flush_group()?;
        match self {
            Sink::Standard(_) => Ok(()),
            Sink::File(file) => file.publish(),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Standard(out) => out.write(bytes),
            Sink::File(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::Standard(out) => out.flush(),
            Sink::File(out) => out.flush(),
        }
    }
}

/// A file under a temporary sibling name until [`AtomicFile::publish`]: synced, then renamed into place. Dropped before that,
/// or ended by a signal, it leaves nothing behind, and whatever stood under the name stays. A target that is no plain file
/// (`/dev/null`, a named pipe) is written to directly.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    temporary: Option<PathBuf>,
    out: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Opens the temporary sibling of `target`. A symbolic link is followed; the permissions of a file that is replaced stay.
    /// Leftovers of runs that were killed are removed.
    pub fn create(target: impl AsRef<Path>) -> anyhow::Result<Self> {
        let given = target.as_ref();
        let refuse = |error: io::Error| {
            bad_input(given.display(), error, "see that its directory is there and writable")
        };
        let target = fs::canonicalize(given).unwrap_or_else(|_| given.to_path_buf());
        let old = fs::metadata(&target).ok();
        match &old {
            Some(meta) if meta.is_dir() => {
                return Err(bad_input(given.display(), "is a directory", "name a file to write"));
            }
            Some(meta) if !meta.is_file() => {
                let file = OpenOptions::new().write(true).open(&target).map_err(refuse)?;
                return Ok(Self {
                    target,
                    temporary: None,
                    out: Some(BufWriter::with_capacity(1 << 16, file)),
                });
            }
            _ => {}
        }
        let Some(name) = target.file_name() else {
            return Err(misuse(format!("{} names no file", given.display()), "name a file to write"));
        };
        remove_leftovers(&target);
        let mut sibling = OsString::from(".");
        sibling.push(name);
        sibling.push(format!(".writing-{}", std::process::id()));
        let temporary = target.with_file_name(sibling);
        let file = File::create(&temporary).map_err(refuse)?;
        if let Some(meta) = old {
            // Best effort: on some file systems permissions cannot be set, and the rows matter more.
            let _ = file.set_permissions(meta.permissions());
        }
        signals::remove_when_killed(&temporary);
        Ok(Self { target, temporary: Some(temporary), out: Some(BufWriter::with_capacity(1 << 16, file)) })
    }

    /// The file that will appear.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The error to return when writing has failed (exit 1): names the file, the fact and the remedy.
    pub fn failure(&self, error: io::Error) -> anyhow::Error {
        failure(&self.target, error)
    }

    /// Writes what is buffered, brings it to the disk, and gives it its name.
    pub fn publish(mut self) -> anyhow::Result<()> {
        let Some(mut out) = self.out.take() else { return Ok(()) };
        out.flush().map_err(|error| self.failure(error))?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        out.get_ref().sync_all().map_err(|error| self.failure(error))?;
        drop(out);
        fs::rename(temporary, &self.target).map_err(|error| self.failure(error))?;
        signals::keep(temporary);
        self.temporary = None;
        let parent =
            self.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The rename itself is on the disk once its directory is; file systems that cannot sync a directory need no more.
        if let Ok(directory) = File::open(parent) {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Err(io::ErrorKind::NotConnected.into()), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            if let Some(out) = self.out.take() {
                // What is still buffered must not be written to a file that goes away.
                let _ = out.into_parts();
            }
            let _ = fs::remove_file(&temporary);
            signals::keep(&temporary);
        }
    }
}

/// Writes a whole file through [`AtomicFile`].
pub fn write_atomically(target: impl AsRef<Path>, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = AtomicFile::create(target)?;
    file.write_all(bytes).map_err(|error| file.failure(error))?;
    file.publish()
}

/// A failed write, with its remedy.
fn failure(target: &Path, error: io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room and run the same command again"
        }
        _ => "see that the place can be written to and run the same command again",
    };
    anyhow::Error::msg(format!("{}: cannot be written: {error}; {remedy}", target.display()))
}

/// Removes temporary siblings of `target` whose process is gone.
fn remove_leftovers(target: &Path) {
    let (Some(name), Some(parent)) = (target.file_name().and_then(|name| name.to_str()), target.parent())
    else {
        return;
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let prefix = format!(".{name}.writing-");
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(pid) = file.to_str().and_then(|file| file.strip_prefix(&prefix)) else { continue };
        if pid.parse::<i32>().is_ok_and(|pid| pid > 0 && !signals::is_running(pid)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("rows.jsonl");
        fs::write(&target, "old").unwrap();
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(
            (fs::read_to_string(&target).unwrap().as_str(), names(directory.path()).len()),
            ("old", 1)
        );
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"whole").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
        file.publish().unwrap();
        assert_eq!(
            (fs::read_to_string(&target).unwrap().as_str(), names(directory.path()).len()),
            ("whole", 1)
        );
    }

    #[test]
    fn leftovers_of_dead_processes_go_away() {
        let directory = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let ours = format!(".a.writing-{}", std::process::id());
        for name in
            [format!(".a.writing-{dead}"), format!(".b.writing-{dead}"), format!(".a.writing-{dead}x")]
        {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let file = AtomicFile::create(directory.path().join("a")).unwrap();
        let mut expected = vec![ours, format!(".a.writing-{dead}x"), format!(".b.writing-{dead}")];
        expected.sort();
        assert_eq!(names(directory.path()), expected);
        drop(file);
    }

    #[test]
    fn links_are_followed_and_permissions_stay() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_atomically(&link, b"after").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "after");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn places_that_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        assert!(AtomicFile::create(directory.path()).unwrap_err().to_string().contains("is a directory"));
        assert!(
            AtomicFile::create(directory.path().join("none/x")).unwrap_err().to_string().contains("none/x")
        );
        if Path::new("/dev/full").exists() {
            let error = write_atomically("/dev/full", b"x").unwrap_err().to_string();
            assert!(error.contains("/dev/full") && error.contains("make room"), "{error}");
        }
    }
}
