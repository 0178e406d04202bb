//! What is drawn: groups in order, columns carried, and the same bytes however the work is cut.

use super::*;
use crate::contract;

#[test]
fn groups_come_in_the_order_of_the_tasks_and_keep_every_column() {
    // Columns in forms that a parser which rewrites them would change; one row with an id, the others without.
    let given = [
        r#"{"id":"first","prompt":"What is 2 + 3?","answer":"5","mine":[1.0, "\u00fc", 1e2], "big":123456789012345678901234567890}"#,
        r#"{ "question" : "What is 2 + 4?", "answer":6 , "nested":{"b":1,"a":null} }"#,
        r#"{"prompt":[{"role":"user","content":"What is 9 - 4?"}],"answer":"5"}"#,
    ];
    let made = rollout(deepseek(), "--samples 3 --max-tokens 40 --seed 5", &given.join("\n")).success();
    let lines: Vec<&str> = made.lines().collect();
    assert_eq!(lines.len(), 9);
    let end = eos(deepseek());
    let mut named = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        contract::check(line, &["id", "rollout"]);
        let carried = given[i / 3].trim_end().strip_suffix('}').unwrap().trim_end();
        let added = line.strip_prefix(carried).unwrap_or_else(|| panic!("not carried as it came: {line}"));
        let row: Value = serde_json::from_str(line).unwrap();
        let id = row["id"].as_str().unwrap().to_string();
        let before = if i < 3 { String::new() } else { format!(",\"id\":\"{id}\"") };
        assert!(
            added.trim_start().starts_with(&format!("{before},\"rollout\":{{")),
            "two keys at most: {added}"
        );
        let rollout = &row["rollout"];
        assert_eq!((rollout["sample"].as_u64(), rollout["seed"].as_u64()), (Some(i as u64 % 3), Some(5)));
        let ids = ids(&row, "completion_ids");
        let stopped = *ids.last().unwrap() == end;
        assert_eq!(rollout["finish_reason"], if stopped { "stop" } else { "length" });
        assert!(stopped || ids.len() == 40, "{line}");
        assert!(!ids[..ids.len() - 1].contains(&end), "nothing follows the end: {line}");
        assert!(!rollout["completion"].as_str().unwrap().contains("<|eos|>"), "{line}");
        named.push(id);
    }
    assert!(named.chunks(3).all(|group| group.iter().all(|id| *id == group[0])));
    assert!(named[0] == "first" && named[3].starts_with("row-") && named[3] != named[6]);
    // The filled id is the row's own, whatever stands around it.
    let alone = rollout(deepseek(), "--samples 3 --max-tokens 40 --seed 5", given[2]).success();
    assert_eq!(alone.lines().collect::<Vec<_>>(), lines[6..]);
}

#[test]
fn a_row_that_has_been_sampled_is_sampled_again_in_place() {
    let row = r#"{"id":"a","rollout":{"completion":"old"},"prompt":"What is 2 + 3?"}"#;
    let made = rollout(qwen(), "--max-tokens 4", row).success();
    assert!(
        made.starts_with(r#"{"id":"a","rollout":{"sample":0,"#)
            && made.ends_with("},\"prompt\":\"What is 2 + 3?\"}\n")
    );
    contract::check(made.trim_end(), &["rollout"]);
    // An id that is there without a value is filled in where it stands.
    let made = rollout(qwen(), "--max-tokens 4", r#"{"id":null,"prompt":"What is 2 + 3?"}"#).success();
    assert!(made.starts_with("{\"id\":\"row-"), "{made}");
    contract::check(made.trim_end(), &["id", "rollout"]);
}

#[test]
fn bytes_do_not_depend_on_how_the_work_is_cut() {
    let given = tasks(9);
    let draw = "--samples 5 --max-tokens 40 --seed 3";
    for policy in [deepseek(), qwen()] {
        for dtype in dtypes() {
            let draw = format!("{draw} --dtype {dtype}");
            let whole = rollout(policy, &draw, &given).success();
            let lengths: Vec<usize> = rows(&whole).iter().map(|row| list(row, "logprobs").len()).collect();
            assert!(
                lengths.iter().any(|n| *n < 20) && lengths.contains(&40),
                "sequences leave one by one: {lengths:?}"
            );
            for cut in [
                "--threads 1",
                "--threads 2 --sequences 7",
                "--sequences 1",
                "--sequences 45 --micro-tokens 1",
                "--micro-tokens 64 --sequences 11",
                "--micro-tokens 100000 --kv-memory 4096",
                "--kv-memory 1",
                "--longest-first --sequences 7",
                "--longest-first --kv-memory 1",
                "--kv-cache latents",
                "--kv-cache latents --kv-memory 1 --sequences 11",
            ] {
                if cut.contains("latents") && policy != deepseek() {
                    continue;
                }
                let other = rollout(policy, &format!("{draw} {cut}"), &given).success();
                assert!(whole == other, "{policy} {dtype} {cut}");
            }
            // Each row's own lines are the same beside other rows, in another order, and alone.
            let lines: Vec<&str> = whole.lines().collect();
            let backwards: String = given.lines().rev().map(|line| format!("{line}\n")).collect();
            let turned = rollout(policy, &draw, &backwards).success();
            let expected: Vec<&str> = lines.chunks(5).rev().flatten().copied().collect();
            assert!(turned.lines().collect::<Vec<_>>() == expected, "{policy} {dtype}");
            let few = rollout(policy, &draw, &given.lines().skip(4).take(2).collect::<Vec<_>>().join("\n"))
                .success();
            assert!(few.lines().collect::<Vec<_>>() == lines[20..30], "{policy} {dtype}");
            let first = rollout(policy, &format!("{draw} --limit 2"), &given).success();
            assert!(first.lines().collect::<Vec<_>>() == lines[..10], "{policy} {dtype}");
            // A smaller group is the beginning of a larger one.
            let small = rollout(policy, &draw.replace("--samples 5", "--samples 2"), &given).success();
            let expected: Vec<&str> = lines.chunks(5).flat_map(|group| &group[..2]).copied().collect();
            assert!(small.lines().collect::<Vec<_>>() == expected, "{policy} {dtype}");
        }
    }
}

#[test]
fn seed_id_and_sample_name_the_random_stream() {
    let row = |id: &str| format!("{{\"id\":\"{id}\",\"prompt\":\"What is 2 + 3 * 4?\"}}\n");
    let given = row("a") + &row("b");
    let of = |flags: &str| -> Vec<Vec<u64>> {
        let made = rollout(qwen(), &format!("--samples 2 --max-tokens 24 {flags}"), &given).rows();
        made.iter().map(|row| ids(row, "completion_ids")).collect()
    };
    let (first, again, other) = (of("--seed 1"), of("--seed 1"), of("--seed 2"));
    assert_eq!(first, again);
    let mut all: Vec<&Vec<u64>> = first.iter().chain(&other).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 8, "eight streams, eight completions");
}

#[test]
fn metrics_and_talk_tell_the_run() {
    let dir = scratch();
    let log = dir.path().join("metrics.jsonl").to_str().unwrap().to_string();
    let arguments = [qwen(), "-", "--samples", "3", "--max-tokens", "16", "--metrics", &log];
    let outcome = run("r1-rollout", &arguments, &tasks(4));
    assert!(outcome.stderr.contains("12 completions of 4 prompts"), "{}", outcome.stderr);
    let made = outcome.rows();
    let tokens: usize = made.iter().map(|row| list(row, "logprobs").len()).sum();
    let cut = made.iter().filter(|row| row["rollout"]["finish_reason"] == "length").count();
    let told = &rows(&fs::read_to_string(&log).unwrap())[0];
    assert_eq!((told["prompts"].as_u64(), told["completions"].as_u64()), (Some(4), Some(12)));
    assert_eq!(told["tokens"].as_u64(), Some(tokens as u64));
    assert_eq!(told["mean_length"].as_f64(), Some(tokens as f64 / 12.0));
    assert_eq!(told["truncated_share"].as_f64(), Some(cut as f64 / 12.0));
    // A prompt is computed once, and what all prompts begin with is computed once for all of them.
    let prompts: usize = made.chunks(3).map(|group| list(&group[0], "prompt_ids").len()).sum();
    let prefilled = told["prefilled_tokens"].as_u64().unwrap() as usize;
    assert!(prefilled <= prompts && prefilled > prompts / 4, "{prefilled} of {prompts}");
}
