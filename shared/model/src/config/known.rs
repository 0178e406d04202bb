//! The fields that a `config.json` may have.
//!
//! A field nobody here knows may change what the network computes, so it is refused by name. What is listed either is
//! read (see `read.rs`, `rope.rs`), or says nothing about the numbers of a forward pass.

use anyhow::{Result, bail};
use serde_json::Value;

/// Fields that are read and checked.
const READ: &[&str] = &[
    "architectures",
    "attention_bias",
    "bos_token_id",
    "eos_token_id",
    "first_k_dense_replace",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "kv_lora_rank",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "mlp_bias",
    "mlp_only_layers",
    "decoder_sparse_step",
    "moe_intermediate_size",
    "moe_layer_freq",
    "n_group",
    "n_routed_experts",
    "n_shared_experts",
    "norm_topk_prob",
    "num_attention_heads",
    "num_experts",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_local_experts",
    "partial_rotary_factor",
    "q_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "quantization_config",
    "rms_norm_eps",
    "rope_interleave",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "routed_scaling_factor",
    "scoring_func",
    "sliding_window",
    "tie_word_embeddings",
    "topk_group",
    "topk_method",
    "use_sliding_window",
    "v_head_dim",
    "vocab_size",
];

/// Fields about training, other tokens, labels, files and other software; names that begin with `_` are among them.
const NEUTRAL: &[&str] = &[
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "aux_loss_alpha",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "dtype",
    "embd_pdrop",
    "ep_size",
    "experts_implementation",
    "finetuning_task",
    "hidden_dropout",
    "id2label",
    "is_decoder",
    "is_encoder_decoder",
    "keys_to_ignore_at_inference",
    "label2id",
    "model_type",
    "num_labels",
    // Multi-token prediction: its layers are kept, and not part of the forward pass.
    "num_nextn_predict_layers",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "prefix",
    // How a product was once cut for tensor parallelism: the same sums.
    "pretraining_tp",
    "problem_type",
    "pruned_heads",
    // = qk_nope_head_dim + qk_rope_head_dim, written beside them
    "qk_head_dim",
    "resid_pdrop",
    "return_dict",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "sep_token_id",
    "seq_aux",
    "task_specific_params",
    "tf_legacy_loss",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "transformers.js_config",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_mrope",
    // Generation settings that older configs carried.
    "bad_words_ids",
    "begin_suppress_tokens",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];

/// Fields that switch something on: absent, null, false, 0 and 1 (a factor) mean "off"; anything else is refused.
const OFF: &[&str] = &[
    "add_cross_attention",
    "attention_chunk_size",
    "attn_logit_softcapping",
    "clip_qkv",
    "cross_attention_hidden_size",
    "embedding_multiplier",
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "query_pre_attn_scalar",
    "residual_multiplier",
    "tie_encoder_decoder",
    "use_qk_norm",
];

/// Refuses fields that are not known.
pub(super) fn check(config: &Value) -> Result<()> {
    for (name, value) in config.as_object().into_iter().flatten() {
        let name = name.as_str();
        if name.starts_with('_') || READ.contains(&name) || NEUTRAL.contains(&name) {
            continue;
        }
        let off =
            value.is_null() || value.as_bool() == Some(false) || matches!(value.as_f64(), Some(0.0 | 1.0));
        match OFF.contains(&name) {
            true if off => {}
            true => bail!("{name}: {} is not supported", super::fields::shown(value)),
            false if value.is_null() => {}
            false => bail!(
                "{name}: not a field that is known here; it may change what the network computes (take it out of \
                 config.json if it does not)"
            ),
        }
    }
    Ok(())
}
