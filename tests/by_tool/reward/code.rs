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
        // Lies: equal to everything, patched names, answers before the question, a search for the tests.
        ("class A:\n  def __eq__(s, o): return True\ndef f(x): return A()", 0.0),
        (
            "class A(int):\n  def __eq__(s, o): return True\n  def __ne__(s, o): return False\ndef f(x): return A(4)",
            0.25,
        ),
        (
            "import builtins\nbuiltins.AssertionError = ValueError\nbuiltins.exec = builtins.compile = lambda *a: None\ndef f(x): return 0",
            0.0,
        ),
        ("import os, sys\nos.write(4, b'[\"return\",true,[]]\\n' * 99)\ndef f(x): return 0", 0.0),
        ("import os\nos.write(4, b'.\\n')\ndef f(x): os.write(4, b'+0\\n+1\\n'); return 0", 0.0),
        (
            "import gc, sys, os\nos.lseek(3, 0, 0)\nseen = os.read(3, 1 << 20).decode()\nfor o in gc.get_objects():\n  try: seen += str(o)\n  except Exception: pass\n\
          f = sys._getframe()\nwhile f: seen += str(f.f_locals) + str(f.f_globals); f = f.f_back\ndef f(x): return x * x if '== 1' + '6' in seen else 0",
            0.0,
        ),
        ("def f(x):\n  try: x.__class__ = None\n  except Exception: pass\n  raise AssertionError", 0.0),
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
fn tests_may_do_what_python_does() {
    if !can_run() {
        return;
    }
    let of = |tests: Value, program: &str| {
        row(json!({"task": "code", "prompt": "?", "tests": tests}), &format!("```python\n{program}\n```"))
    };
    let cases = [
        (json!(["a = [3, 1]\nf(a)\nassert a == [1, 3]"]), "def f(x): x.sort()", 1.0),
        (json!(["assert f(lambda y: y + 1, 3) == 5"]), "def f(g, x): return g(g(x))", 1.0),
        (json!(["assert list(f(3)) == [0, 1, 2]"]), "def f(n): yield from range(n)", 1.0),
        (
            json!(["try:\n  f(-1)\n  assert False\nexcept ValueError: pass"]),
            "def f(x): raise ValueError('no')",
            1.0,
        ),
        (
            json!([
                "s = Stack()\ns.push(3)\ns.push(4)\nassert s.pop() == 4 and len(s) == 1 and s.items == [3]"
            ]),
            "class Stack:\n  def __init__(s): s.items = []\n  def push(s, x): s.items.append(x)\n  def pop(s): return s.items.pop()\n  def __len__(s): return len(s.items)",
            1.0,
        ),
        (json!(["assert sum(2, 3) == 5"]), "def sum(a, b): return a + b", 1.0),
        (json!(["assert sorted(f()) == [1, 2]"]), "def sorted(x): return [1, 2]\ndef f(): return [5]", 0.0),
        (
            json!(["assert math.isclose(f(), 4)"]),
            "import math\nmath.isclose = lambda *a: True\ndef f(): return 1",
            0.0,
        ),
        (
            json!(["assert f() == ({1: (2, {3})}, b'x', 2j, 10**5000, None, float('inf'))"]),
            "def f(): return {1: (2, {3})}, b'x', 2j, 10**5000, None, float('inf')",
            1.0,
        ),
        // A function of the tests is called, never read.
        (
            json!(["assert f(lambda: 7) == 'no'"]),
            "def f(g):\n  try: return str(g.__globals__)\n  except Exception: return 'no'",
            1.0,
        ),
    ];
    let input: String = cases.iter().map(|(tests, program, _)| of(tests.clone(), program)).collect();
    for ((_, program, expected), got) in cases.iter().zip(accuracies(&["--code-time", "5"], &input)) {
        assert_eq!(got, json!(expected), "{program}");
    }
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
