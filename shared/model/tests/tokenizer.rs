//! Tokenizers and templates against transformers and llama.cpp: the numbers are in `tests/golden/tokenizer`, their recipe in
//! `scripts/golden/tokenizer.py`.

use std::path::{Path, PathBuf};

use r1_model::template::{Message, Prompt, Template};
use r1_model::tokenizer::{Description, PreTokenizer, train};
use serde_json::Value;

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tokenizer").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    list(value).iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn prompt(messages: &Value) -> Prompt {
    let message = |m: &Value| Message::new(text(&m["role"]), text(&m["content"]));
    Prompt::Messages(list(messages).iter().map(message).collect())
}

/// The tokenizer that r1-init learned when the goldens were made: the corpus' lines and the template's words.
fn learned(golden: &Value) -> Description {
    let words = Template::r1_zero_words();
    let lines = list(&golden["corpus"]).iter().map(text);
    let all = lines.chain(std::iter::repeat_n(words.as_str(), 1000));
    train(all, golden["vocabulary"].as_u64().unwrap() as usize, 2048).unwrap()
}

#[test]
fn a_learned_tokenizer_reads_the_same_in_transformers() {
    let golden = golden("trained.json");
    let t = learned(&golden).build().unwrap();
    let special = &golden["special"];
    assert_eq!(special["bos"], t.bos().unwrap().id);
    assert_eq!(special["eos"], t.eos().unwrap().id);
    assert_eq!(special["pad"], t.pad().unwrap().id);
    assert_eq!(t.encode("a", true).unwrap(), ids(&special["with_bos"]));
    for row in list(&golden["encoded"]) {
        let wanted = ids(&row["ids"]);
        assert_eq!(t.encode(text(&row["text"]), false).unwrap(), wanted, "{}", row["text"]);
        assert_eq!(t.decode(&wanted, false).unwrap(), text(&row["text"]));
    }
    let chat = Template::parse("chat", &t).unwrap();
    for row in list(&golden["chats"]) {
        assert_eq!(chat.text(&prompt(&row["messages"]), &t).unwrap(), text(&row["text"]));
        assert_eq!(chat.render(&prompt(&row["messages"]), &t).unwrap(), ids(&row["ids"]));
    }
}

#[test]
fn text_is_cut_as_other_families_cut_it() {
    let golden = golden("cutters.json");
    let texts = |name: &str| list(&golden[name]).iter().map(|t| text(t).to_owned()).collect::<Vec<String>>();
    let merges: Vec<(String, String)> =
        texts("merges").iter().filter_map(|m| m.split_once(' ')).map(|(a, b)| (a.into(), b.into())).collect();
    for (name, pre_tokenizer) in [
        ("Qwen2", PreTokenizer::Qwen2),
        ("Gpt2", PreTokenizer::Gpt2),
        ("SmolLm", PreTokenizer::SmolLm),
        ("Llama3", PreTokenizer::Llama3),
    ] {
        let description = Description {
            vocabulary: texts("vocabulary"),
            merges: merges.clone(),
            added: Vec::new(),
            pre_tokenizer,
            bos: None,
            eos: None,
            pad: None,
            add_bos: false,
            model_max_length: 2048,
            chat_template: None,
        };
        let t = description.build().unwrap();
        for row in list(&golden["encoded"]) {
            assert_eq!(
                t.encode(text(&row["text"]), false).unwrap(),
                ids(&row[name]),
                "{name}: {}",
                row["text"]
            );
        }
    }
}

#[test]
fn chat_templates_render_as_in_transformers() {
    let golden = golden("chats.json");
    // The tokenizer only lends the names of its special tokens.
    let mut description = learned(&self::golden("trained.json"));
    for (id, name) in [(0, "<pad>"), (1, "<bos>"), (2, "<eos>")] {
        description.vocabulary[id] = name.into();
        description.added[id].text = name.into();
    }
    let mut refused = 0;
    for row in list(&golden["rendered"]) {
        description.chat_template = Some(text(&golden["templates"][text(&row["template"])]).to_owned());
        let t = description.build().unwrap();
        let messages = prompt(&golden["conversations"][text(&row["conversation"])]);
        let rendered = Template::parse("chat", &t).unwrap().text(&messages, &t);
        let place = format!("{} {}", row["template"], row["conversation"]);
        match (&row["text"], &row["error"]) {
            (Value::String(wanted), _) => assert_eq!(&rendered.unwrap(), wanted, "{place}"),
            (_, Value::String(wanted)) => {
                let error = rendered.expect_err(&place).to_string();
                assert!(error.ends_with(wanted.as_str()), "{place}: {error} instead of {wanted}");
                refused += 1;
            }
            _ => panic!("{place}: neither text nor error"),
        }
    }
    assert!(refused > 0, "no template refused a conversation");
}

/// The GGUF file of the goldens, where the environment names one.
fn smollm2() -> Option<PathBuf> {
    let path = std::env::var_os("R1_SMOLLM2_GGUF").map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: R1_SMOLLM2_GGUF does not name SmolLM2-135M-Instruct.Q4_1.gguf");
    }
    path
}

#[test]
fn smollm2_out_of_a_gguf_file() {
    let Some(path) = smollm2() else { return };
    let golden = golden("smollm2.json");
    let import = r1_model::gguf::Import::open(&path).unwrap();
    let t = import.tokenizer.build().unwrap();
    t.check_fits(&import.config).unwrap();
    for row in list(&golden["encoded"]) {
        let wanted = ids(&row["ids"]);
        assert_eq!(t.encode(text(&row["text"]), false).unwrap(), wanted, "{}", row["text"]);
        assert_eq!(t.decode(&wanted, false).unwrap(), text(&row["text"]));
    }
    let chat = Template::parse("chat", &t).unwrap();
    for row in list(&golden["chats"]) {
        assert_eq!(chat.text(&prompt(&row["messages"]), &t).unwrap(), text(&row["text"]));
    }
    for row in list(&golden["weights"]) {
        let values = import.read_f32(text(&row["name"])).unwrap();
        for (place, wanted) in ids(&row["places"]).iter().zip(list(&row["values"])) {
            assert_eq!(
                f64::from(values[*place as usize]),
                wanted.as_f64().unwrap(),
                "{}[{place}]",
                row["name"]
            );
        }
    }
}

/// Published tokenizers that are not part of this project: folders with `hard_strings.json` (recipe:
/// scripts/golden/hard_strings.py), named by the environment.
#[test]
fn published_tokenizers_are_exact_on_hard_strings() {
    let Some(folders) = std::env::var_os("R1_TOKENIZERS") else {
        eprintln!("skipped: R1_TOKENIZERS names no folder with a tokenizer.json and a hard_strings.json");
        return;
    };
    for folder in std::env::split_paths(&folders) {
        let place = folder.display();
        let bytes =
            std::fs::read(folder.join("hard_strings.json")).unwrap_or_else(|e| panic!("{place}: {e}"));
        let golden: Value = serde_json::from_slice(&bytes).unwrap();
        let t = r1_model::Tokenizer::load(&folder).unwrap();
        let encoded = list(&golden["encoded"]);
        assert!(encoded.len() >= 3000, "{place}");
        for row in encoded {
            assert_eq!(
                t.encode(text(&row["text"]), false).unwrap(),
                ids(&row["ids"]),
                "{place}: {}",
                row["text"]
            );
        }
        for row in list(&golden["chats"]) {
            let Ok(chat) = Template::parse("chat", &t) else {
                assert!(row["text"].is_null(), "{place}: has no chat template");
                continue;
            };
            let turns: Vec<Message> = serde_json::from_value(row["messages"].clone()).unwrap();
            let rendered = chat.text(&Prompt::Messages(turns), &t);
            match &row["text"] {
                Value::String(wanted) => {
                    assert_eq!(&rendered.unwrap(), wanted, "{place}: {}", row["messages"])
                }
                _ => assert!(rendered.is_err(), "{place}: {}", row["messages"]),
            }
        }
        println!("{place}: {} strings, {} chats", encoded.len(), list(&golden["chats"]).len());
    }
}
