//! How often and when a request is tried again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The first wait before a request is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait of our own.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait that a server may ask for.
pub const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// How a request failed.
pub enum Failure {
    /// it may pass; how long the server asks to wait, where it does
    Passing(String, Option<Duration>),
    /// the server refused it: status and words
    Refused(u16, String),
}

/// A refusal: status and words.
pub type Refusal = (u16, String);

/// Counts what was tried again.
pub struct Patience {
    retries: u32,
    retried: AtomicUsize,
}

impl Patience {
    /// Tries a request up to `retries` times more than once.
    pub fn of(retries: u32) -> Patience {
        Patience { retries, retried: AtomicUsize::new(0) }
    }

    /// Requests that were tried again.
    pub fn retried(&self) -> usize {
        self.retried.load(Ordering::Relaxed)
    }

    /// Tries until it succeeds, is refused, or patience ends.
    ///
    /// # Errors
    /// The last failure; or `over` is set or a signal came while waiting.
    pub fn try_until<T>(
        &self,
        over: &AtomicBool,
        mut once: impl FnMut() -> Result<T, Failure>,
    ) -> Result<Result<T, Refusal>> {
        let mut wait = FIRST_WAIT;
        for attempt in 0.. {
            let (fact, asked) = match once() {
                Ok(found) => return Ok(Ok(found)),
                Err(Failure::Refused(status, words)) => return Ok(Err((status, words))),
                Err(Failure::Passing(fact, asked)) => (fact, asked),
            };
            if attempt >= self.retries {
                let tries = if attempt == 0 { "once".into() } else { format!("{} times", attempt + 1) };
                bail!("{fact}; tried {tries}: see that the server is well, or raise --retries");
            }
            if let Some(asked) = asked.filter(|asked| *asked > LONGEST_ASKED) {
                bail!("{fact}; it asks to be left alone for {} s: run again after that", asked.as_secs());
            }
            let turn = self.retried.fetch_add(1, Ordering::Relaxed) as u64;
            // At most as long again for those who were told the same moment, so that they do not all come back at it.
            let pause = match asked {
                Some(asked) => asked + FIRST_WAIT.mul_f64(share(turn)),
                None => wait.mul_f64(0.5 + 0.5 * share(turn)),
            };
            sleep(pause, over)?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        unreachable!("the loop ends in a return")
    }
}

/// A share from 0 to 1 that differs from turn to turn and from process to process (splitmix64's mixing function).
fn share(turn: u64) -> f64 {
    let mut x = (turn << 32 | u64::from(std::process::id())).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Waits, unless the run ends.
fn sleep(time: Duration, over: &AtomicBool) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < time {
        if r1_cli::signals::stop_requested() {
            return Err(r1_cli::stopped());
        }
        if over.load(Ordering::SeqCst) {
            bail!("stopped");
        }
        std::thread::sleep(Duration::from_millis(20).min(time - begun.elapsed().min(time)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(asked: Option<Duration>) -> Failure {
        Failure::Passing("busy".into(), asked)
    }

    #[test]
    fn what_passes_is_tried_again_and_a_refusal_is_not() {
        let (patience, over, mut n) = (Patience::of(3), AtomicBool::new(false), 0);
        let begun = Instant::now();
        let found = patience.try_until(&over, || {
            n += 1;
            if n < 3 { Err(passing(None)) } else { Ok(n) }
        });
        assert!(matches!(found, Ok(Ok(3))) && patience.retried() == 2);
        // Two waits: at least half of 250 and of 500 ms.
        assert!(begun.elapsed() >= Duration::from_millis(375));
        let refused = patience.try_until(&over, || Err::<(), _>(Failure::Refused(404, "no".into())));
        assert!(matches!(refused, Ok(Err((404, _)))) && patience.retried() == 2);
    }

    #[test]
    fn the_wait_that_a_server_asks_for_is_kept() {
        let (patience, over) = (Patience::of(1), AtomicBool::new(false));
        let begun = Instant::now();
        let asked = Some(Duration::from_millis(900));
        let error = patience.try_until(&over, || Err::<(), _>(passing(asked))).unwrap_err().to_string();
        assert!(begun.elapsed() >= Duration::from_millis(900), "our own first wait would be 250 ms");
        assert!(error.contains("busy; tried 2 times"), "{error}");
        let asked = Some(LONGEST_ASKED + Duration::from_secs(1));
        let error = patience.try_until(&over, || Err::<(), _>(passing(asked))).unwrap_err().to_string();
        assert!(error.contains("601 s"), "{error}");
    }

    #[test]
    fn a_run_that_is_over_waits_no_longer() {
        let (patience, over) = (Patience::of(9), AtomicBool::new(true));
        assert!(patience.try_until(&over, || Err::<(), _>(passing(Some(LONGEST_ASKED)))).is_err());
    }

    #[test]
    fn waits_are_spread() {
        let mut shares: Vec<f64> = (0..1000).map(share).collect();
        shares.sort_by(f64::total_cmp);
        assert!(shares[0] >= 0.0 && shares[999] < 1.0 && (shares[500] - 0.5).abs() < 0.06, "{}", shares[500]);
    }
}
