//! Programs of completions, run in the sandbox.

use super::row;
use crate::harness::*;
use serde_json::{Value, json};

/// Whether programs can be run here; says so where not, and the test skips.
fn can_run() -> bool {
    let input = row(json!({"task": "code", "prompt": "?", "tests": ["assert True"]}), "pass");
    let outcome = run("r1-reward", &["--allow-code", "--reward", "accuracy"], &input);
    if outcome.code() == 0 {
        return true;
    }
    outcome.refused(1, &["--allow-code", "never run unconfined"]);
    println!("skipped: {}", outcome.stderr.trim());
    false
}

/// The accuracies of rows.
fn accuracies(arguments: &[&str], input: &str) -> Vec<Value> {
    let arguments = [&["--allow-code", "--reward", "accuracy"], arguments].concat();
    run("r1-reward", &arguments, input)
        .rows()
        .into_iter()
        .map(|mut row| row["reward"]["accuracy"].take())
        .collect()
}

#[test]
fn nothing_is_run_unasked() {
    let input = row(json!({"task": "code", "prompt": "?", "tests": ["assert True"]}), "pass");
    let outcome = run("r1-reward", &["--reward", "accuracy"], &input);
    assert!(outcome.stderr.contains("--allow-code"), "{}", outcome.stderr);
    assert_eq!(outcome.rows()[0]["reward"], json!({}));
    run("r1-reward", &["--code-time", "3"], &input).refused(2, &["--allow-code"]);
    run("r1-reward", &["--allow-code", "--python", "/no/python"], &input)
        .refused(1, &["/no/python", "never run unconfined"]);
}

#[test]
fn the_share_of_tests_passed_counts() {
    if !can_run() {
        return;
    }
    let tests = ["assert f(1) == 1", "assert f(2) == 4", "assert f(3) == 9", "assert f(4) == 16"];
    let columns = || json!({"task": "code", "prompt": "Write f, the square.", "tests": tests});
    let of = |program: &str| {
        row(
            columns(),
            &format!("<think>```python\ndef f(x): return x*x\n```</think>\n```python\n{program}\n```"),
        )
    };
    let programs = [
        ("def f(x): return x * x", 1.0),
        ("def f(x): return 2 * x", 0.25),
        ("def f(x): return {1: 1, 2: 4}[x]", 0.5),
        ("def f(x):\n  while x == 2: pass\n  return x * x", 0.75),
        ("import os\ndef f(x):\n  if x == 2: os._exit(0)\n  return x * x", 0.75),
        ("import sys\ndef f(x): sys.exit(0)", 0.0),
        ("import os\nos._exit(0)", 0.0),
        ("exit()", 0.0),
        ("def f(x) return x", 0.0),
        ("def f(x): return x * x\nprint('begun' * 10)\nraise SystemExit", 0.0),
        ("import os\nfor n in range(4): os.write(4, b'?%d\\n+%d\\n' % (n, n))\nos._exit(0)", 0.0),
        ("def f(x):\n  import os\n  os.fork()\n  return x * x", 0.0),
        ("def f(x): return len(open('/etc/passwd').read())", 0.0),
        ("def f(x): return f(x)", 0.0),
        ("def f(x): x = [0] * 10**12", 0.0),
    ];
    let input: String = programs.iter().map(|(program, _)| of(program)).collect();
    let got = accuracies(&["--code-time", "2"], &input);
    for ((program, expected), got) in programs.iter().zip(&got) {
        assert_eq!(got, &json!(expected), "{program}");
    }
    let unseen = row(columns(), "<think>```python\ndef f(x): return x*x\n```");
    assert_eq!(accuracies(&[], &unseen), [json!(0.0)]);
    assert_eq!(accuracies(&[], &row(json!({"task": "code", "prompt": "?"}), "pass")), [Value::Null]);
}

#[test]
fn programs_read_and_print() {
    if !can_run() {
        return;
    }
    let tests = json!([{"input": "1 2\n", "output": "3\n"}, {"input": "4 5\n", "output": "9"}]);
    let columns = || json!({"task": "code", "prompt": "Add.", "tests": tests});
    let programs = [
        ("if __name__ == '__main__':\n  print(sum(map(int, input().split())), '')", 1.0),
        ("print(3)", 0.5),
        ("print(3)\nprint(9)", 0.0),
        ("import sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.exit()", 1.0),
        ("print(sum(map(int, input().split())))\nraise ValueError", 0.0),
        ("", 0.0),
    ];
    let input: String =
        programs.iter().map(|(p, _)| row(columns(), &format!("```python\n{p}\n```"))).collect();
    for ((program, expected), got) in programs.iter().zip(accuracies(&[], &input)) {
        assert_eq!(got, json!(expected), "{program}");
    }
    let empty = json!({"task": "code", "prompt": "?", "tests": [{"input": "", "output": ""}]});
    assert_eq!(accuracies(&[], &row(empty, "raise ValueError")), [json!(0.0)]);
}

/// Canonical solutions of a data set pass, and wrong ones fail. `break_it` makes a wrong one.
fn solutions(file: &str, take: usize, unfit: &[&str]) {
    let Some(path) = shared_data(file) else { return };
    if !can_run() {
        return;
    }
    let all = rows(&std::fs::read_to_string(path).expect("the file can be read"));
    let step = all.len().div_ceil(take);
    let (mut right, mut wrong, mut ids) = (String::new(), String::new(), Vec::new());
    for mut task in all.into_iter().step_by(step) {
        let solution = task["solution"].take();
        let solution = solution.as_str().expect("a solution");
        task.as_object_mut().expect("an object").remove("solution");
        task["task"] = json!("code");
        ids.push(task["id"].as_str().expect("an id").to_string());
        right.push_str(&row(task.clone(), solution));
        // Every returned value becomes another one, by a class of its own that equals nothing.
        let other = solution.replace("return", "return object() and not");
        wrong.push_str(&row(task, &other.replace("print(", "(")));
    }
    let judged = accuracies(&[], &right);
    let failed: Vec<&String> =
        ids.iter().zip(&judged).filter(|(_, got)| **got != json!(1.0)).map(|(id, _)| id).collect();
    println!(
        "{file}: {} of {} canonical solutions pass; not {failed:?}",
        ids.len() - failed.len(),
        ids.len()
    );
    assert!(failed.iter().all(|id| unfit.contains(&id.as_str())), "{failed:?}");
    let judged = accuracies(&[], &wrong);
    let passed = judged.iter().filter(|got| **got == json!(1.0)).count();
    println!("{file}: {passed} of {} mutated solutions pass all tests", ids.len());
    assert!(passed * 20 <= ids.len(), "{passed} of {}", ids.len());
}

#[test]
fn canonical_solutions_of_humaneval_pass() {
    solutions("humaneval/humaneval.jsonl", 164, &[]);
}

#[test]
fn canonical_solutions_of_mbpp_pass() {
    solutions("mbpp/mbpp.jsonl", 250, &[]);
}
