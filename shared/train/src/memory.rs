//! `--plan`: where the bytes of a training run go, before anything is loaded, and the longest row that fits.
//!
//! Everything but small change is counted from the config: parameters, their packed copies, gradients, moments, and what the
//! largest micro-batch keeps for its backward pass. Attention keeps nothing quadratic, so a row's bytes grow with its length.

use r1_kernels::{Precision, head};
use r1_model::config::{Attention, Config};
use r1_model::network::Recompute;
use r1_model::parameters::{Kind, specification};

use crate::microbatch::plan;
use crate::update::Row;

/// What bytes are needed for.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// in words
    pub what: &'static str,
    /// how many
    pub bytes: u64,
}

/// The plan of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// all of them, at the moment of the highest use
    pub causes: Vec<Cause>,
    /// tokens of the largest micro-batch
    pub tokens: usize,
    /// whether activations are computed twice instead of being kept
    pub recomputes: bool,
    /// tokens of the longest row that would fit into the memory given
    pub longest: Option<usize>,
}

/// Activations of one micro-batch: batches are cut so that they stay below, as far as single rows allow.
const MICRO_BYTES: usize = 448 << 20;
/// No cut goes below this many tokens.
const FEWEST_TOKENS: usize = 256;
/// Activations of one micro-batch (of one long row, then) above this are computed twice instead of kept.
const KEPT_BYTES: usize = 2 << 30;

/// f32 values a token that one layer keeps for its backward pass (`r1_model`'s tapes).
fn layer_values(c: &Config, layer: usize) -> usize {
    let hidden = c.hidden_size;
    let (heads, kv) = (c.heads, c.kv_heads());
    let attention = heads * (c.dk() + c.dv() + 1) + kv * (c.dk() + c.dv());
    let extra = match c.attention {
        Attention::Gqa { qk_norm: true, .. } => heads * (c.dk() + 1) + kv * (c.dk() + 1),
        Attention::Gqa { .. } => 0,
        Attention::Mla { q_lora_rank, kv_lora_rank, .. } => kv_lora_rank + q_lora_rank.unwrap_or(0),
    };
    let feed_forward = match c.moe.as_ref().filter(|_| c.is_moe(layer)) {
        None => 2 * c.intermediate_size,
        Some(m) => m.top_k * (hidden + 2 * m.intermediate) + 2 * m.shared * m.intermediate + 2 * m.experts,
    };
    // The layer's input, and the residual stream between its two blocks.
    attention + extra + feed_forward + 2 * hidden
}

/// Bytes a token that all layers keep.
fn kept(c: &Config) -> usize {
    4 * (0..c.layers).map(|layer| layer_values(c, layer)).sum::<usize>()
}

/// Tokens of a micro-batch: as many as were asked for, and no more than keep [`MICRO_BYTES`].
pub fn micro_tokens(c: &Config, most: usize) -> usize {
    most.min((MICRO_BYTES / kept(c)).max(FEWEST_TOKENS))
}

/// What a micro-batch of so many packed tokens keeps for its backward pass.
pub fn recompute(c: &Config, tokens: usize) -> Recompute {
    if tokens * kept(c) > KEPT_BYTES { Recompute::Layers } else { Recompute::None }
}

/// Bytes of activations of a micro-batch of so many tokens, targets included, and whether layers are computed twice.
fn activations(c: &Config, tokens: usize) -> (u64, bool) {
    let recomputes = recompute(c, tokens) == Recompute::Layers;
    let largest = (0..c.layers).map(|layer| layer_values(c, layer)).max().unwrap_or(0);
    let kept = if recomputes { c.layers * c.hidden_size + largest } else { kept(c) / 4 };
    // The final norm's input and output; in the backward pass the gradient of about one layer, and what it computes again.
    let values = kept + 5 * c.hidden_size + 2 * largest;
    (4 * (tokens * values) as u64, recomputes)
}

/// Plans a run over these rows (any rows, if only their lengths are those of the run's), in the memory that is `available`.
pub fn of(
    c: &Config,
    precision: Precision,
    rows: &[Row],
    most_tokens: usize,
    available: Option<u64>,
) -> Plan {
    let specification = specification(c);
    let count = |matrices: bool| -> u64 {
        let of = |kind: Kind| match kind {
            Kind::Matrix => true,
            Kind::Embedding => !matrices || c.tie_word_embeddings,
            _ => !matrices,
        };
        specification.iter().filter(|s| of(s.kind)).map(|s| s.shape.iter().product::<usize>() as u64).sum()
    };
    let (all, matrices) = (count(false), count(true));
    let each = if precision == Precision::Bf16 { 2 } else { 4 };
    let chosen: Vec<usize> = (0..rows.len()).collect();
    let tokens =
        plan(rows, &chosen, micro_tokens(c, most_tokens)).iter().map(|m| m.tokens).max().unwrap_or(0);
    let (activations_of_largest, recomputes) = activations(c, tokens);
    let ids: u64 = rows.iter().map(|r| 4 * (r.prompt.len() + 4 * r.completion.len()) as u64).sum();
    let causes = vec![
        Cause { what: "weights, f32", bytes: 4 * all },
        Cause { what: "the same, packed for both passes", bytes: 2 * each * matrices },
        Cause { what: "gradients, f32", bytes: 4 * all },
        Cause { what: "moments of AdamW, f32", bytes: 8 * all },
        Cause { what: "activations of the largest micro-batch", bytes: activations_of_largest },
        Cause { what: "logits of a chunk of tokens", bytes: head::scratch_bytes(256, c.vocab_size) as u64 },
        Cause { what: "rows", bytes: ids },
        Cause { what: "program and tokenizer", bytes: 32 << 20 },
    ];
    let fixed: u64 = causes.iter().map(|cause| cause.bytes).sum::<u64>() - activations_of_largest;
    let longest = available.map(|available| {
        let fits = |tokens: usize| fixed + activations(c, tokens).0 <= available;
        let (mut low, mut high) = (0, c.max_position_embeddings);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        low
    });
    Plan { causes, tokens, recomputes, longest }
}

impl Plan {
    /// All bytes together.
    pub fn total(&self) -> u64 {
        self.causes.iter().map(|cause| cause.bytes).sum()
    }

    /// For a person; `available` is what the machine has free.
    pub fn words(&self, available: Option<u64>) -> Vec<String> {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut lines: Vec<String> =
            self.causes.iter().map(|c| format!("{:>10.1} MiB  {}", mib(c.bytes), c.what)).collect();
        let way = if self.recomputes { ", layers computed twice" } else { "" };
        lines.push(format!(
            "{:>10.1} MiB  at most, with a micro-batch of {} tokens{way}",
            mib(self.total()),
            self.tokens
        ));
        if let (Some(available), Some(longest)) = (available, self.longest) {
            lines.push(match longest {
                0 => format!("does not fit into the {:.1} MiB that are free", mib(available)),
                n => {
                    format!("a row of up to {n} tokens fits into the {:.1} MiB that are free", mib(available))
                }
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_grow_with_the_rows_and_the_longest_row_is_the_longest() {
        let config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 160,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
            "max_position_embeddings": 100000, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false,
            "hidden_act": "silu", "attention_bias": false, "initializer_range": 0.02, "bos_token_id": 0, "eos_token_id": 1
        });
        let c = Config::parse(config, None).unwrap();
        let ids = vec![1u32; 4000];
        let row =
            |n: usize| Row { prompt: &ids[..8], completion: &ids[..n], inv_temperature: 1.0, gradient: true };
        let short = of(&c, Precision::F32, &[row(10)], 4096, Some(1 << 30));
        let long = of(&c, Precision::F32, &[row(200)], 4096, Some(1 << 30));
        assert!(short.total() < long.total() && short.longest.unwrap() > 0);
        let half = of(&c, Precision::Bf16, &[row(200)], 4096, None);
        assert!(half.total() < long.total() && half.longest.is_none());
        // One token more than the longest row does not fit.
        let tight = long.total() - (4 << 10);
        let n = of(&c, Precision::F32, &[row(200)], 4096, Some(tight)).longest.unwrap();
        assert!((150..208).contains(&n), "{n}");
        assert_eq!(of(&c, Precision::F32, &[row(200)], 4096, Some(1)).longest, Some(0));
        assert!(short.words(Some(1 << 30)).last().unwrap().contains("tokens fits into the 1024.0 MiB"));
    }
}
