//! Text to token ids and back: the `tokenizers` crate's tokenizer of a policy directory, and what its
//! `tokenizer_config.json` says about it.
//!
//! Rules that everything else relies on:
//! - BOS is put in front exactly once where the tokenizer asks for it (its post-processor adds it, or
//!   `add_bos_token` is true); nothing is ever put behind by [`Tokenizer::encode`].
//! - Truncation and padding that a `tokenizer.json` may carry are switched off: a prompt is never cut in silence.

mod bpe;
mod build;
mod stream;

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::Sequence;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{
    DecoderWrapper, Model, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

use crate::config::{Config, read_json};
pub use build::{Added, Description, PreTokenizer, train};
pub use stream::Decoder;

/// A token that `tokenizer_config.json` gives a role to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Special {
    /// its text
    pub text: String,
    /// its id
    pub id: u32,
}

/// A tokenizer, with the roles of its special tokens and its chat template.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    bos: Option<Special>,
    eos: Option<Special>,
    pad: Option<Special>,
    unk: Option<Special>,
    adds_bos: bool,
    chat_template: Option<String>,
    largest_id: u32,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` (which goes first where both have a
    /// template) of a policy directory; the last two may be absent.
    ///
    /// # Errors
    /// Files that are missing, no JSON or no tokenizer; a special token that the vocabulary does not have.
    pub fn load(dir: &Path) -> Result<Tokenizer> {
        let path = dir.join("tokenizer.json");
        if !path.exists() && dir.join("tokenizer.model").exists() {
            bail!(
                "{}: has tokenizer.model only; save it as tokenizer.json first (transformers does)",
                dir.display()
            );
        }
        let bytes = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
        let config_path = dir.join("tokenizer_config.json");
        let mut config = if config_path.exists() { read_json(&config_path)? } else { Value::Null };
        let jinja = dir.join("chat_template.jinja");
        if jinja.exists() {
            let text = std::fs::read_to_string(&jinja).with_context(|| format!("{}", jinja.display()))?;
            if !config.is_object() {
                config = Value::Object(Default::default());
            }
            config["chat_template"] = text.into();
        }
        Tokenizer::from_parts(&bytes, &config).map_err(|e| anyhow!("{}: {e:#}", dir.display()))
    }

    /// A tokenizer from the bytes of a `tokenizer.json` and a parsed `tokenizer_config.json` (or null).
    pub fn from_parts(tokenizer_json: &[u8], config: &Value) -> Result<Tokenizer> {
        let mut inner = read(tokenizer_json)?;
        as_llama(&mut inner, config)?;
        inner.with_truncation(None).map_err(|e| anyhow!("tokenizer.json: {e}"))?;
        inner.with_padding(None);
        let largest_id = largest_id(&inner).ok_or_else(|| anyhow!("tokenizer.json: no token"))?;
        let role = |name: &str| special(&inner, config, name);
        let (bos, eos, pad, unk) =
            (role("bos_token")?, role("eos_token")?, role("pad_token")?, role("unk_token")?);
        let processed = inner.encode_fast("", true).map_err(|e| anyhow!("tokenizer.json: {e}"))?;
        let adds_bos = match &bos {
            None => false,
            Some(bos) => {
                processed.get_ids().first() == Some(&bos.id)
                    || config["add_bos_token"].as_bool() == Some(true)
            }
        };
        let chat_template = chat_template(config)?;
        Ok(Tokenizer { inner, bos, eos, pad, unk, adds_bos, chat_template, largest_id })
    }

    /// Token ids of `text`. Special tokens written in the text are recognized. With `add_special`, BOS goes in front
    /// where the tokenizer asks for it and it is not there already.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|e| anyhow!("tokenizer: {e}"))?;
        let mut ids = encoding.get_ids().to_vec();
        if let (true, true, Some(bos)) = (add_special, self.adds_bos, &self.bos)
            && ids.first() != Some(&bos.id)
        {
            ids.insert(0, bos.id);
        }
        Ok(ids)
    }

    /// Token ids of `text` without anything in front, and the characters of it that each stands for.
    pub fn encode_with_places(&self, text: &str) -> Result<(Vec<u32>, Vec<Range<usize>>)> {
        let encoding = self.inner.encode_char_offsets(text, false).map_err(|e| anyhow!("tokenizer: {e}"))?;
        let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok((encoding.get_ids().to_vec(), places.collect()))
    }

    /// Text of token ids; bytes that are no UTF-8 become U+FFFD, ids that no token has are skipped. With
    /// `skip_special`, special tokens (BOS, EOS …) are left out; tags such as `<think>` are not special.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner.decode(ids, skip_special).map_err(|e| anyhow!("tokenizer: {e}"))
    }

    /// A decoder that takes one token at a time.
    pub fn decoder(&self, skip_special: bool) -> Decoder<'_> {
        Decoder::of(self, skip_special)
    }

    /// Id of a token, by its text.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A token's text as the vocabulary spells it (byte-level tokens in their printable alphabet).
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The smallest `vocab_size` that a network for this tokenizer can have: the largest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.largest_id as usize + 1
    }

    /// The token that starts a sequence.
    pub fn bos(&self) -> Option<&Special> {
        self.bos.as_ref()
    }

    /// The token that ends a completion.
    pub fn eos(&self) -> Option<&Special> {
        self.eos.as_ref()
    }

    /// The token that fills up rows (r1 never pads; others read it).
    pub fn pad(&self) -> Option<&Special> {
        self.pad.as_ref()
    }

    /// Whether [`encode`](Tokenizer::encode) puts BOS in front.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// The chat template's source, where there is one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Special tokens by the names that chat templates use (`bos_token` …).
    pub(crate) fn roles(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("bos_token", &self.bos),
            ("eos_token", &self.eos),
            ("pad_token", &self.pad),
            ("unk_token", &self.unk),
        ]
        .into_iter()
        .filter_map(|(name, token)| Some((name, token.as_ref()?.text.as_str())))
    }

    /// Ids at which sampling ends: the config's and the tokenizer's own EOS, in rising order.
    pub fn stop_ids(&self, config: &Config) -> Vec<u32> {
        let mut ids = config.eos_token_ids.clone();
        ids.extend(self.eos.as_ref().map(|t| t.id));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Errors unless every token has a row in the network's embedding.
    pub fn check_fits(&self, config: &Config) -> Result<()> {
        if self.vocab_size() > config.vocab_size {
            let token = self.id_to_token(self.largest_id).unwrap_or_default();
            bail!(
                "tokenizer.json does not fit config.json: token {token:?} has id {}, vocab_size is {}",
                self.largest_id,
                config.vocab_size
            );
        }
        Ok(())
    }
}

/// A BPE tokenizer, as its parts lie in `tokenizer.json`.
type Bpe = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// Reads `tokenizer.json`. What kind of model it holds is asked of each kind in turn by way of two generic copies of the
/// vocabulary; BPE, which nearly all are, is read at once and only what is not goes that way.
fn read(json: &[u8]) -> Result<tokenizers::Tokenizer> {
    match serde_json::from_slice::<Bpe>(json) {
        Ok(bpe) => Ok(bpe.into()),
        Err(_) => tokenizers::Tokenizer::from_bytes(json).map_err(|e| anyhow!("tokenizer.json: {e}")),
    }
}

/// What transformers 5 does with a SentencePiece-style tokenizer of class `LlamaTokenizer`: spaces become `▁` by a pre-tokenizer, not by
/// tokenizer.json's normalizer, which puts a `▁` in front of a text that begins with a blank too (`▁▁the` where this has `▁the`).
fn as_llama(inner: &mut tokenizers::Tokenizer, config: &Value) -> Result<()> {
    let class = config["tokenizer_class"].as_str().unwrap_or_default();
    if class.trim_end_matches("Fast") != "LlamaTokenizer" {
        return Ok(());
    }
    let NormalizerWrapper::Sequence(steps) =
        inner.get_normalizer().cloned().unwrap_or(Sequence::new(vec![]).into())
    else {
        return Ok(());
    };
    let [NormalizerWrapper::Prepend(_), NormalizerWrapper::Replace(_)] = steps.as_ref() else {
        return Ok(());
    };
    let scheme = match (config["add_prefix_space"].as_bool(), config["legacy"].as_bool()) {
        (Some(false), _) => PrependScheme::Never,
        (_, Some(true)) => PrependScheme::Always,
        _ => PrependScheme::First,
    };
    inner.with_normalizer(None::<NormalizerWrapper>).map_err(|e| anyhow!("tokenizer.json: {e}"))?;
    inner.with_pre_tokenizer(Some(Metaspace::new('▁', scheme, false)));
    Ok(())
}

/// The largest id of a token, looked for where ids usually are: without gaps from 0. A copy of the vocabulary would know it too.
fn largest_id(inner: &tokenizers::Tokenizer) -> Option<u32> {
    let added = inner.get_added_tokens_decoder().into_keys().max();
    let (model, mut missing) = (inner.get_model(), inner.get_vocab_size(false));
    let mut own = None;
    for id in 0..2 * missing as u32 {
        if missing == 0 {
            break;
        }
        if model.id_to_token(id).is_some() {
            (own, missing) = (Some(id), missing - 1);
        }
    }
    if missing > 0 {
        own = model.get_vocab().into_values().max();
    }
    own.max(added)
}

/// The token that `tokenizer_config.json` gives a role: a string, or an object with `content`.
fn special(inner: &tokenizers::Tokenizer, config: &Value, name: &str) -> Result<Option<Special>> {
    let text = match &config[name] {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        Value::Object(token) => token
            .get("content")
            .and_then(Value::as_str)
            .ok_or_else(|| anyhow!("tokenizer_config.json: {name}: an object without \"content\""))?,
        other => bail!("tokenizer_config.json: {name}: expected a string, found {other}"),
    };
    match inner.token_to_id(text) {
        Some(id) => Ok(Some(Special { text: text.to_owned(), id })),
        // A name for "unknown" that no vocabulary entry backs does no harm: byte-level BPE has no unknown text.
        None if name == "unk_token" || name == "pad_token" => Ok(None),
        None => bail!("tokenizer_config.json: {name}: {text:?} is not in tokenizer.json"),
    }
}

/// The chat template: a string, or the one called "default" of a list of named ones.
fn chat_template(config: &Value) -> Result<Option<String>> {
    match &config["chat_template"] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Array(list) => Ok(list
            .iter()
            .find(|t| t["name"] == "default")
            .and_then(|t| t["template"].as_str())
            .map(str::to_owned)),
        _ => bail!("tokenizer_config.json: chat_template: expected a string or a list of named templates"),
    }
}

#[cfg(test)]
mod tests;
