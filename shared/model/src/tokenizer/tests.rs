//! Training is deterministic and lossless; special tokens and BOS follow the files. What other checkpoints' tokenizers
//! do is held against transformers in `tests/` of this crate.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

const TEXTS: [&str; 6] = [
    "What is 2 + 3 * 4? <think>3 * 4 = 12, 2 + 12 = 14</think> <answer>14</answer>",
    "What is 12 - 3 - 4? <think>12 - 3 = 9, 9 - 4 = 5</think> <answer>5</answer>",
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it.",
    "The assistant first thinks about the reasoning process, the reasoning process in the mind.",
    "请问 2 + 3 等于多少？ <think>二加三等于五</think> <answer>5</answer>",
    "请问 12 减 4 等于多少？ <think>十二减四等于八</think> <answer>8</answer>",
];

/// Texts that no corpus of arithmetic contains.
const STRANGE: [&str; 9] = [
    "",
    " ",
    "\n\n\t  \r\n x",
    "naïve café, ﬁ, e\u{301}, ｆｕｌｌ",
    "👩‍👩‍👧‍👦🏳️‍🌈 ok",
    "fn main() { let x = 1_000_000; }\n\n    // done",
    "<think><think></answer> < think> <|eos|> <|im_end|>",
    "ΑΒΓ абв ١٢٣ 一二三 ㊙",
    "\u{0}\u{FFFD}\u{10FFFF}",
];

fn trained(size: usize) -> Tokenizer {
    train(TEXTS, size, 512).unwrap().build().unwrap()
}

#[test]
fn training_is_the_same_in_any_order_of_the_texts() {
    let first = train(TEXTS, 400, 512).unwrap();
    assert!(first.vocabulary.len() > 300 && first.vocabulary.len() <= 400, "{}", first.vocabulary.len());
    let mut turned = TEXTS;
    turned.reverse();
    for _ in 0..3 {
        assert_eq!(train(turned, 400, 512).unwrap().tokenizer_json(), first.tokenizer_json());
    }
}

#[test]
fn merges_follow_the_definition() {
    // low ×5, lower ×2, newest ×6, widest ×3: the example of Sennrich et al. By hand: es 9, est 9, lo 7, low 7, and of
    // the three pairs that then occur 6 times (w est, e w, n e) the one with the smallest ids.
    let words: BTreeMap<String, u64> =
        [("low", 5), ("lower", 2), ("newest", 6), ("widest", 3)].map(|(w, n)| (w.to_owned(), n)).into();
    let mut vocabulary: Vec<String> = "lowernsidt".chars().map(String::from).collect();
    let merges = bpe::learn(&words, &mut vocabulary, 15);
    let merges: Vec<String> = merges.iter().map(|(a, b)| format!("{a}+{b}")).collect();
    assert_eq!(merges, ["e+s", "es+t", "l+o", "lo+w", "w+est"]);
    assert_eq!(&vocabulary[10..], ["es", "est", "lo", "low", "west"]);
}

#[test]
fn every_text_comes_back() {
    for size in [265, 300, 600] {
        let t = trained(size);
        for text in TEXTS.iter().chain(&STRANGE) {
            let ids = t.encode(text, false).unwrap();
            assert_eq!(t.decode(&ids, false).unwrap(), **text);
        }
    }
}

#[test]
fn digits_and_tags_are_single_tokens() {
    let t = trained(600);
    let tokens = |text: &str| -> Vec<String> {
        t.encode(text, false).unwrap().iter().map(|id| t.id_to_token(*id).unwrap()).collect()
    };
    assert_eq!(tokens("1234"), ["1", "2", "3", "4"]);
    assert_eq!(
        tokens("<think></think><answer>14</answer>"),
        ["<think>", "</think>", "<answer>", "1", "4", "</answer>"]
    );
    assert_eq!(tokens(" reasoning process").len(), 2);
    // Tags stay visible, BOS and EOS do not.
    let mut ids = t.encode("<think>1</think>", true).unwrap();
    ids.push(t.eos().unwrap().id);
    assert_eq!(t.decode(&ids, true).unwrap(), "<think>1</think>");
    assert_eq!(t.decode(&ids, false).unwrap(), "<|bos|><think>1</think><|eos|>");
}

#[test]
fn bos_stands_in_front_exactly_once() {
    let t = trained(300);
    let bos = t.bos().unwrap().id;
    assert!(t.adds_bos());
    assert_eq!(t.encode("", true).unwrap(), [bos]);
    assert_eq!(t.encode("1", true).unwrap()[..1], [bos]);
    assert_eq!(t.encode("<|bos|>1", true).unwrap().iter().filter(|id| **id == bos).count(), 1);
    assert!(!t.encode("1", false).unwrap().contains(&bos));
    // Only tokenizer_config.json asks for it: DeepSeek's distilled Qwens.
    let mut d = train(TEXTS, 300, 512).unwrap();
    d.add_bos = false;
    let json = d.tokenizer_json().to_string();
    let mut config = d.tokenizer_config();
    assert!(!Tokenizer::from_parts(json.as_bytes(), &config).unwrap().adds_bos());
    config["add_bos_token"] = json!(true);
    assert_eq!(Tokenizer::from_parts(json.as_bytes(), &config).unwrap().encode("1", true).unwrap()[0], bos);
}

#[test]
fn a_stream_gives_the_same_text() {
    let t = trained(400);
    for text in TEXTS.iter().chain(&STRANGE) {
        for skip in [false, true] {
            let ids = t.encode(text, true).unwrap();
            let mut stream = t.decoder(skip);
            let mut joined = String::new();
            for id in &ids {
                joined += &stream.push(*id).unwrap();
            }
            joined += &stream.finish().unwrap();
            assert_eq!(joined, t.decode(&ids, skip).unwrap());
        }
    }
    // Half a character, then something else; and half a character at the end.
    let ids: Vec<u32> = t.encode("请", false).unwrap();
    let byte = |s: &str| t.token_to_id(s).unwrap();
    let first = byte(&bpe::byte_alphabet()[0xE8].to_string());
    assert!(!ids.is_empty());
    for stream_ids in
        [vec![first, byte("a"), byte("b")], vec![byte("a"), first], vec![first, first, first, byte("c")]]
    {
        let mut stream = t.decoder(false);
        let mut joined = String::new();
        for id in &stream_ids {
            joined += &stream.push(*id).unwrap();
        }
        joined += &stream.finish().unwrap();
        assert_eq!(joined, t.decode(&stream_ids, false).unwrap());
    }
}

#[test]
fn text_appears_as_soon_as_it_is_certain() {
    let t = trained(400);
    let mut stream = t.decoder(false);
    assert_eq!(stream.push(t.token_to_id("1").unwrap()).unwrap(), "1");
    assert_eq!(stream.push(t.token_to_id("<think>").unwrap()).unwrap(), "<think>");
    let alphabet = bpe::byte_alphabet();
    let [a, b, c] = [0xE8, 0xAF, 0xB7].map(|b: usize| t.token_to_id(&alphabet[b].to_string()).unwrap());
    assert_eq!((stream.push(a).unwrap(), stream.push(b).unwrap()), (String::new(), String::new()));
    assert_eq!(stream.push(c).unwrap(), "请");
}

#[test]
fn broken_files_are_one_line_errors() {
    let dir = std::env::temp_dir().join(format!("r1-tokenizer-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let error = || {
        let text = format!("{:#}", Tokenizer::load(&dir).unwrap_err());
        assert!(!text.contains('\n'), "{text}");
        text
    };
    assert!(error().contains("tokenizer.json: No such file"));
    std::fs::write(dir.join("tokenizer.model"), "x").unwrap();
    assert!(error().contains("has tokenizer.model only"));
    std::fs::write(dir.join("tokenizer.json"), "{").unwrap();
    assert!(error().contains("tokenizer.json: "));
    std::fs::write(dir.join("tokenizer.json"), r#"{"version":"1.0"}"#).unwrap();
    assert!(error().contains("tokenizer.json: "));
    let d = train(TEXTS, 300, 512).unwrap();
    d.write(&dir).unwrap();
    assert_eq!(Tokenizer::load(&dir).unwrap().vocab_size(), d.vocabulary.len());
    let mut config = d.tokenizer_config();
    config["bos_token"] = json!("<s>");
    write_config(&dir, &config);
    assert!(error().contains("bos_token: \"<s>\" is not in tokenizer.json"));
    config["bos_token"] = json!({"content": "<|bos|>", "lstrip": false});
    config["chat_template"] =
        json!([{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]);
    write_config(&dir, &config);
    let t = Tokenizer::load(&dir).unwrap();
    assert_eq!((t.bos().unwrap().id, t.chat_template()), (1, Some("d")));
    std::fs::write(dir.join("chat_template.jinja"), "from the file").unwrap();
    assert_eq!(Tokenizer::load(&dir).unwrap().chat_template(), Some("from the file"));
    std::fs::remove_dir_all(&dir).unwrap();
}

fn write_config(dir: &Path, config: &Value) {
    std::fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
}

#[test]
fn a_tokenizer_must_fit_its_network() {
    let config = |vocab: usize| {
        Config::parse(
            json!({"architectures": ["LlamaForCausalLM"], "vocab_size": vocab, "hidden_size": 2, "eos_token_id": 7,
                "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 8}),
            None,
        )
        .unwrap()
    };
    let t = trained(300);
    t.check_fits(&config(t.vocab_size())).unwrap();
    let text = t.check_fits(&config(t.vocab_size() - 1)).unwrap_err().to_string();
    assert!(text.contains("does not fit") && text.contains("vocab_size is"), "{text}");
    assert_eq!(t.stop_ids(&config(400)), [2, 7]);
}

#[test]
fn too_small_a_vocabulary_and_an_empty_corpus_are_refused() {
    assert!(train(TEXTS, 264, 512).unwrap_err().to_string().contains("need 265"));
    assert!(train([""], 300, 512).unwrap_err().to_string().contains("corpus is empty"));
}

/// Llama-2's kind (SentencePiece): where a text begins with a blank, transformers' class has one `▁`, the bare file two.
#[test]
fn blanks_in_front_are_read_as_the_class_says() {
    let vocabulary = json!({"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "▁a": 5, "b": 6, "▁▁": 7});
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": false, "vocab": vocabulary,
            "merges": ["▁ a", "▁ ▁"]}
    });
    let bytes = file.to_string();
    for (class, legacy, text, expected) in [
        ("PreTrainedTokenizerFast", true, " a", &[3, 5][..]),
        ("LlamaTokenizer", true, " a", &[5]),
        ("LlamaTokenizerFast", true, " a", &[5]),
        ("LlamaTokenizer", true, "a", &[5]),
        ("LlamaTokenizer", true, "a a", &[5, 5]),
        ("LlamaTokenizer", true, "b</s>a", &[3, 6, 2, 5]),
        ("LlamaTokenizer", false, "b</s>a", &[3, 6, 2, 4]),
        ("LlamaTokenizer", true, "b</s> a", &[3, 6, 2, 5]),
    ] {
        let t = Tokenizer::from_parts(bytes.as_bytes(), &json!({"tokenizer_class": class, "legacy": legacy}))
            .unwrap();
        assert_eq!(t.encode(text, false).unwrap(), expected, "{class} {legacy} {text:?}");
    }
}

/// The quick way through a BPE file gives the tokenizer that the slow one gives; other models take the slow one.
#[test]
fn files_are_read_alike_by_both_ways() {
    let file = train(TEXTS, 400, 512).unwrap().tokenizer_json().to_string();
    let slow = tokenizers::Tokenizer::from_bytes(file.as_bytes()).unwrap();
    assert_eq!(read(file.as_bytes()).unwrap().to_string(false).unwrap(), slow.to_string(false).unwrap());
    assert_eq!(largest_id(&slow), slow.get_vocab(true).into_values().max());
    let words = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 4_000_000_000u32}, "unk_token": "a"}});
    let read = read(words.to_string().as_bytes()).unwrap();
    assert_eq!(largest_id(&read), Some(4_000_000_000));
}
