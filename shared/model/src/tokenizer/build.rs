//! Making tokenizers: byte-level BPE from a corpus (r1-init) or from a GGUF file, as the JSON files that every reader
//! of Hugging Face directories understands.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizer as _};

use super::{Tokenizer, bpe};
use crate::directory::write_json;

/// How text is cut before merges apply. Named after the first checkpoint that cut so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreTokenizer {
    /// GPT-2: runs of letters, of digits, of other signs, each with at most one space in front
    Gpt2,
    /// SmolLM: every digit alone, then as GPT-2
    SmolLm,
    /// Qwen2: every digit alone; a sign may stand in front of letters; line breaks apart; text in NFC
    Qwen2,
    /// Llama 3: as Qwen2 but digits in runs of three, no NFC, and whole words of the vocabulary need no merges
    Llama3,
    /// Ours: as Qwen2 without NFC, so that decoding gives back exactly what was encoded
    Plain,
}

impl PreTokenizer {
    fn json(self) -> Value {
        let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        let modern = |digits: &str| {
            format!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            )
        };
        let steps = match self {
            PreTokenizer::Gpt2 => return byte_level(true),
            PreTokenizer::SmolLm => [json!({"type": "Digits", "individual_digits": true}), byte_level(true)],
            PreTokenizer::Qwen2 | PreTokenizer::Plain => [split(&modern(r"\p{N}")), byte_level(false)],
            PreTokenizer::Llama3 => [split(&modern(r"\p{N}{1,3}")), byte_level(false)],
        };
        json!({"type": "Sequence", "pretokenizers": steps})
    }
}

/// A token that is found in the text before anything else is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// its id
    pub id: u32,
    /// its text
    pub text: String,
    /// left out by `decode(…, skip_special)`: BOS, EOS …, but not tags that a reader should see
    pub special: bool,
}

/// Everything a byte-level BPE tokenizer is made of.
#[derive(Clone, Debug)]
pub struct Description {
    /// every token, in the byte-level alphabet; the index is the id
    pub vocabulary: Vec<String>,
    /// merges in order of rank
    pub merges: Vec<(String, String)>,
    /// tokens found before anything else is cut
    pub added: Vec<Added>,
    /// how text is cut
    pub pre_tokenizer: PreTokenizer,
    /// id of the token that starts a sequence
    pub bos: Option<u32>,
    /// id of the token that ends a completion
    pub eos: Option<u32>,
    /// id of the token that fills up rows
    pub pad: Option<u32>,
    /// whether encoding puts BOS in front
    pub add_bos: bool,
    /// longest text in tokens, as other tools read it
    pub model_max_length: usize,
    /// jinja source of the chat template
    pub chat_template: Option<String>,
}

impl Description {
    fn text(&self, id: Option<u32>) -> Option<&str> {
        let id = id?;
        match self.added.iter().find(|t| t.id == id) {
            Some(added) => Some(&added.text),
            None => self.vocabulary.get(id as usize).map(String::as_str),
        }
    }

    /// The content of `tokenizer.json`.
    pub fn tokenizer_json(&self) -> Value {
        let added: Vec<Value> = self
            .added
            .iter()
            .map(|t| {
                json!({"id": t.id, "content": t.text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": t.special})
            })
            .collect();
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": true});
        let post_processor = match self.text(self.bos).filter(|_| self.add_bos) {
            None => byte_level.clone(),
            Some(bos) => {
                let start = json!({"SpecialToken": {"id": bos, "type_id": 0}});
                let [a, b] = ["A", "B"].map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
                json!({"type": "TemplateProcessing", "single": [start, a], "pair": [start, a, start, b],
                    "special_tokens": {bos: {"id": bos, "ids": [self.bos], "tokens": [bos]}}})
            }
        };
        let vocabulary: serde_json::Map<String, Value> =
            self.vocabulary.iter().enumerate().map(|(id, t)| (t.clone(), id.into())).collect();
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added,
            "normalizer": if self.pre_tokenizer == PreTokenizer::Qwen2 { json!({"type": "NFC"}) } else { Value::Null },
            "pre_tokenizer": self.pre_tokenizer.json(),
            "post_processor": post_processor,
            "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": self.pre_tokenizer == PreTokenizer::Llama3,
                "vocab": vocabulary,
                "merges": self.merges,
            }
        })
    }

    /// The content of `tokenizer_config.json`.
    pub fn tokenizer_config(&self) -> Value {
        let mut config = json!({
            "add_bos_token": self.add_bos, "add_prefix_space": false, "clean_up_tokenization_spaces": false,
            "model_max_length": self.model_max_length, "tokenizer_class": "PreTrainedTokenizerFast",
        });
        let roles = [("bos_token", self.bos), ("eos_token", self.eos), ("pad_token", self.pad)];
        for (name, text) in roles.map(|(name, id)| (name, self.text(id))) {
            if let Some(text) = text {
                config[name] = text.into();
            }
        }
        if let Some(template) = &self.chat_template {
            config["chat_template"] = template.as_str().into();
        }
        config
    }

    /// The tokenizer itself.
    pub fn build(&self) -> Result<Tokenizer> {
        let mut seen = std::collections::HashSet::new();
        if let Some(twice) = self.vocabulary.iter().find(|t| !seen.insert(t.as_str())) {
            bail!("the vocabulary has token {twice:?} twice");
        }
        Tokenizer::from_parts(self.tokenizer_json().to_string().as_bytes(), &self.tokenizer_config())
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into a directory.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join("tokenizer.json"), &self.tokenizer_json())?;
        write_json(&dir.join("tokenizer_config.json"), &self.tokenizer_config())
    }
}

/// Special tokens of a tokenizer trained here: text, and whether a reader should not see it.
const TRAINED: [(&str, bool); 9] = [
    ("<|pad|>", true),
    ("<|bos|>", true),
    ("<|eos|>", true),
    ("<|user|>", true),
    ("<|assistant|>", true),
    ("<think>", false),
    ("</think>", false),
    ("<answer>", false),
    ("</answer>", false),
];

/// The chat form of a tokenizer trained here: one role token in front of each turn, EOS behind the assistant's.
const CHAT: &str = "{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'system' %}{{ message['content'] }}\
{% elif message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}\
{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}\
{% else %}{{ raise_exception('unknown role ' + message['role']) }}{% endif %}\
{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// Learns a byte-level BPE tokenizer of `size` tokens (fewer where the texts do not repeat enough) from texts.
///
/// Digits stay single; `<think> </think> <answer> </answer>` are one token each, as are BOS, EOS, PAD and the two role
/// tokens of the chat form. The same texts give the same tokenizer, in whatever order they come, and
/// `decode(encode(x)) == x` for every text.
pub fn train<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    size: usize,
    model_max_length: usize,
) -> Result<Description> {
    let smallest = TRAINED.len() + 256;
    if size < smallest {
        bail!(
            "a vocabulary of {size} tokens is too small: {} special tokens and 256 bytes need {smallest}",
            TRAINED.len()
        );
    }
    let added: Vec<Added> = TRAINED
        .iter()
        .zip(0..)
        .map(|((text, special), id)| Added { id, text: (*text).into(), special: *special })
        .collect();
    let id = |text: &str| added.iter().find(|t| t.text == text).map(|t| t.id);
    let mut vocabulary: Vec<String> = added.iter().map(|t| t.text.clone()).collect();
    vocabulary.extend(bpe::byte_alphabet().map(String::from));
    let mut description = Description {
        bos: id("<|bos|>"),
        eos: id("<|eos|>"),
        pad: id("<|pad|>"),
        vocabulary,
        merges: Vec::new(),
        added,
        pre_tokenizer: PreTokenizer::Plain,
        add_bos: true,
        model_max_length,
        chat_template: Some(CHAT.into()),
    };
    let cutter = description.build()?.inner;
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for text in texts {
        let mut cut = cutter.get_added_vocabulary().extract_and_normalize(cutter.get_normalizer(), text);
        if let Some(pre_tokenizer) = cutter.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut cut).map_err(|e| anyhow!("{e}"))?;
        }
        for (word, _, special) in cut.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            if special.is_none() {
                *words.entry(word.to_owned()).or_default() += 1;
            }
        }
    }
    if words.is_empty() {
        bail!("the corpus is empty: there is no text to learn a tokenizer from");
    }
    description.merges = bpe::learn(&words, &mut description.vocabulary, size);
    Ok(description)
}
