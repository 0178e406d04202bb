use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

#[test]
fn every_task_runs_exactly_once_with_any_thread_count() {
    for threads in [1, 2, 3, 8] {
        set(threads);
        for tasks in [0, 1, 2, 3, 17, 1000] {
            let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            for _ in 0..20 {
                parallel(tasks, |task| {
                    runs[task].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(runs.iter().all(|n| n.load(Ordering::Relaxed) == 20), "{threads} threads, {tasks} tasks");
        }
    }
    set(2);
}

#[test]
fn parts_of_a_shared_slice_reach_the_caller_after_sleep_too() {
    let mut filled = vec![0usize; 999];
    for round in 1..40 {
        let parts = SharedMut::new(&mut filled);
        parallel(9, |task| {
            // SAFETY: nine disjoint parts.
            let part = unsafe { parts.slice(task * 111..(task + 1) * 111) };
            part.iter_mut().enumerate().for_each(|(i, v)| *v = round * 1000 + task * 111 + i);
        });
        assert!(filled.iter().enumerate().all(|(i, &v)| v == round * 1000 + i));
        if round % 10 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(2)); // The workers park.
        }
    }
}

#[test]
fn nested_calls_and_second_callers_run_inline() {
    let ran = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..50 {
                    parallel(8, |_| {
                        let here = std::thread::current().id();
                        parallel(4, |_| {
                            assert_eq!(std::thread::current().id(), here);
                            ran.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                }
            });
        }
    });
    assert_eq!(ran.load(Ordering::Relaxed), 3 * 50 * 8 * 4);
}

#[test]
fn a_panic_in_a_task_reaches_the_caller_and_the_pool_lives_on() {
    for bad in [0, 7, 99] {
        let outcome = catch_unwind(|| parallel(100, |task| assert!(task != bad, "task {bad} fails")));
        let payload = outcome.expect_err("the panic is lost");
        assert_eq!(payload.downcast_ref::<String>(), Some(&format!("task {bad} fails")));
        let ran = AtomicUsize::new(0);
        parallel(100, |_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.load(Ordering::Relaxed), 100);
    }
}

#[test]
#[should_panic(expected = "part 5..11 of a slice of 10")]
fn a_part_outside_the_slice_is_refused() {
    let mut ten = [0; 10];
    let parts = SharedMut::new(&mut ten);
    // SAFETY: only one part is taken.
    let _ = unsafe { parts.slice(5..11) };
}

#[test]
#[ignore = "a measurement: cargo test -p r1-kernels --release latency -- --ignored --nocapture"]
fn latency() {
    let rounds = 100_000;
    let began = Instant::now();
    for _ in 0..rounds {
        parallel(2, |task| {
            std::hint::black_box(task);
        });
    }
    println!("{:.2} µs a call", began.elapsed().as_secs_f64() * 1e6 / rounds as f64);
}
