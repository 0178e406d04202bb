//! Prompts become tokens by a template: the paper's, the tokenizer's own, none, or a file.

use super::*;

/// The prompt's token ids under some flags.
fn prompt_ids(flags: &[&str], row: &str) -> Vec<u64> {
    let mut arguments = vec![qwen(), "-", "-q", "--max-tokens", "1"];
    arguments.extend(flags);
    let made = run("r1-rollout", &arguments, row).rows();
    ids(&made[0], "prompt_ids")
}

const TEXT: &str = r#"{"prompt":"What is 2 + 3 * 4?"}"#;
const TURN: &str = r#"{"prompt":[{"role":"user","content":"What is 2 + 3 * 4?"}]}"#;
const TALK: &str =
    r#"{"prompt":[{"role":"system","content":"Be brief."},{"role":"user","content":"What is 2 + 3 * 4?"}]}"#;

#[test]
fn the_forms_differ_and_each_is_what_it_says() {
    let dir = scratch();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let (zero, chat, raw) = (
        prompt_ids(&["--template", "r1-zero"], TEXT),
        prompt_ids(&["--template", "chat"], TEXT),
        prompt_ids(&["--template", "raw"], TEXT),
    );
    assert!(raw.len() < chat.len() && chat.len() < zero.len(), "{} {} {}", raw.len(), chat.len(), zero.len());
    // This tokenizer has a chat template, so that is what auto takes.
    assert_eq!(prompt_ids(&[], TEXT), chat);
    // A conversation of one user turn is the question.
    for (flag, ids) in [("r1-zero", &zero), ("chat", &chat), ("raw", &raw)] {
        assert_eq!(prompt_ids(&["--template", flag], TURN), *ids, "{flag}");
    }
    let longer = prompt_ids(&["--template", "chat"], TALK);
    assert!(longer.len() > chat.len() && longer.ends_with(&chat[chat.len() - 3..]));
    // A file sees `prompt` and `messages`; the paper's Table 1 as such a file gives the tokens of r1-zero.
    let own = file("raw.jinja", "{{ prompt }}");
    assert_eq!(prompt_ids(&["--template", &own], TEXT), raw);
    let own = file("messages.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}");
    assert_eq!(prompt_ids(&["--template", &own], TEXT), raw);
    let table = "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. \
        The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. \
        The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags respectively, \
        i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: {{ prompt }}. Assistant:";
    let own = file("table-1.jinja", table);
    assert_eq!(prompt_ids(&["--template", &own], TEXT), zero);
}

#[test]
fn templates_that_cannot_serve_are_named() {
    let dir = scratch();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    };
    let refused = |template: &str, row: &str, words: &[&str]| {
        let arguments = [qwen(), "-", "-q", "--template", template];
        let outcome = run("r1-rollout", &arguments, row);
        outcome.refused(2, words);
        assert_eq!((outcome.stderr.lines().count(), outcome.stdout.as_str()), (1, ""));
    };
    refused("r1-one", TEXT, &["--template r1-one", "no such file; see --help for the templates by name"]);
    refused("r1-zero", TALK, &["stdin:1", "takes one user message"]);
    refused("raw", TALK, &["stdin:1", "takes one user message"]);
    refused(&file("broken.jinja", "{% for %}"), TEXT, &["broken.jinja"]);
    refused(
        &file("raises.jinja", "{{ raise_exception('no tools here') }}"),
        TEXT,
        &["stdin:1", "no tools here"],
    );
    refused(
        &file(
            "endless.jinja",
            "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
        ),
        TEXT,
        &["stdin:1"],
    );
    refused(
        &file("wide.jinja", "{% for i in range(99999) %}1 {% endfor %}"),
        TEXT,
        &["stdin:1", "positions"],
    );
    refused("chat", r#"{"prompt":[]}"#, &["stdin:1", "prompt"]);
    refused("chat", r#"{"prompt":[{"role":"user"}]}"#, &["stdin:1", "content"]);
}

#[test]
fn more_than_the_prompt_can_be_asked() {
    let asked = |flags: &[&str], row: &str| {
        let mut arguments = vec![qwen(), "-", "-q", "--max-tokens", "1", "--template", "raw"];
        arguments.extend(flags);
        run("r1-rollout", &arguments, row)
    };
    let length = |flags: &[&str]| ids(&asked(flags, TEXT).rows()[0], "prompt_ids").len();
    let (few, direct, raw) = (length(&["--ask", "few-shot"]), length(&["--ask", "reflection"]), length(&[]));
    assert!(few > direct && direct > raw, "{few} {direct} {raw}");
    // The row keeps its prompt; what is shown is what was asked.
    let made = asked(&["--ask", "reflection"], TEXT).rows();
    assert_eq!(made[0]["prompt"], "What is 2 + 3 * 4?");
    let shown = asked(&["--ask", "few-shot", "--show-tokens"], TEXT).success();
    assert!(shown.trim_end().ends_with("\":\"") && shown.lines().count() > few, "{shown}");
    // A request of one's own, with the row's completion in it.
    let dir = scratch();
    let path = dir.path().join("again.txt");
    fs::write(&path, "{{ question }} {{ response }}\n").unwrap();
    let own = path.to_str().unwrap();
    let draft = r#"{"id":"a","prompt":"2 + 3?","completion":"5, I think"}"#;
    let together = r#"{"id":"a","prompt":"2 + 3? 5, I think"}"#;
    let of = |flags: &[&str], row: &str| ids(&asked(flags, row).rows()[0], "prompt_ids");
    assert_eq!(of(&["--ask", own], draft), of(&[], together));
    for (flag, row, words) in [
        ("refine", TEXT, ["stdin:1", "no `completion`"]),
        ("no-such", TEXT, ["--ask no-such", "few-shot, reflection, refine"]),
        ("few-shot", TALK, ["stdin:1", "--ask takes one user message"]),
    ] {
        asked(&["--ask", flag], row).refused(2, &words);
    }
    fs::write(&path, "{{ question }} {{ answer }}").unwrap();
    asked(&["--ask", own], TEXT).refused(2, &["again.txt", "`answer` is not known"]);
    run("r1-rollout", &[qwen(), "-", "--ask", "few-shot", "--score", "ours"], TEXT).refused(2, &["--ask"]);
}

#[test]
fn tokens_are_shown_as_they_are_trained_on() {
    let show = |row: &str, flags: &[&str]| {
        let mut arguments = vec![qwen(), "-", "-q", "--show-tokens"];
        arguments.extend(flags);
        run("r1-rollout", &arguments, row).success()
    };
    let lines = |text: &str, role: &str| text.lines().filter(|l| l.split('\t').nth(2) == Some(role)).count();
    let prompt = show(TEXT, &[]);
    assert_eq!((lines(&prompt, "given"), lines(&prompt, "trained")), (prompt_ids(&[], TEXT).len(), 0));
    let drawn = rollout(qwen(), "--max-tokens 9 --min-tokens 9", TEXT).success();
    let row: Value = serde_json::from_str(&drawn).unwrap();
    let text = show(&drawn, &[]);
    assert_eq!((lines(&text, "given"), lines(&text, "trained")), (ids(&row, "prompt_ids").len(), 9));
    let example = show(r#"{"id":"e","prompt":"What is 2 + 3?","completion":"<think>5</think>"}"#, &[]);
    assert!(example.starts_with("# e: ") && lines(&example, "trained") > 2, "{example}");
    assert!(example.trim_end().ends_with("\"<|eos|>\""), "an example ends in EOS: {example}");
    assert!(!text.contains('\x1b'), "no colour in a pipe");
}

#[test]
fn what_looks_wrong_is_said_before_anything_is_drawn() {
    let dir = scratch();
    let path = dir.path().join("opens.jinja");
    fs::write(&path, "{{ prompt }}\n<think>\n").unwrap();
    let arguments = [qwen(), "-", "--max-tokens", "1", "--template", path.to_str().unwrap()];
    let outcome = run("r1-rollout", &arguments, TEXT);
    assert!(outcome.stderr.contains("warning: the template opens <think> itself"), "{}", outcome.stderr);
    let path = dir.path().join("twice.jinja");
    fs::write(&path, "{{ bos_token }}{{ bos_token }}{{ prompt }}").unwrap();
    let arguments = [qwen(), "-", "--max-tokens", "1", "--template", path.to_str().unwrap()];
    let outcome = run("r1-rollout", &arguments, TEXT);
    assert!(outcome.stderr.contains("twice"), "{}", outcome.stderr);
    let outcome = run("r1-rollout", &[qwen(), "-", "--max-tokens", "1"], TEXT);
    assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
}
