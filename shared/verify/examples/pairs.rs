//! Judges pairs of answers, for comparisons with other checkers: reads lines `form<TAB>expected<TAB>answer…` and writes
//! `verdict<TAB>rule` for each; then, on stderr, the pairs a second of processor time of one thread that only judges.
//!
//! ```sh
//! cargo run --release -p r1-verify --example pairs < pairs.tsv > ours.tsv
//! ```

use r1_verify::math::{Policy, judge};
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::time::Instant;

/// Seconds of processor time for which the speed is measured.
const LONG_ENOUGH: f64 = 1.0;

/// Seconds of processor time that this thread has had, which other work on the machine does not lengthen; where the system does not
/// tell, seconds since `begun`.
fn seconds(begun: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|line| line.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| begun.elapsed().as_secs_f64(), |n| n / 1e9)
}

fn main() -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let policy = Policy::default();
    let pairs: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('\t').skip(1);
            Some((columns.next()?, columns.next()?))
        })
        .collect();
    let mut out = io::stdout().lock();
    for (expected, answer) in &pairs {
        let judgement = judge(answer, expected, &policy);
        writeln!(out, "{:?}\t{}", judgement.verdict, judgement.rule)?;
    }
    let (clock, mut judged) = (Instant::now(), 0);
    let begun = seconds(clock);
    while seconds(clock) - begun < LONG_ENOUGH && !pairs.is_empty() {
        for (expected, answer) in &pairs {
            black_box(judge(black_box(answer), black_box(expected), &policy));
        }
        judged += pairs.len();
    }
    writeln!(io::stderr(), "{:.0}", judged as f64 / (seconds(clock) - begun))
}
