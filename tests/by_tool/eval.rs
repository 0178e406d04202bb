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
fn two_runs_are_compared_prompt_by_prompt() {
    let directory = scratch();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let one = |id: &str, correct: u8| prompt(id, "x", &[("1", correct)]);
    // 12 prompts better, 3 worse, 5 equal; one is only here or there.
    let mut before = one("first", 1);
    let mut after = String::new();
    for at in 0..20 {
        before += &one(&format!("p{at}"), u8::from(at < 3));
        after += &one(&format!("p{at}"), u8::from((3..15).contains(&at)));
    }
    after += &one("second", 0);
    let (before, after) = (write("before.jsonl", &before), write("after.jsonl", &after));
    let found = &lines(&["--paired", &before, &after], "")[2];
    assert_eq!((found["prompts"].as_u64(), found["only_in_first"].as_u64()), (Some(20), Some(1)));
    let pass = &found["pass@1"];
    assert_eq!(
        (pass["better"].as_u64(), pass["worse"].as_u64(), pass["equal"].as_u64()),
        (Some(12), Some(3), Some(5))
    );
    assert!((pass["difference"].as_f64().unwrap() - 0.45).abs() < 1e-12, "{pass}");
    // scipy.stats.binomtest(12, 15).pvalue: McNemar's exact test, since each prompt has one sample.
    assert!((pass["sign_test_p"].as_f64().unwrap() - 0.035_156_25).abs() < 1e-12, "{pass}");
    let bounds: Vec<f64> =
        pass["bootstrap"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(bounds[0] > 0.0 && bounds[0] < 0.3 && bounds[1] > 0.6 && bounds[1] < 0.9, "{bounds:?}");
    let table = run("r1-eval", &["--paired", &before, &after], "").success();
    assert!(table.contains("20 prompts in both (1 in the first alone, 1 in the second)"), "{table}");
    assert!(table.contains("+45.0 [") && table.contains("0.035"), "{table}");
    let text = run("r1-eval", &["--paired", "--line", &before, &after], "").success();
    let last = text.lines().last().unwrap();
    assert!(last.contains("pass@1 +45.0 [") && last.ends_with("20 prompts in both"), "{text}");

    run("r1-eval", &["--paired", &before], "").refused(2, &["--paired"]);
    let other = write("other.jsonl", &one("z", 1));
    run("r1-eval", &["--paired", &before, &other], "").refused(2, &["other.jsonl", "no id"]);
    let changed = write("changed.jsonl", &one("p0", 1).replace("p0?", "another?"));
    run("r1-eval", &["--paired", &before, &changed], "")
        .refused(2, &["changed.jsonl", "`p0`", "another prompt"]);
}

#[test]
fn one_line_and_how_it_was_drawn() {
    let drawn =
        held_out().replace("\"completion_ids\"", "\"temperature\":0.6,\"top_p\":0.95,\"completion_ids\"");
    let line = run("r1-eval", &["--line"], &drawn).success();
    assert!(line.starts_with("stdin: pass@1 41.7 [0.0, 75.0], pass@2 "), "{line}");
    assert!(line.ends_with("3 prompts, 12 samples at temperature 0.6, top-p 0.95\n"), "{line}");
    let all = &lines(&[], &drawn)[0];
    assert_eq!((all["temperature"].as_f64(), all["top_p"].as_f64()), (Some(0.6), Some(0.95)));
    // a: a tie of two against two.
    assert_eq!(all["cons@4"]["ties"].as_u64(), Some(2), "a and b: {all}");
    assert_eq!(all["intervals"]["format"], serde_json::json!([1.0, 1.0]));
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
