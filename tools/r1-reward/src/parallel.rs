//! Work on many threads, results in order, memory bounded.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// `source` mapped by `work` on `threads` threads. The results come in the order of the source; at most a few items a
/// thread are under way at once. The source has a thread of its own, so that one that waits for more holds up nothing
/// that it has already given. Dropping the iterator lets the threads run out.
pub fn in_order<T: Send + 'static, R: Send + 'static>(
    threads: usize,
    source: impl Iterator<Item = T> + Send + 'static,
    work: impl Fn(T) -> R + Send + Sync + 'static,
) -> impl Iterator<Item = R> + Send {
    let under_way = 4 * threads;
    let (give, jobs) = sync_channel(under_way);
    let (line_up, line) = sync_channel::<Receiver<R>>(under_way);
    let (jobs, work) = (Arc::new(Mutex::new(jobs)), Arc::new(work));
    let mut crew: Vec<JoinHandle<()>> = (0..threads)
        .map(|_| {
            let (jobs, work) = (Arc::clone(&jobs), Arc::clone(&work));
            thread::spawn(move || {
                loop {
                    // The lock is held while waiting for a job, and released before doing it.
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((item, done)): Result<(T, std::sync::mpsc::SyncSender<R>), _> = job else { break };
                    // Whoever waits for it may have gone.
                    let _ = done.send(work(item));
                }
            })
        })
        .collect();
    crew.push(thread::spawn(move || {
        for item in source {
            let (done, result) = sync_channel(1);
            if give.send((item, done)).is_err() || line_up.send(result).is_err() {
                break;
            }
        }
    }));
    let mut line = Some(line);
    std::iter::from_fn(move || {
        if let Some(line) = &line
            && let Ok(result) = line.recv()
            && let Ok(result) = result.recv()
        {
            return Some(result);
        }
        // Nobody takes results any more: the source must not wait for room in the line, nor the crew for the source.
        line = None;
        // The end, or a thread that has panicked: then the end would be a lie.
        for member in crew.drain(..) {
            if let Err(panic) = member.join() {
                resume_unwind(panic);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn results_come_in_order_and_few_are_under_way() {
        for threads in [1, 2, 7] {
            let (begun, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let most = Arc::new(AtomicUsize::new(0));
            let source = {
                let (begun, ended, most) = (begun.clone(), ended.clone(), most.clone());
                (0..500u64).inspect(move |_| {
                    let now = begun.fetch_add(1, Ordering::SeqCst) + 1 - ended.load(Ordering::SeqCst);
                    most.fetch_max(now, Ordering::SeqCst);
                })
            };
            let results = in_order(threads, source, |n| {
                if n % 50 == 0 {
                    thread::sleep(std::time::Duration::from_millis(2));
                }
                n * n
            });
            for (n, result) in results.enumerate() {
                ended.fetch_add(1, Ordering::SeqCst);
                assert_eq!(result, (n * n) as u64);
            }
            assert_eq!(ended.load(Ordering::SeqCst), 500);
            assert!(most.load(Ordering::SeqCst) <= 10 * threads + 4, "{most:?} under way");
        }
    }

    #[test]
    #[should_panic(expected = "the seventh")]
    fn a_panic_is_not_taken_for_the_end() {
        let results = in_order(2, 0..100, |n| assert!(n != 7, "the seventh"));
        assert!(results.count() < 100);
    }
}
