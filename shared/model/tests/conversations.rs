//! Whole conversations against transformers: what of them is the assistant's (`{% generation %}`), and tools. The numbers are in
//! `tests/golden/tokenizer/conversations.json`, their recipe in `scripts/golden/conversations.py`.

use std::path::Path;

use r1_model::template::{Message, Prompt, Template};
use r1_model::tokenizer::{Description, train};
use serde_json::Value;

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tokenizer").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// The tokenizer that the recipe had r1-init learn.
fn learned() -> Description {
    let golden = golden("trained.json");
    let words = Template::r1_zero_words();
    let lines = golden["corpus"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let all = lines.chain(std::iter::repeat_n(words.as_str(), 1000));
    train(all, golden["vocabulary"].as_u64().unwrap() as usize, 2048).unwrap()
}

#[test]
fn the_assistants_tokens_and_tools_are_transformers() {
    let golden = golden("conversations.json");
    let mut description = learned();
    let tools: Vec<Value> = serde_json::from_str(golden["tools"].as_str().unwrap()).unwrap();
    let mut spans_of_all = 0;
    let rows = golden["rendered"].as_array().unwrap();
    for row in rows {
        let (name, kind) = (row["template"].as_str().unwrap(), row["conversation"].as_str().unwrap());
        description.chat_template = Some(golden["templates"][name].as_str().unwrap().to_owned());
        let t = description.build().unwrap();
        let mut template = Template::parse("chat", &t).unwrap();
        if row["tools"].as_bool().unwrap() {
            template = template.with_tools(&tools);
        }
        let turns: Vec<Message> = serde_json::from_value(golden["conversations"][kind].clone()).unwrap();
        let (ids, spans) = template.assistant_tokens(&turns, &t).unwrap().unwrap();
        let wanted: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        assert_eq!(ids, wanted, "{name} {kind}: {}", row["text"]);
        // transformers asks for the token of a span's last character and gets its first one: of a character that is several
        // tokens (an emoji) the others fall off its mask. Here all are learned.
        let (_, places) = t.encode_with_places(row["text"].as_str().unwrap()).unwrap();
        let theirs = spans.iter().map(|span| {
            let last = places[span.clone()].iter().position(|place| *place == places[span.end - 1]).unwrap();
            span.start..span.start + last + 1
        });
        let mut mask = vec!['0'; ids.len()];
        theirs.for_each(|span| mask[span].fill('1'));
        let mask: String = mask.into_iter().collect();
        assert_eq!(mask, row["mask"].as_str().unwrap(), "{name} {kind}: {}", row["text"]);
        spans_of_all += spans.len();

        // Rendered for sampling, the tags leave no trace.
        let (said, before) = turns.split_last().unwrap();
        let prompt = template.text(&Prompt::Messages(before.to_vec()), &t).unwrap();
        assert!(!prompt.contains(['\u{FDD0}', '\u{FDD1}']));
        if name == "plain" {
            let whole = format!("{prompt}{}{}", said.content, t.eos().unwrap().text);
            assert_eq!(whole, row["text"].as_str().unwrap());
        }
    }
    assert!(rows.len() >= 18 && spans_of_all > 2 * rows.len() - 6, "{} {spans_of_all}", rows.len());
}

#[test]
fn templates_that_mark_nothing_or_wrongly_are_refused() {
    let mut description = learned();
    let turns = |said: &str| vec![Message::new("user", "a"), Message::new("assistant", said)];
    for (template, said, expected) in [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "b", None),
        ("{% if false %}{% generation %}x{% endgeneration %}{% endif %}", "b", Some("marks nothing")),
        (
            "{% generation %}a{% generation %}x{% endgeneration %}{% endgeneration %}",
            "b",
            Some("inside each other"),
        ),
        ("{% generation %}{{ messages[1].content }}{% endgeneration %}", "b\u{FDD1}", Some("U+FDD0")),
    ] {
        description.chat_template = Some(template.into());
        let t = description.build().unwrap();
        let chat = Template::parse("chat", &t).unwrap();
        match (chat.assistant_tokens(&turns(said), &t), expected) {
            (Ok(None), None) => {}
            (Err(e), Some(expected)) => assert!(e.to_string().contains(expected), "{template}: {e:#}"),
            (other, _) => panic!("{template}: {other:?}"),
        }
    }
    for broken in ["{% generation %}x", "x{% endgeneration %}"] {
        description.chat_template = Some(broken.into());
        let t = description.build().unwrap();
        assert!(Template::parse("chat", &t).is_err(), "{broken}");
    }
}
