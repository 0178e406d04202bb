//! Both ends of a pipe at once.
//!
//! A filter that waits for input does not write, so it would never learn that its reader has left, nor would those before it: a
//! pipe whose last stage died would wait for ever if its first one waits for that stage (r1-rollout --follow for r1-grpo).

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::signals;

/// Standard output carries our rows: its reader matters.
static WRITES: AtomicBool = AtomicBool::new(false);
/// Reading was given up because of a signal.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long a signal may go unnoticed.
const MOMENT: libc::c_int = 200;

/// From now on the tool ends, exit 0 and without a word, when its reader leaves while it waits for input: as it does when it writes
/// to one that has left.
pub(crate) fn watch_reader() {
    WRITES.store(true, Ordering::SeqCst);
}

/// Whether reading was given up because of a signal.
pub(crate) fn was_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Asks for the state of standard input and output, waiting up to `time` milliseconds; gives whether something came.
fn poll(input: bool, output: bool, time: libc::c_int) -> [bool; 2] {
    let fd = |wanted: bool, fd: libc::c_int, events| libc::pollfd {
        fd: if wanted { fd } else { -1 },
        events,
        revents: 0,
    };
    // Nothing is asked of the output but what is told anyway: that it is broken.
    let mut fds = [fd(input, 0, libc::POLLIN), fd(output, 1, 0)];
    // SAFETY: the array lives through the call and has the length that is given.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), 2, time) };
    let broken = libc::POLLERR | libc::POLLHUP;
    [ready > 0 && fds[0].revents != 0, ready > 0 && fds[1].revents & broken != 0]
}

/// Whether standard output has no reader any more.
pub(crate) fn reader_has_left() -> bool {
    poll(false, true, 0)[1]
}

/// Returns when standard input has bytes, or its end, to be read.
///
/// # Errors
/// A signal has asked the tool to stop.
pub(crate) fn wait_for_input() -> io::Result<()> {
    loop {
        let writes = WRITES.load(Ordering::SeqCst);
        match poll(true, writes, MOMENT) {
            [true, _] => return Ok(()),
            [_, true] => signals::end_now(0),
            _ => {}
        }
        if signals::stop_requested() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            return Err(io::Error::other("stopped by a signal"));
        }
    }
}
