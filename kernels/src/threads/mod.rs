//! Our own small pool of worker threads: `parallel(tasks, f)` runs `f(0) … f(tasks - 1)`, each exactly once.
//!
//! Matrix products of a small policy last microseconds, so handing out work must not cost more. Workers spin for
//! [`SPIN`] after their last job and only then sleep; the caller works too and never waits for a worker that has
//! not started. Which thread runs which task is left to chance: an op whose result could depend on it is wrong.
//!
//! A job is opened and closed through one atomic word (open bit, number of workers inside, epoch). A worker enters
//! by raising the count while the bit is set; the caller closes the word when no task is left and waits until the
//! count is zero, so a job's closure outlives everybody who can see it.

mod shared;
#[cfg(test)]
mod tests;

pub use shared::SharedMut;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// How long an idle worker stays awake after its last job.
const SPIN: Duration = Duration::from_micros(80);
/// More threads than this are refused: the count of workers inside a job has 15 bits.
const MOST: usize = 1024;

const OPEN: u64 = 1;
const INSIDE: u64 = 2;
const INSIDE_MASK: u64 = 0xfffe;
const EPOCH: u64 = 1 << 16;

/// The wanted number of threads; 0 stands for "not set".
static WANTED: AtomicUsize = AtomicUsize::new(0);
static POOL: OnceLock<Pool> = OnceLock::new();

thread_local! {
    /// True while this thread runs a task: whatever it starts from there runs inline.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// Sets the number of threads (the caller's included). Meant to be called once at start; a later call holds for
/// the jobs after it. Results do not depend on it.
///
/// ```
/// use r1_kernels::threads;
/// assert!(threads::count() > 0);
/// threads::set(3);
/// assert_eq!(threads::count(), 3);
/// ```
///
/// # Panics
/// When `n` is 0 or above 1024.
pub fn set(n: usize) {
    assert!((1..=MOST).contains(&n), "threads: {n} is not in 1..={MOST}");
    WANTED.store(n, Ordering::Relaxed);
}

/// The number of threads that [`parallel`] uses: what [`set`] said, else the cores available to this process.
pub fn count() -> usize {
    match WANTED.load(Ordering::Relaxed) {
        0 => {
            let n = std::thread::available_parallelism().map_or(1, |n| n.get()).min(MOST);
            // A `set` that came in between wins.
            let _ = WANTED.compare_exchange(0, n, Ordering::Relaxed, Ordering::Relaxed);
            WANTED.load(Ordering::Relaxed)
        }
        n => n,
    }
}

/// Runs `f(0) … f(tasks - 1)`, each once, on up to [`count`] threads, and returns when all are done.
///
/// Tasks are handed out one at a time in ascending order. Called from inside a task, or while another thread's job
/// holds the pool, it runs everything on the calling thread.
///
/// # Panics
/// With the payload of the first task that panicked; the tasks not yet begun are dropped.
pub fn parallel(tasks: usize, f: impl Fn(usize) + Sync) {
    if tasks <= 1 || count() == 1 || IN_TASK.get() {
        (0..tasks).for_each(f);
        return;
    }
    let pool = POOL.get_or_init(Pool::default);
    match pool.turn.try_lock() {
        Ok(mut spawned) => pool.run(tasks, &f, &mut spawned),
        Err(_) => (0..tasks).for_each(f),
    }
}

/// What the workers need to know of a job; the pointer is a `&(dyn Fn(usize) + Sync)` without its lifetime.
#[derive(Clone, Copy)]
struct Job {
    f: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

#[derive(Default)]
struct Pool {
    /// Held by the thread whose job is running; counts the workers spawned so far.
    turn: Mutex<usize>,
    state: AtomicU64,
    /// Workers with an index below this may enter.
    helpers: AtomicUsize,
    next: AtomicUsize,
    /// Written by the holder of `turn` while the state is closed and empty, read by workers inside.
    job: UnsafeCell<Option<Job>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    bell: Condvar,
}

// SAFETY: `job` is the only field that is not Sync by itself; the protocol of `state` orders its writes before its
// reads, and the closure behind it is Sync.
unsafe impl Sync for Pool {}
// SAFETY: as above; a Pool only ever lives in a static.
unsafe impl Send for Pool {}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Pool {
    fn run(&'static self, tasks: usize, f: &(dyn Fn(usize) + Sync), spawned: &mut usize) {
        let helpers = (count() - 1).min(tasks - 1);
        while *spawned < helpers {
            let index = *spawned;
            let thread = std::thread::Builder::new().name(format!("r1-{index}"));
            if thread.spawn(move || self.work(index)).is_err() {
                break; // The machine gives no more threads: those that stand, and the caller, do the work.
            }
            *spawned += 1;
        }
        // SAFETY: the lifetime is only erased; `run` does not return before the job is closed and left by all.
        let f: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(f) };
        let job = Job { f, tasks };
        // SAFETY: we hold `turn` and the state is closed with nobody inside, so no worker reads `job` now.
        unsafe { *self.job.get() = Some(job) };
        self.next.store(0, Ordering::Relaxed);
        self.helpers.store(helpers, Ordering::Relaxed);
        let epoch = (self.state.load(Ordering::Relaxed) & !(EPOCH - 1)).wrapping_add(EPOCH);
        self.state.store(epoch | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _bed = hold(&self.bed);
            self.bell.notify_all();
        }
        self.take_tasks(job);
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut turns = 0u32;
        while self.state.load(Ordering::Acquire) & INSIDE_MASK != 0 {
            turns += 1;
            if turns < 4096 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let payload = hold(&self.panic).take();
        if let Some(payload) = payload {
            resume_unwind(payload);
        }
    }

    /// Takes and runs tasks until none is left.
    fn take_tasks(&self, job: Job) {
        IN_TASK.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: `run` keeps the closure alive until everybody inside has left.
            let f = unsafe { &*job.f };
            loop {
                let task = self.next.fetch_add(1, Ordering::Relaxed);
                if task >= job.tasks {
                    break;
                }
                f(task);
            }
        }));
        IN_TASK.set(false);
        if let Err(payload) = outcome {
            self.next.store(job.tasks, Ordering::Relaxed);
            hold(&self.panic).get_or_insert(payload);
        }
    }

    /// The life of worker `index`.
    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            let epoch = self.enter(index, seen);
            // SAFETY: we are inside, so `job` was written before the state was opened and is not written now.
            if let Some(job) = unsafe { *self.job.get() } {
                self.take_tasks(job);
            }
            self.state.fetch_sub(INSIDE, Ordering::Release);
            seen = epoch;
        }
    }

    /// Waits for an open job that this worker has not seen and may enter; enters it and returns its epoch.
    fn enter(&self, index: usize, seen: u64) -> u64 {
        let mut began = None;
        loop {
            for _ in 0..64 {
                if let Some(epoch) = self.try_enter(index, seen) {
                    return epoch;
                }
                std::hint::spin_loop();
            }
            if began.get_or_insert_with(Instant::now).elapsed() < SPIN {
                continue;
            }
            let mut bed = hold(&self.bed);
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            // The caller opens the state and then looks at `sleepers`; we raise `sleepers` and then look at the
            // state: one of the two sees the other. The bell is rung under `bed`, which we hold until we wait.
            let entered = loop {
                if let Some(epoch) = self.try_enter(index, seen) {
                    break epoch;
                }
                bed = self.bell.wait(bed).unwrap_or_else(|poisoned| poisoned.into_inner());
            };
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            return entered;
        }
    }

    fn try_enter(&self, index: usize, seen: u64) -> Option<u64> {
        let state = self.state.load(Ordering::SeqCst);
        let epoch = state & !(EPOCH - 1);
        if state & OPEN == 0 || epoch == seen || index >= self.helpers.load(Ordering::Relaxed) {
            return None;
        }
        let entered = self.state.compare_exchange(state, state + INSIDE, Ordering::SeqCst, Ordering::Relaxed);
        entered.ok().map(|_| epoch)
    }
}
