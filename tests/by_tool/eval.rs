//! r1-eval as a process.

use crate::harness::*;
use serde_json::Value;

/// Rows of one prompt: for each completion its answer, and whether it is correct.
fn prompt(id: &str, family: &str, said: &[(&str, u8)]) -> String {
    let row = |(sample, (answer, correct)): (usize, &(&str, u8))| {
        format!(
            "{{\"id\":\"{id}\",\"prompt\":\"{id}?\",\"family\":\"{family}\",\"rollout\":{{\"sample\":{sample},\
             \"completion\":\"{answer}\",\"completion_ids\":[1,2,{sample}],\"finish_reason\":\"{}\"}},\
             \"reward\":{{\"total\":{correct},\"accuracy\":{correct},\"format\":1,\"answer\":\"{answer}\"}}}}\n",
            if *correct == 1 { "stop" } else { "length" }
        )
    };
    said.iter().enumerate().map(row).collect()
}

fn held_out() -> String {
    prompt("a", "sum", &[("14", 1), ("20", 0), ("14.0", 1), ("20", 0)])
        + &prompt("b", "sum", &[("1", 0), ("2", 0), ("3", 0), ("4", 0)])
        + &prompt("c", "date", &[("7", 1), ("7", 1), ("7", 1), ("8", 0)])
}

fn lines(arguments: &[&str], stdin: &str) -> Vec<Value> {
    let mut all = vec!["--json"];
    all.extend(arguments);
    run("r1-eval", &all, stdin).rows()
}

#[test]
fn numbers_by_hand() {
    let all = &lines(&[], &held_out())[0];
    let value = |name: &str| all[name]["value"].as_f64().unwrap_or(f64::NAN);
    let close = |name: &str, expected: f64| {
        assert!((value(name) - expected).abs() < 1e-12, "{name}: {}", value(name))
    };
    close("pass@1", (0.5 + 0.0 + 0.75) / 3.0);
    // a: 1 - C(2,2)/C(4,2) = 5/6; c: fewer than two wrong ones.
    close("pass@2", (5.0 / 6.0 + 0.0 + 1.0) / 3.0);
    close("pass@4", 2.0 / 3.0);
    // a: two votes each, and the correct one came first.
    close("cons@4", 2.0 / 3.0);
    assert_eq!(
        (all["prompts"].as_u64(), all["samples"].as_u64(), all["unjudged"].as_u64()),
        (Some(3), Some(12), Some(0))
    );
    assert_eq!(
        (all["finished"].as_f64(), all["tokens"].as_f64(), all["format"].as_f64()),
        (Some(5.0 / 12.0), Some(3.0), Some(1.0))
    );
    // Wilson for 5 of 12 by the formula with z = 1.959964.
    let wilson: Vec<f64> =
        all["pass@1"]["wilson"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!((wilson[0] - 0.193_260).abs() < 1e-5 && (wilson[1] - 0.680_489).abs() < 1e-5, "{wilson:?}");
    // Three prompts: a resample can be all b (0) or all c (0.75).
    assert_eq!(all["pass@1"]["bootstrap"], serde_json::json!([0.0, 0.75]));
}

#[test]
fn a_row_for_each_family_and_file() {
    let found = lines(&["--by", "family", "--k", "1,3"], &held_out());
    let label = |row: &Value| row["by"]["family"].as_str().unwrap_or("all").to_string();
    assert_eq!(found.iter().map(label).collect::<Vec<_>>(), ["all", "date", "sum"]);
    assert_eq!((found[1]["pass@3"]["value"].as_f64(), found[2]["prompts"].as_u64()), (Some(1.0), Some(2)));
    let directory = scratch();
    let (before, after) = (directory.path().join("before.jsonl"), directory.path().join("after.jsonl"));
    std::fs::write(&before, held_out()).unwrap();
    std::fs::write(&after, prompt("a", "sum", &[("14", 1), ("14", 1)])).unwrap();
    let table = run("r1-eval", &[before.to_str().unwrap(), after.to_str().unwrap()], "").success();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(
        rows[0].contains("pass@1") && rows[1].contains("41.7 [0.0, 75.0]") && rows[2].contains("100.0"),
        "{table}"
    );
    assert!(rows[2].contains(" - "), "a file without enough samples has no pass@4: {table}");
}

#[test]
fn the_same_bytes_each_time() {
    assert_eq!(
        run("r1-eval", &["--json"], &held_out()).success(),
        run("r1-eval", &["--json"], &held_out()).success()
    );
}

#[test]
fn completions_without_an_accuracy_are_left_out() {
    let unjudged = "{\"id\":\"d\",\"prompt\":\"d?\",\"family\":\"sum\",\"rollout\":{\"completion\":\"\"},\"reward\":{}}\n";
    let all = &lines(&[], &(held_out() + unjudged))[0];
    assert_eq!((all["prompts"].as_u64(), all["unjudged"].as_u64()), (Some(3), Some(1)));
    run("r1-eval", &[], unjudged).refused(2, &["stdin", "accuracy"]);
}

#[test]
fn bad_input_is_refused() {
    refuses_bad_rows("r1-eval", &[], &held_out());
    run("r1-eval", &["--k", "8"], &held_out()).refused(2, &["`a`", "k = 8"]);
    run("r1-eval", &["--k", "0"], &held_out()).refused(2, &["--k"]);
    run("r1-eval", &["--by", "none"], &held_out()).refused(2, &["stdin:1: ", "`none`"]);
    let differing = held_out().replacen("\"sum\"", "\"date\"", 1);
    run("r1-eval", &["--by", "family"], &differing).refused(2, &["stdin:2:", "family"]);
    let split =
        prompt("a", "x", &[("1", 1)]) + &prompt("b", "x", &[("1", 1)]) + &prompt("a", "x", &[("1", 1)]);
    run("r1-eval", &[], &split).refused(2, &["stdin:3: ", "split in two"]);
    let unknown = held_out().replacen("\"sample\"", "\"sampel\"", 1);
    run("r1-eval", &[], &unknown).refused(2, &["stdin:1:", "`sampel`"]);
    reports_a_full_disk("r1-eval", &[], &held_out());
}
