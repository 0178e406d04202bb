//! `--score KEY`: log-probabilities of completions that are there.

use super::*;
use crate::contract;
use serde_json::json;

/// The log-probabilities in section `key` as they are written.
fn written(line: &str, key: &str) -> String {
    let (_, rest) = line.split_once(&format!("\"{key}\":{{")).unwrap_or_else(|| panic!("no {key}: {line}"));
    let (_, rest) = rest.split_once("\"logprobs\":[").unwrap_or_else(|| panic!("no logprobs: {line}"));
    rest.split_once(']').expect("a list ends").0.to_string()
}

#[test]
fn scoring_the_sampling_policy_gives_the_recorded_bits() {
    let given = tasks(7);
    for policy in [deepseek(), qwen()] {
        for dtype in dtypes() {
            for draw in ["--samples 4", "--temperature 0.6 --top-p 0.9 --min-p 0.01", "--temperature 0"] {
                let drawn =
                    rollout(policy, &format!("{draw} --max-tokens 40 --dtype {dtype}"), &given).success();
                for cut in ["", "--micro-tokens 1", "--micro-tokens 150 --threads 1"] {
                    let flags = format!("--score reference --dtype {dtype} {cut}");
                    let scored = rollout(policy, &flags, &drawn).success();
                    for (before, after) in drawn.lines().zip(scored.lines()) {
                        contract::check(after, &["rollout", "reference"]);
                        assert_eq!(
                            written(after, "rollout"),
                            written(after, "reference"),
                            "{policy} {dtype} {draw} {cut}"
                        );
                        let carried = before.strip_suffix('}').unwrap();
                        assert!(
                            after
                                .strip_prefix(carried)
                                .is_some_and(|added| added.starts_with(",\"reference\":{"))
                        );
                    }
                    assert_eq!(drawn.lines().count(), scored.lines().count());
                }
            }
        }
    }
}

#[test]
fn the_most_probable_tokens_come_sorted_with_the_bits_of_logprobs() {
    for policy in [deepseek(), qwen()] {
        for dtype in dtypes() {
            let drawn = rollout(
                policy,
                &format!("--samples 3 --temperature 0.7 --max-tokens 20 --dtype {dtype}"),
                &tasks(5),
            );
            let drawn = drawn.success();
            let score = |top: usize, more: &str| {
                let flags = format!("--score teacher --top {top} --dtype {dtype} {more}");
                rollout(policy, &flags, &drawn).success()
            };
            let scored = score(6, "");
            for more in ["--micro-tokens 1 --threads 1", "--micro-tokens 90 --threads 2"] {
                assert!(scored == score(6, more), "{policy} {dtype} {more}");
            }
            let vocabulary = {
                let config = fs::read(Path::new(policy).join("config.json")).expect("it is there");
                let config: Value = serde_json::from_slice(&config).expect("JSON");
                config["vocab_size"].as_u64().expect("a number") as usize
            };
            let (one, whole) = (rows(&score(1, "")), rows(&score(vocabulary, "")));
            for ((row, one), whole) in rows(&scored).iter().zip(&one).zip(&whole) {
                contract::check(&row.to_string(), &["rollout", "teacher"]);
                assert_eq!(row["teacher"]["logprobs"], row["rollout"]["logprobs"]);
                for (t, id) in list(row, "completion_ids").iter().enumerate() {
                    let of = |row: &Value, name: &str| row["teacher"][name][t].as_array().unwrap().clone();
                    let (ids, logprobs) = (of(row, "top_ids"), of(row, "top_logprobs"));
                    let (all_ids, all) = (of(whole, "top_ids"), of(whole, "top_logprobs"));
                    assert_eq!((ids.len(), all_ids.len()), (6, vocabulary));
                    assert_eq!((&all_ids[..6], &all[..6]), (&ids[..], &logprobs[..]));
                    assert_eq!(
                        (&of(one, "top_ids")[..], &of(one, "top_logprobs")[..]),
                        (&ids[..1], &logprobs[..1])
                    );
                    let keys: Vec<(f64, i64)> = all_ids
                        .iter()
                        .zip(&all)
                        .map(|(id, l)| (-l.as_f64().unwrap(), id.as_i64().unwrap()))
                        .collect();
                    assert!(
                        keys.windows(2).all(|k| k[0] < k[1]),
                        "most probable first, ties by the lower id"
                    );
                    let mass: f64 = keys.iter().map(|k| (-k.0).exp()).sum();
                    assert!((mass - 1.0).abs() < 1e-5, "{mass}");
                    let own = all_ids.iter().position(|other| other == id).unwrap();
                    assert_eq!(all[own], row["teacher"]["logprobs"][t], "in the tempered distribution");
                }
            }
        }
    }
    let row = json!({"id": "a", "rollout": {"completion": "5", "prompt_ids": [1], "completion_ids": [2]}});
    let refused = |flags: &str| rollout(qwen(), flags, &format!("{row}\n")).refused(2, &["--top"]);
    refused("--score teacher --top 0");
    refused("--score teacher --top 100000");
    run("r1-rollout", &[qwen(), "-", "--top", "3"], "").refused(2, &["--score"]);
}

#[test]
fn another_policy_scores_otherwise_and_scores_can_be_renewed() {
    let drawn = rollout(qwen(), "--samples 2 --max-tokens 24", &tasks(3)).success();
    let fresh = shelf().join("qwen-tiny").to_str().unwrap().to_string();
    let once = rollout(&fresh, "--score teacher", &drawn).success();
    let first = once.lines().next().unwrap();
    contract::check(first, &["teacher"]);
    assert_ne!(written(first, "teacher"), written(first, "rollout"));
    let row: Value = serde_json::from_str(first).unwrap();
    assert_ne!(row["teacher"]["policy"], row["rollout"]["policy"]);
    // Scores of another policy in the same section take its place.
    let again = rollout(qwen(), "--score teacher", &once).success();
    let first = again.lines().next().unwrap();
    assert_eq!(written(first, "teacher"), written(first, "rollout"));
    assert_eq!(first.matches("\"teacher\"").count(), 1);
}

#[test]
fn completions_of_elsewhere_are_tokenized_once_and_scored() {
    let dir = scratch();
    let log = dir.path().join("m.jsonl").to_str().unwrap().to_string();
    let row = |completion: &str| {
        json!({"prompt": "What is 2 + 3?", "mine": 1.50, "rollout": {"completion": completion}}).to_string()
            + "\n"
    };
    let given = row("<think>2 + 3 = 5</think> <answer>5</answer>") + &row("\u{7b54}\u{6848}\u{662f}\u{4e94}");
    let outcome = run("r1-rollout", &[qwen(), "-", "--score", "reference", "--metrics", &log], &given);
    assert!(outcome.stderr.contains("2 completions scored"), "{}", outcome.stderr);
    let scored = outcome.success();
    let lengths: Vec<usize> =
        rows(&scored).iter().map(|row| row["reference"]["logprobs"].as_array().unwrap().len()).collect();
    // Tags are single tokens, and text in another script falls apart into bytes.
    assert!(lengths[0] > 8 && lengths[0] < 43 && lengths[1] >= 5, "{lengths:?}");
    let told = &rows(&fs::read_to_string(&log).unwrap())[0];
    assert_eq!(told["tokens"].as_u64(), Some(lengths.iter().sum::<usize>() as u64));
    let sum: f64 = rows(&scored)
        .iter()
        .flat_map(|row| row["reference"]["logprobs"].as_array().unwrap().clone())
        .map(|logprob| logprob.as_f64().unwrap())
        .sum();
    let mean = sum / lengths.iter().sum::<usize>() as f64;
    assert!((told["mean_logprob"].as_f64().unwrap() - mean).abs() < 1e-6);
}

/// A float tensor of a safetensors file: its values, row by row.
fn tensor(bytes: &[u8], name: &str) -> Vec<f32> {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let all: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    assert_eq!(all[name]["dtype"], "F32", "{name}");
    let at = |i: usize| 8 + header + all[name]["data_offsets"][i].as_u64().unwrap() as usize;
    bytes[at(0)..at(1)].chunks_exact(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect()
}

#[test]
fn policies_without_a_tokenizer_score_rows_with_ids_as_transformers_does() {
    for name in ["llama", "deepseek-v3", "qwen3-moe"] {
        let policy = root().join("tests/golden/checkpoints").join(name);
        let golden: Value = serde_json::from_slice(&fs::read(policy.join("golden.json")).unwrap()).unwrap();
        let numbers = fs::read(policy.join("golden.safetensors")).unwrap();
        let temperature = 0.8;
        let mut given = String::new();
        let mut expected: Vec<Vec<f64>> = Vec::new();
        for (s, sequence) in golden["sequences"].as_array().unwrap().iter().enumerate() {
            let ids = sequence["input_ids"].as_array().unwrap();
            let logits = tensor(&numbers, &format!("logits.{s}"));
            let vocabulary = logits.len() / ids.len();
            let row = json!({"id": format!("s{s}"), "rollout": {"completion": "", "temperature": temperature,
                "prompt_ids": ids[..2], "completion_ids": ids[2..]}});
            given += &format!("{row}\n");
            let logprob = |at: usize| {
                let row = &logits[(at - 1) * vocabulary..at * vocabulary];
                let tempered = |l: f32| f64::from(l) / temperature;
                let peak = row.iter().copied().map(tempered).fold(f64::MIN, f64::max);
                let total: f64 = row.iter().map(|l| (tempered(*l) - peak).exp()).sum();
                tempered(row[ids[at].as_u64().unwrap() as usize]) - peak - total.ln()
            };
            expected.push((2..ids.len()).map(logprob).collect());
        }
        let scored = rollout(policy.to_str().unwrap(), "--score reference --dtype f32", &given).rows();
        for (row, expected) in scored.iter().zip(&expected) {
            let found = row["reference"]["logprobs"].as_array().unwrap();
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found.as_f64().unwrap() - expected).abs() < 1e-4, "{name}: {found} {expected}");
            }
        }
    }
}

#[test]
fn what_cannot_be_scored_is_named() {
    let dir = scratch();
    let golden = root().join("tests/golden/checkpoints/llama");
    let golden = golden.to_str().unwrap();
    let good = json!({"id": "a", "rollout": {"completion": "", "prompt_ids": [1, 2], "completion_ids": [3]}});
    refuses_bad_rows("r1-rollout", &[golden, "-", "--score", "reference"], &format!("{good}\n"));
    let refused = |policy: &str, section: Value, words: &[&str]| {
        let row = json!({"id": "a", "prompt": "x", "rollout": section});
        let file = dir.path().join("rows.jsonl");
        fs::write(&file, format!("{good}\n{row}\n")).unwrap();
        let out = dir.path().join("out.jsonl");
        let arguments =
            [policy, file.to_str().unwrap(), "--score", "reference", "-q", "-o", out.to_str().unwrap()];
        let outcome = run("r1-rollout", &arguments, "");
        outcome.refused(2, words);
        assert!(
            outcome.stderr.contains("rows.jsonl:2:") && outcome.stderr.lines().count() == 1,
            "{}",
            outcome.stderr
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    };
    let ids = |prompt: Value, completion: Value| json!({"completion": "", "prompt_ids": prompt, "completion_ids": completion});
    refused(golden, ids(json!([1]), json!([131])), &["token id 131", "vocabulary of 131"]);
    refused(golden, ids(json!([4_000_000_000_u32]), json!([1])), &["token id 4000000000"]);
    refused(golden, ids(json!([1]), json!([])), &["empty"]);
    refused(golden, ids(json!([]), json!([1])), &["empty"]);
    refused(golden, ids(json!([1]), json!(vec![1; 100_000])), &["100001 tokens", "positions"]);
    refused(golden, ids(json!([1]), json!([-1])), &["rollout"]);
    refused(golden, ids(json!([1]), json!("1")), &["rollout"]);
    refused(golden, json!({"completion": "x"}), &["no prompt_ids and completion_ids", "no tokenizer"]);
    refused(qwen(), json!({"completion": ""}), &["empty"]);
    refused(qwen(), json!({"completions": "x"}), &["`completions`"]);
    refused(
        golden,
        json!({"completion": "", "prompt_ids": [1], "completion_ids": [1, 2], "logprobs": [-0.5]}),
        &["logprobs"],
    );
    refused(
        golden,
        json!({"completion": "", "prompt_ids": [1], "completion_ids": [1], "temperature": -1.0}),
        &["temperature"],
    );
    run("r1-rollout", &[golden, "-", "--score", "reference"], "{\"id\":\"a\"}\n")
        .refused(2, &["stdin:1", "rollout", "r1-rollout"]);
}

#[test]
fn keys_that_are_taken_and_flags_without_effect_are_refused() {
    let row = json!({"id": "a", "mine": "x", "rollout": {"completion": "5", "prompt_ids": [1], "completion_ids": [2]}});
    let row = format!("{row}\n");
    for key in ["prompt", "rollout", "reward", "advantage", "answer", "id", ""] {
        let arguments = [qwen(), "-", "--score", key];
        run("r1-rollout", &arguments, &row).refused(2, &["--score", "reference or teacher"]);
    }
    // A column of the user's is no section of scores.
    run("r1-rollout", &[qwen(), "-", "--score", "mine"], &row).refused(2, &["stdin:1:", "mine"]);
    for flags in [
        "--samples 2",
        "--temperature 0.5",
        "--max-tokens 9",
        "--stop x",
        "--limit 1",
        "--seed 3",
        "--top-p 0.5",
        "--model x",
        "--retries 3",
        "--max-lag 1",
    ] {
        let outcome = rollout(qwen(), &format!("--score reference {flags}"), &row);
        outcome.refused(2, &["--score", flags.split(' ').next().unwrap()]);
    }
}
