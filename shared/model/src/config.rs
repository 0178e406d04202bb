//! What a policy directory's `config.json` says, checked field by field.
//!
//! Unknown architectures and unsupported fields are errors that name the field: nothing is approximated in silence.

mod fields;
mod known;
mod read;
mod rope;
mod score;

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use r1_kernels::moe::Scoring;
use r1_kernels::rope::Pairing;

/// The families whose forward pass this crate knows, by `architectures[0]` of config.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `LlamaForCausalLM`, `LlamaForSequenceClassification`
    Llama,
    /// `MistralForCausalLM`: Llama, with a window
    Mistral,
    /// `Qwen2ForCausalLM`, `Qwen2ForSequenceClassification`
    Qwen2,
    /// `Qwen3ForCausalLM`, `Qwen3ForSequenceClassification`
    Qwen3,
    /// `Qwen3MoeForCausalLM`, `Qwen3MoeForSequenceClassification`
    Qwen3Moe,
    /// `DeepseekV2ForCausalLM`
    DeepseekV2,
    /// `DeepseekV3ForCausalLM`, `DeepseekV3ForSequenceClassification`
    DeepseekV3,
}

/// What stands on top of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// `…ForCausalLM`: logits over the vocabulary
    Vocabulary,
    /// `…ForSequenceClassification`: `score.weight`, one number a label, read at the last token
    Score {
        /// names of the labels (`id2label`), at least one
        labels: Vec<String>,
    },
}

/// How a layer's attention is built.
#[derive(Clone, Debug, PartialEq)]
pub enum Attention {
    /// Grouped-query attention (Llama, Mistral, Qwen2, Qwen3).
    Gqa {
        /// number of key/value heads
        kv_heads: usize,
        /// size of one head
        head_dim: usize,
        /// biases on q, k and v (Qwen2)
        qkv_bias: bool,
        /// RMSNorm per head on q and k before RoPE (Qwen3)
        qk_norm: bool,
    },
    /// Multi-head latent attention (DeepSeek-V2 and V3): facts of the paper's section on MLA.
    Mla {
        /// rank of the query's low-rank pair; `None` is one plain `q_proj`
        q_lora_rank: Option<usize>,
        /// rank of the key/value latent
        kv_lora_rank: usize,
        /// per-head size without position
        qk_nope_head_dim: usize,
        /// per-head size that is rotated (the key's is shared by all heads)
        qk_rope_head_dim: usize,
        /// per-head size of values
        v_head_dim: usize,
    },
}

/// The mixture-of-experts part of a config.
#[derive(Clone, Debug, PartialEq)]
pub struct Moe {
    /// routed experts per layer
    pub experts: usize,
    /// experts per token
    pub top_k: usize,
    /// hidden size of one expert
    pub intermediate: usize,
    /// shared experts (their hidden size is `shared * intermediate`); 0 for none
    pub shared: usize,
    /// the first layers that stay dense
    pub first_dense: usize,
    /// groups of experts (1 = no group limit)
    pub groups: usize,
    /// groups a token may use
    pub top_groups: usize,
    /// sigmoid (DeepSeek-V3) or softmax (DeepSeek-V2, Qwen3-MoE)
    pub scoring: Scoring,
    /// divide the chosen weights by their sum
    pub normalize: bool,
    /// factor on the routed output
    pub routed_scaling: f32,
    /// has `e_score_correction_bias`
    pub correction_bias: bool,
}

/// Rotary embedding: one frequency per pair, and the factor on cos and sin.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// rotated size of a head
    pub dim: usize,
    /// `dim/2` inverse frequencies after any scaling (linear, llama3, YaRN)
    pub inv_freq: Vec<f64>,
    /// YaRN's factor on cos and sin; 1 otherwise
    pub attention_factor: f64,
    /// rotate_half or adjacent pairs
    pub pairing: Pairing,
}

/// A checked config.
#[derive(Clone, Debug)]
pub struct Config {
    /// which family
    pub architecture: Architecture,
    /// what stands on top
    pub head: Head,
    /// V
    pub vocab_size: usize,
    /// C
    pub hidden_size: usize,
    /// hidden size of the dense feed-forward layers
    pub intermediate_size: usize,
    /// number of layers
    pub layers: usize,
    /// H
    pub heads: usize,
    /// epsilon of every RMSNorm but MLA's low-rank ones
    pub rms_norm_eps: f32,
    /// how attention is built
    pub attention: Attention,
    /// scale of the scores (`dk^-1/2`, times YaRN's mscale² where it applies)
    pub attention_scale: f32,
    /// rotary embedding
    pub rope: Rope,
    /// mixture of experts, where there is one
    pub moe: Option<Moe>,
    /// the head shares the embedding's matrix
    pub tie_word_embeddings: bool,
    /// longest sequence in tokens: `max_position_embeddings`, or the sliding window where it is shorter. Up to there a
    /// window hides nothing, so what is computed is exact; longer sequences are refused
    pub max_position_embeddings: usize,
    /// standard deviation of a fresh initialization
    pub initializer_range: f64,
    /// tokens that end a completion (config.json, overridden by generation_config.json)
    pub eos_token_ids: Vec<u32>,
    /// token that starts a sequence, where there is one
    pub bos_token_id: Option<u32>,
    /// token that fills up batches elsewhere: a score is read at the last token that is not this one
    pub pad_token_id: Option<u32>,
    /// the file as it came: written back unchanged
    pub raw: serde_json::Value,
}

impl Config {
    /// Checks the parsed `config.json` of a policy directory; `generation` is its `generation_config.json`, whose
    /// `eos_token_id` and `bos_token_id` go before the config's own.
    ///
    /// Both the older spelling (`rope_theta` + `rope_scaling`, `torch_dtype`) and that of transformers 5
    /// (`rope_parameters`, `dtype`) are understood. A field that is missing, misshapen or asks for something that the
    /// network does not compute is an error that names the field.
    pub fn parse(raw: serde_json::Value, generation: Option<&serde_json::Value>) -> Result<Config> {
        read::config(raw, generation)
    }

    /// Reads and checks `config.json` (and `generation_config.json`, where there is one) of a policy directory.
    pub fn load(dir: &Path) -> Result<Config> {
        let path = dir.join("config.json");
        crate::lora::refuse_adapter(dir)?;
        let raw = read_json(&path)?;
        let generation_path = dir.join("generation_config.json");
        let generation = if generation_path.exists() { Some(read_json(&generation_path)?) } else { None };
        Config::parse(raw, generation.as_ref()).map_err(|e| anyhow!("{}: {e:#}", path.display()))
    }

    /// Size of one query/key head.
    pub fn dk(&self) -> usize {
        match self.attention {
            Attention::Gqa { head_dim, .. } => head_dim,
            Attention::Mla { qk_nope_head_dim, qk_rope_head_dim, .. } => qk_nope_head_dim + qk_rope_head_dim,
        }
    }

    /// Size of one value head.
    pub fn dv(&self) -> usize {
        match self.attention {
            Attention::Gqa { head_dim, .. } => head_dim,
            Attention::Mla { v_head_dim, .. } => v_head_dim,
        }
    }

    /// Number of key/value heads as attention sees them (MLA expands its latent to one per query head).
    pub fn kv_heads(&self) -> usize {
        match self.attention {
            Attention::Gqa { kv_heads, .. } => kv_heads,
            Attention::Mla { .. } => self.heads,
        }
    }

    /// Whether layer `layer` has experts.
    pub fn is_moe(&self, layer: usize) -> bool {
        self.moe.as_ref().is_some_and(|m| layer >= m.first_dense)
    }
}

/// Reads a JSON file; errors name the file, and line and column where the text is not JSON.
pub(crate) fn read_json(path: &Path) -> Result<serde_json::Value> {
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|e| anyhow!("{}: not JSON: {e}", path.display()))
}

#[cfg(test)]
mod tests;
