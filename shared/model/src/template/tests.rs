//! The forms by hand; agreement with transformers' `apply_chat_template` is held by goldens in `tests/` of this crate.

use super::*;
use crate::tokenizer::train;

fn tokenizer() -> Tokenizer {
    train([Template::r1_zero_words().as_str(), "What is 2 + 3? 14"], 400, 512).unwrap().build().unwrap()
}

fn with_chat(source: &str) -> Tokenizer {
    let mut d = train(["What is 2 + 3? 14"], 300, 512).unwrap();
    d.chat_template = Some(source.into());
    d.build().unwrap()
}

fn message(role: &str, content: &str) -> Message {
    Message::new(role, content)
}

fn rendered(source: &str, messages: &[Message]) -> Result<String> {
    let t = with_chat(source);
    Template::parse("chat", &t)?.text(&Prompt::Messages(messages.to_vec()), &t)
}

#[test]
fn r1_zero_is_the_papers_table_1() {
    let t = tokenizer();
    let text = Template::R1Zero.text(&Prompt::Text("What is 2 + 3 * 4?".into()), &t).unwrap();
    assert_eq!(
        text,
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The \
         assistant first thinks about the reasoning process in the mind and then provides the user with the answer. The \
         reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags respectively, \
         i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: What is 2 + 3 * 4?. \
         Assistant:"
    );
}

#[test]
fn completions_are_the_same_in_sampling_and_training() {
    let t = tokenizer();
    let prompt = Prompt::Text("What is 2 + 3?".into());
    let (prompt_ids, ids) =
        Template::R1Zero.render_example(&prompt, "<think>5</think> <answer>5</answer>", &t).unwrap();
    assert_eq!(prompt_ids, Template::R1Zero.render(&prompt, &t).unwrap());
    assert_eq!(prompt_ids[0], t.bos().unwrap().id);
    assert_eq!(*ids.last().unwrap(), t.eos().unwrap().id);
    // A space of its own, then the tag: and the sampled text is the example's.
    assert_eq!(t.id_to_token(ids[1]).as_deref(), Some("<think>"));
    let decoded = t.decode(&ids, true).unwrap();
    assert_eq!(decoded, " <think>5</think> <answer>5</answer>");
    assert_eq!(Template::R1Zero.completion_text(&decoded), "<think>5</think> <answer>5</answer>");
    for text in ["  two spaces", "\nline", "none"] {
        let ids = Template::R1Zero.completion_ids(text, &t).unwrap();
        assert_eq!(Template::R1Zero.completion_text(&t.decode(&ids, true).unwrap()), text);
        let ids = Template::Raw.completion_ids(text, &t).unwrap();
        assert_eq!(Template::Raw.completion_text(&t.decode(&ids, true).unwrap()), text);
    }
}

#[test]
fn the_chat_form_of_our_own_tokenizers() {
    let t = tokenizer();
    let chat = Template::parse("auto", &t).unwrap();
    let text = chat.text(&Prompt::Text("Hi".into()), &t).unwrap();
    assert_eq!(text, "<|bos|><|user|>Hi<|assistant|>");
    let turns = [
        message("system", "Be short."),
        message("user", "a"),
        message("assistant", "b"),
        message("user", "c"),
    ];
    let ids = chat.render(&Prompt::Messages(turns.to_vec()), &t).unwrap();
    assert_eq!(
        t.decode(&ids, false).unwrap(),
        "<|bos|>Be short.<|user|>a<|assistant|>b<|eos|><|user|>c<|assistant|>"
    );
    assert_eq!(ids.iter().filter(|id| **id == t.bos().unwrap().id).count(), 1);
    let error = chat.render(&Prompt::Messages(vec![message("tool", "x")]), &t).unwrap_err().to_string();
    assert_eq!(error, "chat template line 1: unknown role tool");
}

#[test]
fn flags_are_parsed() {
    let t = tokenizer();
    assert!(matches!(Template::parse("r1-zero", &t).unwrap(), Template::R1Zero));
    assert!(matches!(Template::parse("raw", &t).unwrap(), Template::Raw));
    assert!(matches!(Template::parse("chat", &t).unwrap(), Template::Chat(_)));
    assert!(Template::parse("caht", &t).unwrap_err().to_string().contains("no such file"));
    let mut d = train(["x y z"], 300, 512).unwrap();
    d.chat_template = None;
    let plain = d.build().unwrap();
    assert!(matches!(Template::parse("auto", &plain).unwrap(), Template::R1Zero));
    assert!(Template::parse("chat", &plain).unwrap_err().to_string().contains("has no chat template"));

    let path = std::env::temp_dir().join(format!("r1-template-{}.jinja", std::process::id()));
    std::fs::write(&path, "Q: {{ prompt }}\nA:").unwrap();
    let file = Template::parse(path.to_str().unwrap(), &t).unwrap();
    let ids = file.render(&Prompt::Text("1 + 1".into()), &t).unwrap();
    assert_eq!(t.decode(&ids, false).unwrap(), "<|bos|>Q: 1 + 1\nA:");
    std::fs::write(&path, "{% if %}").unwrap();
    let error = Template::parse(path.to_str().unwrap(), &t).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()) && error.contains("line 1"), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn conversations_do_not_fit_a_single_question() {
    let t = tokenizer();
    let two = Prompt::Messages(vec![message("user", "a"), message("assistant", "b"), message("user", "c")]);
    for template in [Template::R1Zero, Template::Raw] {
        assert!(template.render(&two, &t).unwrap_err().to_string().contains("takes one user message"));
    }
    let one = Prompt::Messages(vec![message("user", "a")]);
    assert_eq!(Template::Raw.text(&one, &t).unwrap(), "a");
}

#[test]
fn thinking_that_the_template_opens_is_not_opened_twice() {
    let t = with_chat(
        "{{ bos_token }}<|user|>{{ messages[0].content }}<|assistant|>{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}",
    );
    let chat = Template::parse("chat", &t).unwrap();
    let prompt = Prompt::Text("1".into());
    assert_eq!(Template::prefill(&chat.text(&prompt, &t).unwrap()), "<think>\n");
    let (_, ids) = chat.render_example(&prompt, "<think>\na\n</think>\n\nb", &t).unwrap();
    assert_eq!(t.decode(&ids, true).unwrap(), "a\n</think>\n\nb");
    let (_, ids) = chat.render_example(&prompt, "a</think>b", &t).unwrap();
    assert_eq!(t.decode(&ids, true).unwrap(), "a</think>b");
    // A question that talks about the tag opens nothing.
    assert_eq!(Template::prefill("what is <think>? <|assistant|>"), "");
    assert_eq!(Template::prefill("a <think>b</think><|assistant|>"), "");
}

#[test]
fn examples_need_an_end_and_a_beginning() {
    let t = tokenizer();
    let prompt = Prompt::Text("1".into());
    assert!(Template::R1Zero.render_example(&prompt, "", &t).unwrap_err().to_string().contains("empty"));
    let mut d = train(["x y"], 300, 512).unwrap();
    d.eos = None;
    let endless = d.build().unwrap();
    let error = Template::R1Zero.render_example(&prompt, "2", &endless).unwrap_err().to_string();
    assert!(error.contains("eos_token is missing"), "{error}");
    d.add_bos = false;
    assert!(Template::Raw.render(&Prompt::Text(String::new()), &d.build().unwrap()).is_err());
}

#[test]
fn templates_run_as_in_python() {
    let user = [message("user", "  Hello </think> world  ")];
    for (source, expected) in [
        ("{{ messages[0].content.split('</think>')[-1].strip() }}", "world"),
        ("{{ messages[0]['content'].strip().startswith('Hello') }}", "True"),
        ("{{ 'a,b,c'.split(',', 1) | length }}{{ 'a,b'.rsplit(',')[0] }}", "2a"),
        ("{{ '\\n\\nx\\n'.lstrip('\\n') }}|{{ 'xxaxx'.rstrip('x') }}", "x\n|xxa"),
        ("{% for k, v in messages[0].items() %}{{ k }};{% endfor %}", "role;content;"),
        ("{{ messages[0].get('name', 'none') }}{{ messages[0].get('role') }}", "noneuser"),
        ("{{ 'aXb'.lower() }}{{ 'aXb'.upper() }}{{ 'ab cd'.title() }}", "axbAXBAb Cd"),
        ("{{ 'a-b'.replace('-', '+') }}{{ 'ab'.endswith(['x', 'b']) }}", "a+bTrue"),
        ("{{ none }} {{ true }} {{ tools is none }} {{ nothing is defined }}", "None True True False"),
        (
            "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
            "3",
        ),
        ("{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}x{% endfor %}y", "y"),
        ("{%- generation -%} a {%- endgeneration -%} b", "ab"),
        ("{% macro say(x) %}<{{ x }}>{% endmacro %}{{ say('a') }}", "<a>"),
        ("  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny"),
        ("{{ messages[0].role ~ (1 + 2) }}", "user3"),
        (
            "{{ {'b': [1, 2.5, none, true], 'a': '<é\"\\n>'} | tojson }}",
            "{\"b\": [1, 2.5, null, true], \"a\": \"<é\\\"\\n>\"}",
        ),
        ("{{ {'b': 1, 'a': []} | tojson(indent=2, sort_keys=true) }}", "{\n  \"a\": [],\n  \"b\": 1\n}"),
        ("{{ ['é😀'] | tojson(ensure_ascii=true, separators=[',', ':']) }}", "[\"\\u00e9\\ud83d\\ude00\"]"),
    ] {
        assert_eq!(rendered(source, &user).unwrap(), expected, "{source}");
    }
}

/// A turn reaches the template whole: what stands beside its text decides what Qwen's and DeepSeek's templates write.
#[test]
fn a_turn_reaches_the_template_whole() {
    let mut call = message("assistant", "");
    let calls =
        serde_json::json!([{"type": "function", "function": {"name": "add", "arguments": {"b": 3, "a": 2}}}]);
    call.extra.insert("tool_calls".into(), calls);
    let mut answer = message("tool", "5");
    answer.extra.insert("name".into(), "add".into());
    let turns = [message("user", "2 + 3?"), call, answer];
    let source = "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}<tool_call>\n\
        {{ c.function | tojson }}\n</tool_call>{% endfor %}{% elif m.role == 'tool' %}{{ m.name }}={{ m.content }}\
        {% else %}{{ m.content }}|{% endif %}{% endfor %}";
    assert_eq!(
        rendered(source, &turns).unwrap(),
        "2 + 3?|<tool_call>\n{\"name\": \"add\", \"arguments\": {\"b\": 3, \"a\": 2}}\n</tool_call>add=5"
    );
    assert_eq!(rendered("{{ messages[0].tool_calls is defined }}", &turns).unwrap(), "False");
}

#[test]
fn bad_templates_end_in_one_line() {
    let user = [message("user", "x")];
    for (source, expected) in [
        ("{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}", "does not end"),
        ("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}", "chat template"),
        (
            "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
            "chat template",
        ),
        ("{{ 'x' * 1000000000000 }}", "chat template"),
        ("\n{{ raise_exception('no\nsystem role') }}", "chat template line 2: no system role"),
        ("{{ messages[0].content.nothing() }}", "nothing"),
        ("{{ nothing.at.all }}", "chat template line 1"),
        ("{% include 'etc/passwd' %}", "chat template line 1"),
        ("{{ strftime_now('%Q') }}", "%Q is not known"),
    ] {
        let text = format!("{:#}", rendered(source, &user).unwrap_err());
        assert!(text.contains(expected) && !text.contains('\n'), "{source}: {text}");
    }
}

#[test]
fn dates_are_right() {
    for (seconds, expected) in [
        (0, "1970-01-01 Thu Thursday 01 Jan 1970 00:00:00 12 AM"),
        (951_782_400, "2000-02-29 Tue Tuesday 29 Feb 2000 00:00:00 12 AM"),
        (1_753_964_130, "2025-07-31 Thu Thursday 31 Jul 2025 12:15:30 12 PM"),
        (4_102_444_799, "2099-12-31 Thu Thursday 31 Dec 2099 23:59:59 11 PM"),
    ] {
        assert_eq!(jinja::strftime("%Y-%m-%d %a %A %d %b %Y %H:%M:%S %I %p", seconds).unwrap(), expected);
    }
}
