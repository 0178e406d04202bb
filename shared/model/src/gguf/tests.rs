//! Files written here byte by byte after llama.cpp's format; a real one is read in `tests/` of this crate.

use std::fs;
use std::path::PathBuf;

use super::*;

/// A file under the system's temporary directory, removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn of(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("r1-gguf-{name}-{}.gguf", std::process::id())))
    }

    fn error(&self, bytes: &[u8]) -> String {
        fs::write(&self.0, bytes).unwrap();
        let text = format!("{:#}", Import::open(&self.0).map(|_| ()).unwrap_err());
        assert!(!text.contains('\n') && text.contains("r1-gguf-"), "{text}");
        text
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A metadata value as the tests write it.
#[derive(Clone)]
enum Field {
    U32(u32),
    F32(f32),
    Text(&'static str),
    Texts(Vec<String>),
    Types(Vec<i32>),
}

#[derive(Clone)]
struct Draft {
    fields: Vec<(&'static str, Field)>,
    /// name, shape `[out, in]`, llama.cpp's type, bytes
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Draft {
    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.fields.len() as u64).to_le_bytes());
        for (key, field) in &self.fields {
            text(&mut out, key);
            let number = |n: u32| n.to_le_bytes();
            match field {
                Field::U32(n) => out.extend([number(4), number(*n)].concat()),
                Field::F32(x) => out.extend([number(6), x.to_le_bytes()].concat()),
                Field::Text(t) => {
                    out.extend(number(8));
                    text(&mut out, t);
                }
                Field::Texts(list) => {
                    out.extend([number(9), number(8)].concat());
                    out.extend((list.len() as u64).to_le_bytes());
                    list.iter().for_each(|t| text(&mut out, t));
                }
                Field::Types(list) => {
                    out.extend([number(9), number(5)].concat());
                    out.extend((list.len() as u64).to_le_bytes());
                    list.iter().for_each(|n| out.extend(n.to_le_bytes()));
                }
            }
        }
        let mut offset = 0u64;
        for (name, shape, kind, bytes) in &self.tensors {
            text(&mut out, name);
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (bytes.len() as u64).next_multiple_of(32);
        }
        for (_, _, _, bytes) in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(bytes);
        }
        out
    }

    fn field(&mut self, key: &'static str, field: Field) -> &mut Draft {
        self.fields.retain(|(k, _)| *k != key);
        self.fields.push((key, field));
        self
    }

    fn without(&self, key: &str) -> Vec<u8> {
        let mut other = self.clone();
        other.fields.retain(|(k, _)| *k != key);
        other.tensors.retain(|(name, ..)| name != key);
        other.bytes()
    }

    fn with(&self, key: &'static str, field: Field) -> Vec<u8> {
        self.clone().field(key, field).bytes()
    }
}

/// The values of one tensor: row `r`, column `c` holds `1000 r + c`, so that every row can be told.
fn rows(shape: &[u64]) -> Vec<u8> {
    let columns = shape[shape.len() - 1];
    let count = shape.iter().product::<u64>();
    (0..count).flat_map(|i| ((i / columns * 1000 + i % columns) as f32).to_le_bytes()).collect()
}

fn llama() -> Draft {
    let tokens: Vec<String> = ["<eos>", "<tag>"]
        .map(String::from)
        .into_iter()
        .chain((b'!'..=b'~').map(|b| char::from(b).to_string()))
        .chain(["ab".to_owned()])
        .collect();
    let n = tokens.len();
    let mut types = vec![1; n];
    (types[0], types[1]) = (3, 4);
    let mut draft = Draft {
        fields: vec![
            ("general.architecture", Field::Text("llama")),
            ("llama.block_count", Field::U32(1)),
            ("llama.context_length", Field::U32(64)),
            ("llama.embedding_length", Field::U32(8)),
            ("llama.feed_forward_length", Field::U32(12)),
            ("llama.attention.head_count", Field::U32(2)),
            ("llama.attention.head_count_kv", Field::U32(1)),
            ("llama.attention.layer_norm_rms_epsilon", Field::F32(1e-5)),
            ("llama.rope.freq_base", Field::F32(10_000.0)),
            ("tokenizer.ggml.model", Field::Text("gpt2")),
            ("tokenizer.ggml.pre", Field::Text("smollm")),
            ("tokenizer.ggml.eos_token_id", Field::U32(0)),
            ("tokenizer.ggml.merges", Field::Texts(vec!["a b".into()])),
            ("tokenizer.ggml.token_type", Field::Types(types)),
            ("tokenizer.ggml.tokens", Field::Texts(tokens)),
        ],
        tensors: Vec::new(),
    };
    for (name, shape) in [
        ("token_embd.weight", vec![n as u64, 8]),
        ("output_norm.weight", vec![8]),
        ("blk.0.attn_norm.weight", vec![8]),
        ("blk.0.ffn_norm.weight", vec![8]),
        ("blk.0.attn_q.weight", vec![8, 8]),
        ("blk.0.attn_k.weight", vec![4, 8]),
        ("blk.0.attn_v.weight", vec![4, 8]),
        ("blk.0.attn_output.weight", vec![8, 8]),
        ("blk.0.ffn_gate.weight", vec![12, 8]),
        ("blk.0.ffn_up.weight", vec![12, 8]),
        ("blk.0.ffn_down.weight", vec![8, 12]),
    ] {
        let bytes = rows(&shape);
        draft.tensors.push((name.into(), shape, 0, bytes));
    }
    draft
}

#[test]
fn a_llama_file_becomes_a_policy() {
    let scratch = Scratch::of("llama");
    fs::write(&scratch.0, llama().bytes()).unwrap();
    let import = Import::open(&scratch.0).unwrap();
    let c = &import.config;
    assert_eq!((c.hidden_size, c.layers, c.heads, c.kv_heads(), c.dk()), (8, 1, 2, 1, 4));
    assert_eq!(c.raw["rms_norm_eps"].to_string(), "0.00001");
    assert!(c.tie_word_embeddings && c.eos_token_ids == [0]);
    // llama.cpp's converter: each head's rows reshaped to (2, 2), its two axes swapped. Stored row 1 is HF's row 2.
    let first_of_rows = |name: &str| -> Vec<f32> {
        import.read_f32(name).unwrap().chunks(8).map(|row| row[0] / 1000.0).collect()
    };
    assert_eq!(
        first_of_rows("model.layers.0.self_attn.q_proj.weight"),
        [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    );
    assert_eq!(first_of_rows("model.layers.0.self_attn.k_proj.weight"), [0.0, 2.0, 1.0, 3.0]);
    assert_eq!(first_of_rows("model.layers.0.self_attn.v_proj.weight"), [0.0, 1.0, 2.0, 3.0]);
    let t = import.tokenizer.build().unwrap();
    assert_eq!(t.encode("ab12<tag><eos>", false).unwrap().len(), 5);
    assert_eq!(t.decode(&t.encode("ab12<tag><eos>", false).unwrap(), true).unwrap(), "ab12<tag>");
    assert!(!t.adds_bos());
}

#[test]
fn a_head_of_its_own_and_biases_are_kept() {
    let scratch = Scratch::of("qwen2");
    let mut draft = llama();
    draft.fields.iter_mut().for_each(|(key, _)| {
        let renamed = key.replace("llama.", "qwen2.");
        *key = Box::leak(renamed.into_boxed_str());
    });
    draft.field("general.architecture", Field::Text("qwen2"));
    draft.field("tokenizer.ggml.pre", Field::Text("qwen2"));
    let tokens = draft.tensors[0].1[0];
    for (name, shape) in [
        ("output.weight", vec![tokens, 8]),
        ("blk.0.attn_q.bias", vec![8]),
        ("blk.0.attn_k.bias", vec![4]),
        ("blk.0.attn_v.bias", vec![4]),
    ] {
        let bytes = rows(&shape);
        draft.tensors.push((name.into(), shape, 0, bytes));
    }
    fs::write(&scratch.0, draft.bytes()).unwrap();
    let import = Import::open(&scratch.0).unwrap();
    assert!(!import.config.tie_word_embeddings);
    // No interleaving outside Llama.
    let q = import.read_f32("model.layers.0.self_attn.q_proj.weight").unwrap();
    assert_eq!(
        q.chunks(8).map(|row| row[0] / 1000.0).collect::<Vec<_>>(),
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    );
    assert_eq!(import.read_f32("model.layers.0.self_attn.k_proj.bias").unwrap(), [0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn blocks_are_dequantized() {
    // Q8_0: an f16 scale, then 32 signed bytes. Q4_1: f16 scale and minimum, then 16 bytes of two nibbles each.
    let scratch = Scratch::of("blocks");
    let half = |x: f32| half::f16::from_f32(x).to_le_bytes();
    let q8: Vec<u8> = half(0.5).into_iter().chain((0..32).map(|i| (i - 16) as i8 as u8)).collect();
    let q4: Vec<u8> =
        [half(0.25), half(-1.0)].concat().into_iter().chain((0..16).map(|i| i | (15 - i) << 4)).collect();
    let mut draft = llama();
    draft.tensors.push(("a".into(), vec![1, 32], 8, q8));
    draft.tensors.push(("b".into(), vec![1, 32], 3, q4));
    draft.tensors.push(("c".into(), vec![1, 32], 23, vec![0; 32]));
    draft.tensors.push(("d".into(), vec![1, 31], 8, vec![0; 34]));
    draft.tensors.push(("e".into(), vec![1 << 62, 1 << 62], 0, vec![]));
    fs::write(&scratch.0, draft.bytes()).unwrap();
    let file = Gguf::open(&scratch.0).unwrap();
    let expected: Vec<f32> = (0..32).map(|i| (i - 16) as f32 * 0.5).collect();
    assert_eq!(file.dequantize("a").unwrap(), expected);
    let expected: Vec<f32> = (0..32).map(|i| if i < 16 { i } else { 31 - i } as f32 * 0.25 - 1.0).collect();
    assert_eq!(file.dequantize("b").unwrap(), expected);
    for (name, word) in
        [("c", "type 23"), ("d", "does not fit its type"), ("e", "does not fit its type"), ("f", "missing")]
    {
        let text = file.dequantize(name).unwrap_err().to_string();
        assert!(text.contains(&format!("tensor {name}")) && text.contains(word), "{text}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let scratch = Scratch::of("unsupported");
    let d = llama();
    for (bytes, words) in [
        (d.with("general.architecture", Field::Text("gemma")), "general.architecture: \"gemma\""),
        (d.without("general.architecture"), "general.architecture"),
        (d.without("llama.block_count"), "llama.block_count: the field is missing"),
        (d.with("llama.expert_count", Field::U32(8)), "llama.expert_count"),
        (d.with("llama.rope.dimension_count", Field::U32(2)), "llama.rope.dimension_count: 2"),
        (d.with("llama.rope.scaling.type", Field::Text("longrope")), "llama.rope.scaling"),
        (d.with("llama.attention.head_count", Field::U32(3)), "llama.attention.head_count: 3 heads"),
        (d.with("llama.attention.head_count_kv", Field::U32(2)), "blk.0.attn_k.weight has shape [4, 8]"),
        (d.with("tokenizer.ggml.model", Field::Text("llama")), "tokenizer.ggml.model: \"llama\""),
        (d.with("tokenizer.ggml.pre", Field::Text("tekken")), "tokenizer.ggml.pre: Some(\"tekken\")"),
        (d.with("tokenizer.ggml.eos_token_id", Field::U32(5000)), "tokenizer.ggml.eos_token_id: 5000"),
        (d.with("tokenizer.ggml.merges", Field::Texts(vec!["ab".into()])), "\"ab\" is not a pair"),
        (d.with("tokenizer.ggml.token_type", Field::Types(vec![1])), "1 types for"),
        (d.without("blk.0.ffn_up.weight"), "tensor blk.0.ffn_up.weight is missing"),
        (d.without("token_embd.weight"), "token_embd.weight is missing"),
        (d.with("general.alignment", Field::U32(0)), "general.alignment"),
    ] {
        let text = scratch.error(&bytes);
        assert!(text.contains(words), "{words}: {text}");
    }
    let mut extra = d.clone();
    extra.tensors.push(("blk.0.attn_qkv.weight".into(), vec![1], 0, vec![0; 4]));
    assert!(scratch.error(&extra.bytes()).contains("holds tensor blk.0.attn_qkv.weight"));
    assert!(scratch.error(b"GGML then something that is long enough").contains("not a GGUF file"));
    assert!(scratch.error(b"GGUF\x01\0\0\0 then something long enough").contains("version 1"));
    assert!(scratch.error(b"").contains("too short"));
}

#[test]
fn broken_files_are_refused_and_never_panic() {
    let scratch = Scratch::of("broken");
    let whole = llama().bytes();
    let read_all = |bytes: &[u8]| -> Result<()> {
        fs::write(&scratch.0, bytes)?;
        let import = Import::open(&scratch.0)?;
        import.specification().iter().try_for_each(|s| import.read_f32(&s.name).map(|_| ()))
    };
    read_all(&whole).unwrap();
    for cut in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        assert!(read_all(&whole[..cut]).is_err(), "{cut}");
    }
    // Bits of the header turned: read or refused.
    for bit in (0..1600 * 8).step_by(11) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = read_all(&bytes);
    }
}

#[test]
fn llama3_scaling_is_found_in_its_divisors() {
    let scratch = Scratch::of("rope");
    let mut draft = llama();
    // Head size 4: two frequencies, waves 6.28 and 628; the published scaling leaves both.
    let divisors = |values: [f32; 2]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    draft.field("llama.rope.freq_base", Field::F32(500_000_000.0));
    draft.tensors.push((ROPE_FACTORS.into(), vec![2], 0, divisors([1.0, 8.0])));
    fs::write(&scratch.0, draft.bytes()).unwrap();
    let import = Import::open(&scratch.0).unwrap();
    assert_eq!(import.config.raw["rope_scaling"]["rope_type"], "llama3");
    assert_eq!(import.config.raw["rope_scaling"]["factor"], 8.0);
    draft.tensors.pop();
    draft.tensors.push((ROPE_FACTORS.into(), vec![2], 0, divisors([2.0, 8.0])));
    assert!(scratch.error(&draft.bytes()).contains("not Llama 3.1's scaling"));
}

/// Every element type against llama.cpp's own Python package (recipe: scripts/golden/gguf_types.py).
#[test]
fn every_element_type_has_llama_cpps_values() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/gguf/types.json");
    let golden: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let scratch = Scratch::of("types");
    let mut draft = llama();
    let types = golden["types"].as_array().unwrap();
    for entry in types {
        let hex = entry["bytes"].as_str().unwrap().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes = hex.chunks(2).map(byte).collect();
        let kind = entry["type"].as_u64().unwrap() as u32;
        draft.tensors.push((entry["name"].as_str().unwrap().into(), vec![2, 256], kind, bytes));
    }
    fs::write(&scratch.0, draft.bytes()).unwrap();
    let file = Gguf::open(&scratch.0).unwrap();
    for entry in types {
        let name = entry["name"].as_str().unwrap();
        let values = file.dequantize(name).unwrap();
        let wanted: Vec<f32> =
            entry["values"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
        let scale = wanted.iter().fold(0f32, |m, x| m.max(x.abs()));
        for (i, (ours, theirs)) in values.iter().zip(&wanted).enumerate() {
            // The same products, perhaps with another rounding where a minimum is subtracted.
            assert!((ours - theirs).abs() <= 1e-6 * scale, "{name}[{i}]: {ours} {theirs}");
        }
        assert_eq!(values.len(), wanted.len(), "{name}");
    }
    assert_eq!(types.len(), 13);
}

/// Counts beyond the file are found before memory is taken for them.
#[test]
fn huge_counts_end_at_once() {
    let scratch = Scratch::of("huge");
    let whole = llama().bytes();
    for at in [8, 16] {
        for count in [u64::MAX, 1 << 62, 1 << 40, 1_000_000] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            scratch.error(&bytes);
        }
    }
    // A list in the metadata with more elements than there are bytes, and lists in lists.
    let mut list = b"GGUF\x03\0\0\0".to_vec();
    list.extend(0u64.to_le_bytes());
    list.extend(1u64.to_le_bytes());
    text(&mut list, "x");
    list.extend(9u32.to_le_bytes());
    for _ in 0..40 {
        list.extend(9u32.to_le_bytes());
        list.extend(1u64.to_le_bytes());
    }
    assert!(scratch.error(&list).contains("type 9"));
    let mut long = list[..37].to_vec();
    long.extend(8u32.to_le_bytes());
    long.extend((1u64 << 50).to_le_bytes());
    assert!(scratch.error(&long).contains("cut short"));
}
