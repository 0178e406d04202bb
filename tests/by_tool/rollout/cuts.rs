//! How tokens are chosen and where completions end: temperature, top-k, top-p, min-p, stop strings, lengths.

use super::*;
use std::collections::BTreeMap;

/// First tokens of many samples of one prompt: how often each came, and its recorded log-probability.
fn first_tokens(flags: &str, samples: usize) -> BTreeMap<u64, (usize, f64)> {
    // After this text the policy is in doubt: a digit follows, and which one is chance.
    let row = r#"{"id":"one","prompt":"<think>2 + 3 = "}"#;
    let flags = format!("--template raw --samples {samples} --max-tokens 1 --dtype f32 {flags}");
    let mut found = BTreeMap::new();
    for row in rollout(qwen(), &flags, row).rows() {
        let logprob = list(&row, "logprobs")[0].as_f64().unwrap();
        let entry = found.entry(ids(&row, "completion_ids")[0]).or_insert((0, logprob));
        assert_eq!(entry.1, logprob, "one token, one probability");
        entry.0 += 1;
    }
    found
}

/// The tokens of the whole distribution, most probable first (ties by id), as far as 4000 draws show them.
fn distribution() -> Vec<(u64, f64)> {
    let mut all: Vec<(u64, f64)> =
        first_tokens("", 4000).into_iter().map(|(id, (_, logprob))| (id, logprob.exp())).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

/// Asserts that the tokens which came are the `kept` ones (those that are too rare may be missing), in the proportions of
/// their probabilities, and that what is recorded is the probability before the cut.
#[track_caller]
fn drawn_from(kept: &[(u64, f64)], flags: &str) {
    let samples = 1500;
    let found = first_tokens(flags, samples);
    let mass: f64 = kept.iter().map(|(_, p)| p).sum();
    assert!(
        found.keys().all(|id| kept.iter().any(|(known, _)| known == id)),
        "{flags}: {found:?}, kept {kept:?}"
    );
    for (id, p) in kept {
        let expected = samples as f64 * p / mass;
        let (count, logprob) = found.get(id).copied().unwrap_or((0, p.ln()));
        assert!((logprob - p.ln()).abs() < 1e-6, "{flags}: the recorded log-probability of {id} was cut");
        let spread = 5.0 * (expected * (1.0 - p / mass)).sqrt() + 1.0;
        assert!(
            (count as f64 - expected).abs() < spread,
            "{flags}: {id} came {count} times, expected {expected}"
        );
    }
}

#[test]
fn cuts_keep_the_tokens_that_help_says() {
    let all = distribution();
    assert!(all.len() > 8 && all[0].1 < 0.8, "the prompt leaves a choice: {all:?}");
    let seen: f64 = all.iter().map(|(_, p)| p).sum();
    assert!(seen > 0.97 && seen < 1.0 + 1e-6, "{seen}");
    drawn_from(&all[..3], "--top-k 3");
    drawn_from(&all[..1], "--top-k 1");
    for mass in [0.3, 0.75] {
        let mut sum = 0.0;
        let count = all
            .iter()
            .take_while(|(_, p)| {
                let open = sum < mass;
                sum += p;
                open
            })
            .count();
        drawn_from(&all[..count], &format!("--top-p {mass}"));
    }
    let share = 0.2;
    let count = all.iter().take_while(|(_, p)| *p >= share * all[0].1).count();
    assert!((2..all.len()).contains(&count));
    drawn_from(&all[..count], &format!("--min-p {share}"));
    // Of the cuts in force, every one holds.
    drawn_from(&all[..2.min(count)], &format!("--min-p {share} --top-k 2"));
}

#[test]
fn temperature_tempers_what_is_drawn_and_what_is_recorded() {
    let all = distribution();
    let cold = first_tokens("--temperature 0.5", 1500);
    // p^2, renormalized; the rare tokens that 4000 draws did not show hold next to nothing of it.
    let total: f64 = all.iter().map(|(_, p)| p * p).sum();
    for (id, (count, logprob)) in &cold {
        let Some((_, p)) = all.iter().find(|(known, _)| known == id) else { continue };
        let expected = p * p / total;
        assert!((logprob.exp() - expected).abs() < 2e-3 * expected, "{id}: {} {expected}", logprob.exp());
        let spread = 5.0 * (1500.0 * expected).sqrt() + 1.0;
        assert!((*count as f64 - 1500.0 * expected).abs() < spread);
    }
    let greedy = first_tokens("--temperature 0", 20);
    assert_eq!(greedy.keys().collect::<Vec<_>>(), [&all[0].0]);
    assert!(
        (greedy[&all[0].0].1 - all[0].1.ln()).abs() < 1e-6,
        "greedy records log-probabilities at temperature 1"
    );
}

#[test]
fn greedy_is_the_most_probable_token_at_every_place() {
    for policy in [deepseek(), qwen()] {
        let greedy = rollout(policy, "--temperature 0 --samples 2 --max-tokens 30", &tasks(4)).rows();
        let single = rollout(policy, "--top-k 1 --samples 1 --max-tokens 30 --seed 9", &tasks(4)).rows();
        for (pair, other) in greedy.chunks(2).zip(&single) {
            assert_eq!(ids(&pair[0], "completion_ids"), ids(&pair[1], "completion_ids"));
            assert_eq!(ids(&pair[0], "completion_ids"), ids(other, "completion_ids"));
            assert_eq!(list(&pair[0], "logprobs"), list(other, "logprobs"));
        }
    }
}

#[test]
fn stop_strings_end_a_completion_and_stay_in_it() {
    let given = tasks(6);
    let flags = "--samples 6 --max-tokens 48 --seed 2";
    let free = rollout(qwen(), flags, &given).rows();
    let mut arguments = vec![qwen(), "-", "-q"];
    arguments.extend(flags.split_whitespace());
    // One token of its own, text over several tokens, and one that never comes.
    let stops = ["</think>", " + ", "no such text"];
    stops.iter().for_each(|stop| arguments.extend(["--stop", stop]));
    let stopped = run("r1-rollout", &arguments, &given).rows();
    let end = eos(qwen());
    let mut hits = [0; 3];
    for (free, cut) in free.iter().zip(&stopped) {
        let (free_ids, cut_ids) = (ids(free, "completion_ids"), ids(cut, "completion_ids"));
        assert!(free_ids.starts_with(&cut_ids), "a stop string changes where it ends, not what is drawn");
        assert_eq!(list(cut, "logprobs"), &list(free, "logprobs")[..cut_ids.len()]);
        let text = cut["rollout"]["completion"].as_str().unwrap();
        let first =
            stops.iter().enumerate().filter_map(|(i, stop)| Some((text.find(stop)? + stop.len(), i))).min();
        match first {
            Some((at, i)) => {
                hits[i] += 1;
                assert_eq!(cut["rollout"]["finish_reason"], "stop");
                // The last token may carry on behind the stop string, but no further token follows.
                let overhang = text.len() - at;
                assert!(overhang < 8, "{text:?} goes on after its stop string");
                assert!(free_ids.len() >= cut_ids.len());
            }
            None => {
                assert_eq!(cut_ids, free_ids, "nothing to stop at: {text:?}");
                assert_eq!(cut["rollout"]["finish_reason"] == "stop", cut_ids.ends_with(&[end]));
            }
        }
    }
    assert!(hits[0] > 2 && hits[1] > 2 && hits[2] == 0, "{hits:?}");
}

#[test]
fn lengths_are_bounded_on_both_sides() {
    let given = tasks(5);
    let end = eos(deepseek());
    let free = rollout(deepseek(), "--samples 8 --max-tokens 60", &given).rows();
    let short = free.iter().filter(|row| ids(row, "completion_ids").len() < 24).count();
    assert!(short > 3, "some end early by themselves: {short}");
    let made = rollout(deepseek(), "--samples 8 --max-tokens 60 --min-tokens 24", &given).rows();
    for row in &made {
        let ids = ids(row, "completion_ids");
        assert!((24..=60).contains(&ids.len()) && !ids[..24].contains(&end), "{row}");
    }
    let scored = rollout(
        deepseek(),
        "--score reference",
        &made.iter().map(|row| format!("{row}\n")).collect::<String>(),
    );
    for row in scored.rows() {
        // What is forbidden is not drawn, and its probability stays in what is recorded.
        assert_eq!(row["reference"]["logprobs"], row["rollout"]["logprobs"]);
    }
    let one = rollout(deepseek(), "--samples 4 --max-tokens 1 --min-tokens 1", &given).rows();
    for row in &one {
        assert_eq!(
            (ids(row, "completion_ids").len(), &row["rollout"]["finish_reason"]),
            (1, &"length".into())
        );
    }
}

#[test]
fn penalties_and_forbidden_words_change_the_draw_and_not_the_record() {
    let given = tasks(4);
    let flags = "--samples 6 --max-tokens 40 --seed 8";
    let free = rollout(qwen(), flags, &given).rows();
    let text = |row: &Value| row["rollout"]["completion"].as_str().unwrap().to_string();
    let count = |rows: &[Value], word: &str| rows.iter().filter(|row| text(row).contains(word)).count();
    let repeated = |rows: &[Value]| -> usize {
        let distinct = |ids: Vec<u64>| ids.iter().collect::<std::collections::BTreeSet<_>>().len();
        rows.iter().map(|row| ids(row, "completion_ids").len() - distinct(ids(row, "completion_ids"))).sum()
    };
    assert!(count(&free, "answer") > 0 && count(&free, " + ") > 0);
    for (more, holds) in [
        ("--repetition-penalty 3", None),
        ("--presence-penalty 9", None),
        ("--frequency-penalty 5", None),
        ("--bad-words + --bad-words <answer>", Some("+")),
    ] {
        let made = rollout(qwen(), &format!("{flags} {more}"), &given).rows();
        match holds {
            Some(word) => assert_eq!((count(&made, word), count(&made, "<answer>")), (0, 0), "{more}"),
            None => assert!(repeated(&made) < repeated(&free), "{more}"),
        }
        let lines: String = made.iter().map(|row| format!("{row}\n")).collect();
        for row in rollout(qwen(), "--score reference", &lines).rows() {
            assert_eq!(row["reference"]["logprobs"], row["rollout"]["logprobs"], "{more}");
        }
    }
}

#[test]
fn stop_tokens_end_as_the_end_of_sequence_does() {
    let given = tasks(6);
    let flags = "--samples 4 --max-tokens 48 --seed 2";
    let free = rollout(qwen(), flags, &given).rows();
    let made = rollout(qwen(), &format!("{flags} --stop-token </think>"), &given).rows();
    let mut stopped = 0;
    for (free, cut) in free.iter().zip(&made) {
        let (all, own) = (ids(free, "completion_ids"), ids(cut, "completion_ids"));
        assert!(all.starts_with(&own));
        if own.len() < all.len() {
            stopped += 1;
            assert_eq!(cut["rollout"]["finish_reason"], "stop");
            assert!(cut["rollout"]["completion"].as_str().unwrap().ends_with("</think>"));
        }
    }
    assert!(stopped > 5, "{stopped}");
    rollout(qwen(), "--stop-token nothing-like-it", &given).refused(2, &["--stop-token nothing-like-it"]);
}

#[test]
fn a_prefill_is_given_and_not_drawn() {
    let given = tasks(3);
    let free = rollout(qwen(), "--max-tokens 12 --template r1-zero", &given).rows();
    let made = rollout(qwen(), "--max-tokens 12 --template r1-zero --prefill <think>2", &given).rows();
    for (free, row) in free.iter().zip(&made) {
        let (prompt, longer) = (ids(free, "prompt_ids"), ids(row, "prompt_ids"));
        assert!(longer.starts_with(&prompt) && longer.len() > prompt.len());
        assert!(row["rollout"]["completion"].as_str().unwrap().starts_with("<think>2"));
        assert_eq!(ids(row, "completion_ids").len(), list(row, "logprobs").len());
    }
    // The same tokens as a template that ends in the text.
    let lines: String = made.iter().map(|row| format!("{row}\n")).collect();
    for row in rollout(qwen(), "--score reference", &lines).rows() {
        assert_eq!(row["reference"]["logprobs"], row["rollout"]["logprobs"]);
    }
}
