//! The tokenizer inside a GGUF file: tokens, merges and token types of a byte-level BPE.

use anyhow::{Result, anyhow, bail};

use super::header::{Gguf, Value};
use crate::tokenizer::{Added, Description, PreTokenizer};

/// llama.cpp's token types that are found before the text is cut.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// Reads the tokenizer of a file.
pub(super) fn read(gguf: &Gguf, context: usize) -> Result<Description> {
    let place = gguf.path.display();
    match gguf.text("tokenizer.ggml.model")? {
        Some("gpt2") => {}
        Some(other) => bail!(
            "{place}: tokenizer.ggml.model: {other:?} is not supported, only \"gpt2\" (byte-level BPE); import the \
             Hugging Face directory instead"
        ),
        None => bail!("{place}: tokenizer.ggml.model: the field is missing"),
    }
    let pre_tokenizer = pre_tokenizer(gguf)?;
    let texts = |key: &str| -> Result<Vec<String>> {
        gguf.list(key)?
            .iter()
            .map(|v| match v {
                Value::Text(text) => Ok(text.clone()),
                _ => Err(anyhow!("{place}: {key}: expected a list of texts")),
            })
            .collect()
    };
    let vocabulary = texts("tokenizer.ggml.tokens")?;
    let merges = texts("tokenizer.ggml.merges")?
        .into_iter()
        .map(|merge| match merge.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => Err(anyhow!("{place}: tokenizer.ggml.merges: {merge:?} is not a pair")),
        })
        .collect::<Result<Vec<_>>>()?;
    let types = gguf.list("tokenizer.ggml.token_type")?;
    if types.len() != vocabulary.len() {
        bail!("{place}: tokenizer.ggml.token_type: {} types for {} tokens", types.len(), vocabulary.len());
    }
    let added = types
        .iter()
        .zip(&vocabulary)
        .enumerate()
        .filter_map(|(id, (kind, text))| match kind {
            Value::Signed(CONTROL) => Some(Added { id: id as u32, text: text.clone(), special: true }),
            Value::Signed(USER_DEFINED) => Some(Added { id: id as u32, text: text.clone(), special: false }),
            _ => None,
        })
        .collect();
    let role = |name: &str| -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match gguf.count(&key)? {
            // llama.cpp writes its "none" as all ones
            None | Some(0xFFFF_FFFF) => Ok(None),
            Some(id) if id < vocabulary.len() => Ok(Some(id as u32)),
            Some(id) => bail!("{place}: {key}: {id} does not fit {} tokens", vocabulary.len()),
        }
    };
    let (bos, eos, pad) = (role("bos")?, role("eos")?, role("padding")?);
    Ok(Description {
        merges,
        added,
        bos,
        eos,
        pad,
        add_bos: match gguf.flag("tokenizer.ggml.add_bos_token")? {
            Some(flag) => flag,
            None => pre_tokenizer == PreTokenizer::Llama3,
        },
        pre_tokenizer,
        model_max_length: context,
        chat_template: gguf.text("tokenizer.chat_template")?.map(str::to_owned),
        vocabulary,
    })
}

/// How text is cut, by the name that llama.cpp's converter gave it.
fn pre_tokenizer(gguf: &Gguf) -> Result<PreTokenizer> {
    let key = "tokenizer.ggml.pre";
    match gguf.text(key)? {
        Some("gpt-2" | "phi-2" | "mpt" | "olmo") => Ok(PreTokenizer::Gpt2),
        Some("smollm" | "starcoder" | "refact" | "codeshell") => Ok(PreTokenizer::SmolLm),
        Some("qwen2" | "deepseek-r1-qwen") => Ok(PreTokenizer::Qwen2),
        Some("llama-bpe" | "llama3" | "llama-v3") => Ok(PreTokenizer::Llama3),
        other => bail!(
            "{}: {key}: {other:?} is not known, only gpt-2, smollm, qwen2 and llama-bpe and their kin; give another \
             tokenizer, or import the Hugging Face directory",
            gguf.path.display()
        ),
    }
}
