//! From `config.json` to [`Config`], one family at a time.

use anyhow::{Result, bail};
use r1_kernels::moe::Scoring;
use r1_kernels::rope::Pairing;
use serde_json::{Value, json};

use super::fields::{Fields, shown};
use super::{Architecture, Attention, Config, Head, Moe, known, rope, score};

const SUPPORTED: &str = "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, Qwen3MoeForCausalLM, \
     DeepseekV2ForCausalLM, DeepseekV3ForCausalLM, or one of them …ForSequenceClassification";

/// Reads and checks a whole config.
pub(super) fn config(raw: Value, generation: Option<&Value>) -> Result<Config> {
    let top = Fields::of(&raw, "")?;
    let (architecture, classifies) = architecture(top)?;
    let head = if classifies { Head::Score { labels: score::labels(top)? } } else { Head::Vocabulary };
    let hidden_size = top.size("hidden_size")?;
    let heads = top.size("num_attention_heads")?;
    let layers = top.size("num_hidden_layers")?;
    let vocab_size = top.size("vocab_size")?;
    let max_position_embeddings = top.size("max_position_embeddings")?;

    known::check(&raw)?;
    refuse_what_is_not_computed(top, architecture)?;
    let window = window(top, architecture, layers)?;
    let attention = match architecture {
        Architecture::DeepseekV2 | Architecture::DeepseekV3 => latent_attention(top, heads)?,
        _ => grouped_attention(top, architecture, hidden_size, heads)?,
    };
    let (rotated, pairing) = match attention {
        Attention::Gqa { head_dim, .. } => (head_dim, Pairing::Half),
        Attention::Mla { qk_rope_head_dim, .. } => match top.flag("rope_interleave", true)? {
            true => (qk_rope_head_dim, Pairing::Interleaved),
            false if architecture == Architecture::DeepseekV2 => {
                bail!("rope_interleave: false is not supported here, DeepSeek-V2 rotates adjacent pairs")
            }
            false => (qk_rope_head_dim, Pairing::Half),
        },
    };
    let positions = rope::read(top, rotated, max_position_embeddings, pairing)?;
    let moe = match architecture {
        Architecture::DeepseekV2 => Some(softmax_experts(top)?),
        Architecture::DeepseekV3 => Some(sigmoid_experts(top)?),
        Architecture::Qwen3Moe => Some(qwen_experts(top)?),
        _ => None,
    };
    // One name per tensor is held in memory: counts that no checkpoint has are damage.
    let parts = layers.saturating_mul(moe.as_ref().map_or(1, |m| m.experts));
    if parts > 1_000_000 {
        bail!("num_hidden_layers: {layers} layers with {parts} feed-forward parts are not plausible");
    }
    // So are tables of angles that no machine holds.
    if max_position_embeddings.saturating_mul(rotated) > 1 << 30 {
        bail!("max_position_embeddings: {max_position_embeddings} positions are not plausible");
    }
    let (eos_token_ids, bos_token_id) = special_tokens(top, generation, vocab_size)?;

    let mut config = Config {
        architecture,
        head,
        vocab_size,
        hidden_size,
        intermediate_size: top.size("intermediate_size")?,
        layers,
        heads,
        rms_norm_eps: top.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        attention,
        attention_scale: 1.0,
        rope: positions.rope,
        moe,
        tie_word_embeddings: top.flag("tie_word_embeddings", false)?,
        max_position_embeddings: window.map_or(max_position_embeddings, |w| w.min(max_position_embeddings)),
        initializer_range: top.number("initializer_range")?.unwrap_or(0.02),
        eos_token_ids,
        bos_token_id,
        pad_token_id: score::pad(top)?,
        raw: Value::Null,
    };
    if config.rms_norm_eps < 0.0 || config.initializer_range < 0.0 {
        bail!("rms_norm_eps and initializer_range must not be negative");
    }
    // Only MLA multiplies the scores by YaRN's magnitude; elsewhere it sits in cos and sin alone.
    let score_factor = match config.attention {
        Attention::Mla { .. } => positions.score_factor,
        Attention::Gqa { .. } => 1.0,
    };
    config.attention_scale = ((config.dk() as f64).powf(-0.5) * score_factor) as f32;
    config.raw = raw;
    Ok(config)
}

/// The family, and whether it stands under a classifier's head.
fn architecture(top: Fields) -> Result<(Architecture, bool)> {
    let Some(list) = top.list("architectures")? else {
        bail!("{}: the field is missing (supported: {SUPPORTED})", top.name("architectures"));
    };
    let name = match list.as_slice() {
        [one] => one.as_str().unwrap_or_default(),
        _ => "",
    };
    let family = |name: &str| match name {
        "Llama" => Some(Architecture::Llama),
        "Mistral" => Some(Architecture::Mistral),
        "Qwen2" => Some(Architecture::Qwen2),
        "Qwen3" => Some(Architecture::Qwen3),
        "Qwen3Moe" => Some(Architecture::Qwen3Moe),
        "DeepseekV2" => Some(Architecture::DeepseekV2),
        "DeepseekV3" => Some(Architecture::DeepseekV3),
        _ => None,
    };
    let of = |ending: &str| name.strip_suffix(ending).and_then(family);
    match (of(score::GENERATES), of(score::CLASSIFIES)) {
        (Some(family), _) => Ok((family, false)),
        (_, Some(family)) => Ok((family, true)),
        _ => bail!(
            "architectures: {} is not supported, only one of {SUPPORTED}",
            shown(&Value::from(list.clone()))
        ),
    }
}

/// Fields that would change the numbers in a way the kernels do not follow.
fn refuse_what_is_not_computed(top: Fields, architecture: Architecture) -> Result<()> {
    top.must_be("hidden_act", &json!("silu"))?;
    if architecture != Architecture::Qwen2 {
        // Qwen2's bias on q, k and v is part of the family and has no field.
        top.must_be("attention_bias", &json!(false))?;
    }
    top.must_be("mlp_bias", &json!(false))?;
    if let Some(q) = top.get("quantization_config") {
        let q = Fields::of(q, "quantization_config.")?;
        if q.text("quant_method")? != Some("fp8") {
            let method = q.get("quant_method").map_or("none given".into(), shown);
            bail!(
                "quantization_config.quant_method: {method} is not supported, only \"fp8\" blocks (dequantize first)"
            );
        }
        q.must_be("fmt", &json!("e4m3"))?;
        if q.get("weight_block_size") != Some(&json!([128, 128])) {
            bail!("quantization_config.weight_block_size: only [128,128] is supported");
        }
    }
    Ok(())
}

/// The sliding window of the layers that have one. Nothing past it is computed (the config's longest sequence ends
/// there), so a window shorter than the context costs length, never exactness.
fn window(top: Fields, architecture: Architecture, layers: usize) -> Result<Option<usize>> {
    let mut slides = match architecture {
        // transformers' class default is a window of 4096; null switches it off.
        Architecture::Mistral if !top.has("sliding_window") => return Ok(Some(4096)),
        Architecture::Mistral => top.get("sliding_window").is_some(),
        // Qwen2 and Qwen3 slide only from layer `max_window_layers` on.
        _ => top.flag("use_sliding_window", false)? && top.count("max_window_layers")?.unwrap_or(0) < layers,
    };
    for kind in top.list("layer_types")?.into_iter().flatten() {
        match kind.as_str() {
            Some("full_attention") => {}
            Some("sliding_attention") => slides = true,
            _ => bail!(
                "layer_types: {} is not supported, only \"full_attention\" and \"sliding_attention\"",
                shown(kind)
            ),
        }
    }
    if slides { top.size("sliding_window").map(Some) } else { Ok(None) }
}

fn grouped_attention(
    top: Fields,
    architecture: Architecture,
    hidden: usize,
    heads: usize,
) -> Result<Attention> {
    let kv_heads = match top.count("num_key_value_heads")? {
        // Llama's default; the others have a number of their own, which no checkpoint relies on.
        None if architecture == Architecture::Llama => heads,
        _ => top.size("num_key_value_heads")?,
    };
    if !heads.is_multiple_of(kv_heads) {
        bail!("num_key_value_heads: {kv_heads} does not divide num_attention_heads {heads}");
    }
    let head_dim = match top.count("head_dim")? {
        Some(_) => top.size("head_dim")?,
        // The class default of Qwen3; every other family divides.
        None if architecture == Architecture::Qwen3 => 128,
        None if !hidden.is_multiple_of(heads) => {
            bail!(
                "num_attention_heads: {heads} does not divide hidden_size {hidden}, and head_dim is missing"
            )
        }
        None => hidden / heads,
    };
    Ok(Attention::Gqa {
        kv_heads,
        head_dim,
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Qwen3Moe),
    })
}

fn latent_attention(top: Fields, heads: usize) -> Result<Attention> {
    top.must_be("num_key_value_heads", &json!(heads))?;
    Ok(Attention::Mla {
        q_lora_rank: top.count("q_lora_rank")?.filter(|r| *r > 0),
        kv_lora_rank: top.size("kv_lora_rank")?,
        qk_nope_head_dim: top.size("qk_nope_head_dim")?,
        qk_rope_head_dim: top.size("qk_rope_head_dim")?,
        v_head_dim: top.size("v_head_dim")?,
    })
}

/// DeepSeek-V2: softmax over all experts, the best of all (`greedy`) or of the best groups (`group_limited_greedy`, a
/// group scored by its best expert).
fn softmax_experts(top: Fields) -> Result<Moe> {
    top.must_be("scoring_func", &json!("softmax"))?;
    top.must_be("moe_layer_freq", &json!(1))?;
    // DeepSeek's own code then leaves out the scaling factor, transformers leaves out the normalization.
    top.must_be("norm_topk_prob", &json!(false))?;
    let (groups, top_groups) = match top.text("topk_method")? {
        None | Some("greedy") => (1, 1),
        Some("group_limited_greedy") => (top.size("n_group")?, top.size("topk_group")?),
        Some(other) => bail!(
            "topk_method: {} is not supported, only \"greedy\" and \"group_limited_greedy\"",
            shown(&other.into())
        ),
    };
    checked(Moe {
        experts: top.size("n_routed_experts")?,
        top_k: top.size("num_experts_per_tok")?,
        intermediate: top.size("moe_intermediate_size")?,
        shared: top.count("n_shared_experts")?.unwrap_or(0),
        first_dense: top.count("first_k_dense_replace")?.unwrap_or(0),
        groups,
        top_groups,
        scoring: Scoring::Softmax,
        normalize: false,
        routed_scaling: if top.has("routed_scaling_factor") {
            top.positive("routed_scaling_factor")? as f32
        } else {
            1.0
        },
        correction_bias: false,
    })
}

/// DeepSeek-V3 and Moonlight: each expert's sigmoid on its own, a bias that moves the selection only.
fn sigmoid_experts(top: Fields) -> Result<Moe> {
    top.must_be("scoring_func", &json!("sigmoid"))?;
    top.must_be("topk_method", &json!("noaux_tc"))?;
    top.must_be("moe_layer_freq", &json!(1))?;
    checked(Moe {
        experts: top.size("n_routed_experts")?,
        top_k: top.size("num_experts_per_tok")?,
        intermediate: top.size("moe_intermediate_size")?,
        shared: top.count("n_shared_experts")?.unwrap_or(0),
        first_dense: top.count("first_k_dense_replace")?.unwrap_or(0),
        groups: top.size("n_group")?,
        top_groups: top.size("topk_group")?,
        scoring: Scoring::Sigmoid,
        normalize: top.required_flag("norm_topk_prob")?,
        routed_scaling: top.positive("routed_scaling_factor")? as f32,
        correction_bias: true,
    })
}

/// Refuses numbers of groups and experts that contradict one another.
fn checked(moe: Moe) -> Result<Moe> {
    if !moe.experts.is_multiple_of(moe.groups) {
        bail!("n_group: {} does not divide n_routed_experts {}", moe.groups, moe.experts);
    }
    if moe.top_groups > moe.groups {
        bail!("topk_group: {} is above n_group {}", moe.top_groups, moe.groups);
    }
    // A group is scored by the sum of its two best experts (sigmoid).
    if moe.scoring == Scoring::Sigmoid && moe.groups > 1 && moe.experts / moe.groups < 2 {
        bail!("n_group: {} leaves fewer than 2 of {} experts in a group", moe.groups, moe.experts);
    }
    let reachable = moe.experts / moe.groups * moe.top_groups;
    if moe.top_k > reachable {
        bail!("num_experts_per_tok: {} is above the {reachable} experts a token can reach", moe.top_k);
    }
    Ok(moe)
}

fn qwen_experts(top: Fields) -> Result<Moe> {
    top.must_be("decoder_sparse_step", &json!(1))?;
    top.must_be("mlp_only_layers", &json!([]))?;
    let moe = Moe {
        // transformers 5 also reads the name that other families use
        experts: if top.get("num_experts").is_some() {
            top.size("num_experts")?
        } else {
            top.size("num_local_experts")?
        },
        top_k: top.size("num_experts_per_tok")?,
        intermediate: top.size("moe_intermediate_size")?,
        shared: 0,
        first_dense: 0,
        groups: 1,
        top_groups: 1,
        scoring: Scoring::Softmax,
        normalize: top.required_flag("norm_topk_prob")?,
        routed_scaling: 1.0,
        correction_bias: false,
    };
    if moe.top_k > moe.experts {
        bail!("num_experts_per_tok: {} is above num_experts {}", moe.top_k, moe.experts);
    }
    Ok(moe)
}

/// End-of-sequence ids and the start id; `generation_config.json` goes first.
fn special_tokens(top: Fields, generation: Option<&Value>, vocab: usize) -> Result<(Vec<u32>, Option<u32>)> {
    let (mut eos, mut bos) = (top.token_ids("eos_token_id")?, top.token_ids("bos_token_id")?);
    if let Some(g) = generation {
        let g = Fields::of(g, "generation_config.json ")?;
        let (first_eos, first_bos) = (g.token_ids("eos_token_id")?, g.token_ids("bos_token_id")?);
        if !first_eos.is_empty() {
            eos = first_eos;
        }
        if !first_bos.is_empty() {
            bos = first_bos;
        }
    }
    if let Some(id) = eos.iter().find(|id| **id as usize >= vocab) {
        bail!("eos_token_id: {id} does not fit vocab_size {vocab}");
    }
    if let Some(id) = bos.iter().find(|id| **id as usize >= vocab) {
        bail!("bos_token_id: {id} does not fit vocab_size {vocab}");
    }
    if bos.len() > 1 {
        bail!("bos_token_id: expected one token id, found {}", bos.len());
    }
    eos.dedup();
    Ok((eos, bos.first().copied()))
}
