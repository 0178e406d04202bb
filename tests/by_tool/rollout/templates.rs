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
    refused("r1-one", TEXT, &["--template r1-one", "no such file"]);
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
