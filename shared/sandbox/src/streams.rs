//! The pipes of a running program, until it ends.

use crate::{End, Ended, Limits};
use libc::{c_int, c_short};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

/// A pipe: the end to read from, the end to write to. Neither survives the start of a program.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: two file descriptors are written to the array, and are ours from then on.
    unsafe {
        match libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) {
            0 => Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A file without a name that holds `bytes` and that nobody can change.
pub fn sealed(bytes: &[u8]) -> io::Result<File> {
    // SAFETY: the name is null-terminated; the descriptor is ours.
    let mut file = unsafe {
        let made = libc::memfd_create(c"payload".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(made)
    };
    file.write_all(bytes)?;
    io::Seek::rewind(&mut file)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: file descriptor and flags only.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A child that is killed and waited for when it is dropped.
pub struct Running {
    pub pid: libc::pid_t,
    pub ended: bool,
}

impl Running {
    fn kill(&self) {
        // SAFETY: our own child, not waited for yet: the number is still its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
    }

    /// Waits for the end of the child.
    pub fn wait(&mut self) -> io::Result<End> {
        let mut status: c_int = 0;
        loop {
            // SAFETY: our own child; the status is written to.
            if unsafe { libc::waitpid(self.pid, &mut status, 0) } == self.pid {
                break;
            }
            let error = io::Error::last_os_error();
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
        }
        self.ended = true;
        Ok(if libc::WIFEXITED(status) {
            End::Exit(libc::WEXITSTATUS(status))
        } else {
            End::Signal(libc::WTERMSIG(status))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
            let _ = self.wait();
        }
    }
}

/// A child and our ends of its pipes: to its standard input; from its standard output, error and report.
pub struct Started {
    pub child: Running,
    pub stdin: Option<OwnedFd>,
    pub outputs: [Option<OwnedFd>; 3],
}

/// Feeds the child and reads what it says until it ends, has used up its time or its output, or nobody holds the other end
/// of `stop` any more.
pub fn attend(started: Started, input: &[u8], limits: &Limits, stop: Option<OwnedFd>) -> io::Result<Ended> {
    let Started { mut child, stdin, outputs } = started;
    let deadline = Instant::now() + limits.wall;
    // SAFETY: our own child; the new descriptor is ours.
    let watch = unsafe {
        let made = libc::syscall(libc::SYS_pidfd_open, child.pid, 0u32);
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(made as c_int)
    };
    for pipe in [&stdin, &outputs[0], &outputs[1], &outputs[2]].into_iter().flatten() {
        // SAFETY: file descriptor and flags only.
        unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    }
    let mut stdin = stdin.filter(|_| !input.is_empty()).map(File::from);
    let (mut sources, mut texts) =
        (outputs.map(|pipe| pipe.map(File::from)), [Vec::new(), Vec::new(), Vec::new()]);
    let mut fed = 0;
    let mut early = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            early = Some(End::TimeOut);
            break;
        }
        let entry =
            |fd: Option<c_int>, events: c_short| libc::pollfd { fd: fd.unwrap_or(-1), events, revents: 0 };
        let mut polled = [
            entry(Some(watch.as_raw_fd()), libc::POLLIN),
            entry(stdin.as_ref().map(AsRawFd::as_raw_fd), libc::POLLOUT),
            entry(sources[0].as_ref().map(AsRawFd::as_raw_fd), libc::POLLIN),
            entry(sources[1].as_ref().map(AsRawFd::as_raw_fd), libc::POLLIN),
            entry(sources[2].as_ref().map(AsRawFd::as_raw_fd), libc::POLLIN),
            entry(stop.as_ref().map(AsRawFd::as_raw_fd), libc::POLLIN),
        ];
        let wait = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
        // SAFETY: the array is as long as said.
        if unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, wait) } < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        if polled[1].revents != 0
            && let Some(to) = &mut stdin
        {
            match to.write(&input[fed..]) {
                Ok(written) => fed += written,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                // It does not want to hear more.
                Err(_) => fed = input.len(),
            }
            if fed == input.len() {
                stdin = None;
            }
        }
        let over = polled[0].revents != 0;
        for (n, (source, text)) in sources.iter_mut().zip(&mut texts).enumerate() {
            if (over || polled[n + 2].revents != 0) && !take(source, text, limits.output) {
                early = Some(End::TooMuchOutput);
            }
        }
        if over || early.is_some() {
            break;
        }
        if polled[5].revents != 0 {
            child.kill();
            break;
        }
    }
    if early.is_some() {
        child.kill();
    }
    let end = child.wait()?;
    let [stdout, stderr, report] = texts;
    Ok(Ended { end: early.unwrap_or(end), stdout, stderr, report })
}

/// Reads what is there; false where it is more than `most` bytes.
fn take(source: &mut Option<File>, text: &mut Vec<u8>, most: usize) -> bool {
    let mut piece = [0; 1 << 14];
    while let Some(from) = source {
        match from.read(&mut piece) {
            Ok(0) => *source = None,
            Ok(count) => {
                let room = most - text.len();
                text.extend_from_slice(&piece[..count.min(room)]);
                if count > room {
                    return false;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => *source = None,
        }
    }
    true
}
