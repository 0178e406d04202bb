//! Many questions under way at once, the answers in the order of the questions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Result;

/// Does `ask(i, over)` for every number of `range`, up to `concurrency` at once, and `take(i, answer)` in their order, each as
/// soon as it and all before it are there. `over` is set when the rest is not wanted any more.
///
/// # Errors
/// The first error in time, of `ask` or `take`; or a signal. A request that is under way then is not waited for.
pub fn in_order<T: Send + 'static>(
    range: Range<usize>,
    concurrency: usize,
    ask: impl Fn(usize, &AtomicBool) -> Result<T> + Send + Sync + 'static,
    mut take: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let over = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicUsize::new(range.start));
    let ask = Arc::new(ask);
    let (send, receive) = mpsc::channel();
    for _ in 0..concurrency.min(range.len()) {
        let (over, next, ask, send, end) = (over.clone(), next.clone(), ask.clone(), send.clone(), range.end);
        // Not joined: a request may outlast a run that was stopped.
        std::thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let i = next.fetch_add(1, Ordering::SeqCst);
                if i >= end || send.send((i, ask(i, &over))).is_err() {
                    return;
                }
            }
        });
    }
    drop(send);
    let mut early: BTreeMap<usize, T> = BTreeMap::new();
    let mut wanted = range.start;
    let result = (|| {
        while wanted < range.end {
            match receive.recv_timeout(Duration::from_millis(100)) {
                Ok((i, answer)) => {
                    early.insert(i, answer?);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("a request ended without an answer"),
            }
            if r1_cli::signals::stop_requested() {
                return Err(r1_cli::stopped());
            }
            while let Some(answer) = early.remove(&wanted) {
                take(wanted, answer)?;
                wanted += 1;
            }
        }
        Ok(())
    })();
    over.store(true, Ordering::SeqCst);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_however_they_arrive() {
        for concurrency in [1, 3, 100] {
            let mut seen = Vec::new();
            let ask = |i: usize, _: &AtomicBool| {
                std::thread::sleep(Duration::from_millis((i as u64 * 7) % 5));
                Ok(i * i)
            };
            in_order(2..40, concurrency, ask, |i, answer| {
                assert_eq!(answer, i * i);
                seen.push(i);
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, (2..40).collect::<Vec<_>>());
        }
        in_order(5..5, 4, |_, _| Ok(()), |_, ()| unreachable!("nothing was asked")).unwrap();
    }

    #[test]
    fn an_error_ends_it_and_what_waits_is_told() {
        let told = Arc::new(AtomicBool::new(false));
        let seen = told.clone();
        let ask = move |i: usize, over: &AtomicBool| {
            if i == 3 {
                anyhow::bail!("the third");
            }
            while i > 3 && !over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            seen.fetch_or(i > 3, Ordering::SeqCst);
            Ok(i)
        };
        let error = in_order(0..9, 9, ask, |_, _| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "the third");
        for _ in 0..1000 {
            if told.load(Ordering::SeqCst) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the others wait for ever");
    }
}
