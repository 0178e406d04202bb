//! The same bytes in any memory, any batch, any budget.

use super::*;
use crate::network::LoadOptions;
use crate::presets;
use crate::tokenizer::train;
use r1_kernels::Precision;

fn policy(preset: &str, precision: Precision) -> Policy {
    // Bytes and a few words: about 300 tokens, eight of which end a completion.
    let tokenizer =
        train(["What is 2 + 3 * 4?"], 300, 100).expect("it is trained").build().expect("it is built");
    let config = presets::config(preset, &tokenizer).expect("a preset");
    let mut policy = Policy::initialize(config, 3, LoadOptions::frozen(Some(precision))).expect("it fits");
    policy.config.eos_token_ids = (0..8).collect();
    policy
}

fn limits(policy: &Policy, pages: usize) -> Limits {
    Limits {
        max_tokens: 70,
        min_tokens: 0,
        max_sequences: 64,
        prefill_tokens: 4096,
        kv_bytes: pages * policy.page_form(false).expect("every policy has it").bytes(),
        latents: false,
        longest_first: false,
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        seed: 5,
    }
}

/// Prompts of many lengths; most begin alike, and not at the end of a page.
fn requests(samples: usize) -> Vec<Request> {
    let header: Vec<u32> = (0..43).map(|i| (i * 7 + 5) % 80 + 8).collect();
    [1, 20, 21, 53, 85, 3, 21]
        .iter()
        .enumerate()
        .map(|(i, &own)| {
            let own: Vec<u32> = (0..own).map(|j| (i as u32 * 13 + j * j) % 80 + 8).collect();
            let prompt = if i == 2 { own } else { [header.as_slice(), &own].concat() };
            Request { prompt, key: 100 + i as u64, samples }
        })
        .collect()
}

type Drawn = Vec<Vec<(Vec<u32>, Vec<u32>)>>;

fn draw(policy: &Policy, requests: &[Request], limits: Limits) -> (Drawn, Progress) {
    let mut engine = Engine::plan(policy, None, Sampling::default(), limits).expect("it is planned");
    let mut out = Vec::new();
    let done = |i: usize, group: Vec<Completion>| {
        assert_eq!(i, out.len(), "groups come in order");
        let bits = |c: &Completion| c.logprobs.iter().map(|l| l.to_bits()).collect();
        out.push(group.iter().map(|c| (c.ids.clone(), bits(c))).collect());
        Ok(())
    };
    engine.run(requests, done).expect("it runs");
    assert_eq!(engine.pages.held(), 0, "every page is given back");
    let progress = engine.progress();
    (out, progress)
}

#[test]
fn a_tiny_memory_gives_the_bytes_of_a_huge_one() {
    for preset in ["qwen-tiny", "r1-tiny"] {
        let policy = policy(preset, Precision::F32);
        let requests = requests(5);
        let (whole, at_ease) = draw(&policy, &requests, limits(&policy, 1000));
        assert_eq!((at_ease.interrupted, at_ease.recomputed), (0, 0));
        let lengths: Vec<usize> = whole.iter().flatten().map(|(ids, _)| ids.len()).collect();
        assert!(lengths.iter().any(|n| *n < 40) && lengths.contains(&70), "{lengths:?}");
        let mut interrupted = 0;
        for (pages, sequences, prefill) in
            [(8, 64, 4096), (9, 64, 16), (11, 5, 1), (20, 64, 100), (40, 64, 4096), (64, 3, 7)]
        {
            let cut = Limits { max_sequences: sequences, prefill_tokens: prefill, ..limits(&policy, pages) };
            let turned = Limits { longest_first: true, ..cut.clone() };
            let (drawn, progress) = draw(&policy, &requests, cut);
            assert!(drawn == whole, "{preset}: {pages} pages, {sequences} sequences, {prefill} tokens");
            assert!(drawn == draw(&policy, &requests, turned).0, "{preset}: {pages} pages, longest first");
            assert!(progress.peak_pages <= pages, "{progress:?}");
            assert_eq!(progress.completions, 35);
            assert!(progress.interrupted > 0 || progress.recomputed == 0);
            interrupted += progress.interrupted;
        }
        assert!(interrupted > 0, "so few pages interrupt somebody");
    }
}

#[test]
fn latents_give_the_bytes_of_keys_and_values() {
    let requests = requests(3);
    let memory = |policy: &Policy, pages: usize| {
        let kv_bytes = pages * policy.page_form(true).expect("it has latents").bytes();
        Limits { latents: true, kv_bytes, ..limits(policy, 0) }
    };
    for precision in [Precision::F32, Precision::Bf16] {
        if let Err(fact) = r1_kernels::supports(precision) {
            eprintln!("skipped: {fact}");
            continue;
        }
        let policy = policy("r1-tiny", precision);
        let (whole, _) = draw(&policy, &requests, limits(&policy, 1000));
        let mut interrupted = 0;
        for (pages, sequences, prefill) in [(1000, 64, 4096), (9, 64, 16), (11, 5, 1)] {
            let cut = Limits { max_sequences: sequences, prefill_tokens: prefill, ..memory(&policy, pages) };
            let (drawn, progress) = draw(&policy, &requests, cut);
            assert!(drawn == whole, "{precision:?}: {pages} pages, {sequences} sequences, {prefill} tokens");
            interrupted += progress.interrupted;
        }
        assert!(interrupted > 0, "so few pages interrupt somebody");
        let [kept, made] =
            [true, false].map(|latents| policy.page_form(latents).expect("it has both").bytes());
        assert!(2 * kept <= made, "{kept} bytes a page of latents, {made} of keys and values");
    }
    let dense = policy("qwen-tiny", Precision::F32);
    let refused =
        Engine::plan(&dense, None, Sampling::default(), Limits { latents: true, ..limits(&dense, 9) });
    assert!(refused.is_err_and(|e| e.to_string().contains("no latents")));
}

#[test]
fn what_is_known_is_not_computed_again() {
    let policy = policy("qwen-tiny", Precision::F32);
    let requests = requests(2);
    let (_, progress) = draw(&policy, &requests, limits(&policy, 1000));
    let prompts: usize = requests.iter().map(|r| r.prompt.len()).sum();
    assert_eq!(progress.prefilled + progress.reused, prompts);
    // The header of 43 tokens is computed for the first prompt only, beyond whole pages too.
    assert!(progress.reused >= 5 * 43, "{progress:?}");
    // One prompt after the other, each slot given on: nothing is lost between waves.
    let single = Limits { max_sequences: 1, ..limits(&policy, 1000) };
    let (_, progress) = draw(&policy, &requests, single);
    assert!(progress.reused >= 5 * 43, "{progress:?}");
}

#[test]
fn a_smaller_step_serves_the_same_prompts() {
    let policy = policy("qwen-tiny", Precision::F32);
    let requests = requests(1);
    let (whole, one) = draw(&policy, &requests, limits(&policy, 1000));
    let (cut, many) = draw(&policy, &requests, Limits { prefill_tokens: 10, ..limits(&policy, 1000) });
    assert!(whole == cut && many.steps > one.steps);
}

#[test]
fn stop_tokens_end_and_min_tokens_hold_them_back() {
    let policy = policy("qwen-tiny", Precision::F32);
    let requests = requests(8);
    let all = Limits { stop_tokens: (20..40).collect(), ..limits(&policy, 1000) };
    let ends = |id: &u32| *id < 8 || (20..40).contains(id);
    for (min, limits) in [(0, all.clone()), (9, Limits { min_tokens: 9, ..all })] {
        for (ids, _) in draw(&policy, &requests, limits).0.iter().flatten() {
            let at = ids.iter().position(ends).map_or(70, |p| p + 1);
            assert!(ids.len() == at && at > min, "{ids:?}");
        }
    }
}
