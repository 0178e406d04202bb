//! `--plan`: where the bytes of a training run go, before anything is loaded, and the longest row that fits.
//!
//! Everything but small change is counted from the config: parameters, their copies for the products, gradients, moments, and what the
//! largest micro-batch keeps for its backward pass. Attention keeps nothing quadratic, so a row's bytes grow with its length. On a device
//! all of it is counted there, against its memory.

use anyhow::Result;
use r1_kernels::{Precision, head};
use r1_model::config::{Attention, Config};
use r1_model::device::{self, Device};
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
    /// where
    pub place: Place,
    /// all of them, at the moment of the highest use
    pub causes: Vec<Cause>,
    /// tokens of the largest micro-batch
    pub tokens: usize,
    /// whether activations are computed twice instead of being kept
    pub recomputes: bool,
    /// tokens of the longest row that would fit into the memory given
    pub longest: Option<usize>,
}

/// On the host: activations of one micro-batch, as far as single rows allow.
const MICRO_BYTES: usize = 448 << 20;
/// On the host: activations of one micro-batch (of one long row, then) above this are computed twice instead of kept.
const KEPT_BYTES: usize = 2 << 30;
/// No cut goes below this many tokens.
const FEWEST_TOKENS: usize = 256;
/// Where nothing was asked for: tokens of a micro-batch on the host, and the most on a device.
const HOST_TOKENS: usize = 4096;
const DEVICE_TOKENS: usize = 16384;
/// What a driver, its libraries and their workspace take of a device, about.
const DRIVER_BYTES: u64 = 640 << 20;

/// Where a run computes, as far as memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// the machine
    Host,
    /// a device with so many bytes in all
    Device(u64),
}

impl Place {
    /// That of a device, or of none.
    ///
    /// # Errors
    /// The device's.
    pub fn of(device: Option<&Device>) -> Result<Place> {
        Ok(match device {
            Some(device) => Place::Device(device.memory()?.1 as u64),
            None => Place::Host,
        })
    }

    /// What is free there now, as far as it is known.
    fn available(self) -> Result<Option<u64>> {
        match device::chosen() {
            Some(device) if self != Place::Host => Ok(Some(device.memory()?.0 as u64)),
            _ => Ok(r1_cli::memory::available()),
        }
    }
}

/// What tokens of a micro-batch need, and how many there may be. A function of the policy and the kind of machine alone, never of what
/// else is running there: it decides in which order gradients are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    place: Place,
    /// bytes a token that all layers keep for the backward pass
    kept: usize,
    /// … where only their inputs are kept, and one layer is computed again
    recomputed: usize,
    /// bytes a token of the final norm, and of the backward pass' one layer
    around: usize,
    /// most bytes of activations of a micro-batch
    most: usize,
}

impl Budget {
    /// That of training `c`.
    pub fn of(c: &Config, precision: Precision, place: Place) -> Budget {
        let layers = (0..c.layers).map(|layer| layer_bytes(c, layer, precision, place));
        let (sum, largest) = layers.fold((0, 0), |(sum, largest), bytes| (sum + bytes, bytes.max(largest)));
        let (full, operand) = (4 * c.hidden_size, operand_bytes(precision, place) * c.hidden_size);
        let most = match place {
            Place::Host => KEPT_BYTES,
            // The other half is for who samples on the same device, and for blocks that do not fit one another.
            Place::Device(total) => (total.saturating_sub(fixed_bytes(c, precision, place)) / 2) as usize,
        };
        let around = match place {
            Place::Host => 5 * full,
            Place::Device(_) => 5 * full + 3 * operand,
        };
        Budget { place, kept: sum, recomputed: c.layers * full + largest, around: around + 2 * largest, most }
    }

    /// Tokens of a micro-batch where nothing was asked for. On a device a power of two, so that it does not change with the driver's own
    /// share.
    pub fn default_tokens(&self) -> usize {
        match self.place {
            Place::Host => HOST_TOKENS,
            Place::Device(_) => {
                let fitting = (self.most / (self.kept + self.around)).clamp(FEWEST_TOKENS, DEVICE_TOKENS);
                1 << fitting.ilog2()
            }
        }
    }

    /// Tokens of a micro-batch of those that were asked for: all on a device, on the host no more than keep [`MICRO_BYTES`].
    pub fn micro_tokens(&self, asked: usize) -> usize {
        match self.place {
            Place::Host => asked.min((MICRO_BYTES / self.kept).max(FEWEST_TOKENS)),
            Place::Device(_) => asked,
        }
    }

    /// What a micro-batch of so many packed tokens keeps for its backward pass.
    pub fn recompute(&self, tokens: usize) -> Recompute {
        let kept = match self.place {
            Place::Host => self.kept,
            Place::Device(_) => self.kept + self.around,
        };
        if tokens * kept > self.most { Recompute::Layers } else { Recompute::None }
    }

    /// Bytes of activations of a micro-batch of so many tokens, targets included, and whether layers are computed twice.
    fn activations(&self, tokens: usize) -> (u64, bool) {
        let recomputes = self.recompute(tokens) == Recompute::Layers;
        let kept = if recomputes { self.recomputed } else { self.kept };
        ((tokens * (kept + self.around)) as u64, recomputes)
    }
}

/// Bytes of a value between two products: f32 on the host.
fn operand_bytes(precision: Precision, place: Place) -> usize {
    if precision == Precision::Bf16 && place != Place::Host { 2 } else { 4 }
}

/// Bytes a token that one layer keeps for its backward pass (`r1_model`'s tapes).
fn layer_bytes(c: &Config, layer: usize, precision: Precision, place: Place) -> usize {
    let hidden = c.hidden_size;
    let (heads, kv) = (c.heads, c.kv_heads());
    let operands = heads * (c.dk() + c.dv()) + kv * (c.dk() + c.dv());
    let (norms, of_norms) = match c.attention {
        Attention::Gqa { qk_norm: true, .. } => ((heads + kv) * c.dk(), heads + kv),
        Attention::Gqa { .. } => (0, 0),
        Attention::Mla { q_lora_rank, kv_lora_rank, .. } => (kv_lora_rank + q_lora_rank.unwrap_or(0), 0),
    };
    let (feed_forward, routing) = match c.moe.as_ref().filter(|_| c.is_moe(layer)) {
        None => (2 * c.intermediate_size, 0),
        Some(m) => (m.top_k * (hidden + 2 * m.intermediate) + 2 * m.shared * m.intermediate, 2 * m.experts),
    };
    // In f32 always: attention's sums, routing, the layer's input, and the residual stream between its two blocks.
    let full = heads + of_norms + routing + 2 * hidden;
    operand_bytes(precision, place) * (operands + norms + feed_forward) + 4 * full
}

/// Parameters in all, and those that are applied as matrices.
fn parameters(c: &Config) -> (u64, u64) {
    let specification = specification(c);
    let count = |matrices: bool| -> u64 {
        let of = |kind: Kind| match kind {
            Kind::Matrix => true,
            Kind::Embedding => !matrices || c.tie_word_embeddings,
            _ => !matrices,
        };
        specification.iter().filter(|s| of(s.kind)).map(|s| s.shape.iter().product::<usize>() as u64).sum()
    };
    (count(false), count(true))
}

/// What a run holds whatever its rows are.
fn fixed(c: &Config, precision: Precision, place: Place) -> Vec<Cause> {
    let ((all, matrices), half) = (parameters(c), precision == Precision::Bf16);
    let each = if half { 2 } else { 4 };
    let mut causes = vec![
        Cause { what: "weights, f32", bytes: 4 * all },
        Cause { what: "gradients, f32", bytes: 4 * all },
        Cause { what: "moments of AdamW, f32", bytes: 8 * all },
    ];
    let (logits, program) = match place {
        Place::Host => {
            causes.insert(1, Cause { what: "the same, packed for both passes", bytes: 2 * each * matrices });
            (head::scratch_bytes(256, c.vocab_size), Cause { what: "program and tokenizer", bytes: 32 << 20 })
        }
        Place::Device(_) => {
            if half {
                causes.insert(1, Cause { what: "the same in bf16, for products", bytes: 2 * matrices });
            }
            let logits = device::logits_bytes(DEVICE_TOKENS, c.vocab_size, half);
            (logits, Cause { what: "the driver and its libraries", bytes: DRIVER_BYTES })
        }
    };
    causes.extend([Cause { what: "logits of a chunk of tokens", bytes: logits as u64 }, program]);
    causes
}

fn fixed_bytes(c: &Config, precision: Precision, place: Place) -> u64 {
    fixed(c, precision, place).iter().map(|cause| cause.bytes).sum()
}

/// Plans a run over these rows (any rows, if only their lengths are those of the run's), in the memory that is `available`.
pub fn of(
    c: &Config,
    precision: Precision,
    place: Place,
    rows: &[Row],
    most_tokens: usize,
    available: Option<u64>,
) -> Plan {
    let budget = Budget::of(c, precision, place);
    let chosen: Vec<usize> = (0..rows.len()).collect();
    let tokens =
        plan(rows, &chosen, budget.micro_tokens(most_tokens)).iter().map(|m| m.tokens).max().unwrap_or(0);
    let (activations_of_largest, recomputes) = budget.activations(tokens);
    let ids: u64 = rows.iter().map(|r| 4 * (r.prompt.len() + 4 * r.completion.len()) as u64).sum();
    let mut causes = fixed(c, precision, place);
    if place == Place::Host {
        causes.push(Cause { what: "rows", bytes: ids });
    }
    let fixed: u64 = causes.iter().map(|cause| cause.bytes).sum();
    causes.push(Cause { what: "activations of the largest micro-batch", bytes: activations_of_largest });
    let longest = available.map(|available| {
        let fits = |tokens: usize| fixed + budget.activations(tokens).0 <= available;
        let (mut low, mut high) = (0, c.max_position_embeddings);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        low
    });
    Plan { place, causes, tokens, recomputes, longest }
}

/// Says what a run over these rows will need where it computes.
///
/// # Errors
/// The device's.
pub fn tell(c: &Config, precision: Precision, rows: &[Row], most_tokens: usize) -> Result<()> {
    let place = Place::of(device::chosen().as_ref())?;
    let available = place.available()?;
    let plan = of(c, precision, place, rows, most_tokens, available);
    plan.words(available).iter().for_each(|line| r1_cli::note(line));
    Ok(())
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
        let there = if self.place == Place::Host { "" } else { " on the GPU" };
        if let (Some(available), Some(longest)) = (available, self.longest) {
            lines.push(match longest {
                0 => format!("does not fit into the {:.1} MiB that are free{there}", mib(available)),
                n => format!(
                    "a row of up to {n} tokens fits into the {:.1} MiB that are free{there}",
                    mib(available)
                ),
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
        let short = of(&c, Precision::F32, Place::Host, &[row(10)], 4096, Some(1 << 30));
        let long = of(&c, Precision::F32, Place::Host, &[row(200)], 4096, Some(1 << 30));
        assert!(short.total() < long.total() && short.longest.unwrap() > 0);
        let half = of(&c, Precision::Bf16, Place::Host, &[row(200)], 4096, None);
        assert!(half.total() < long.total() && half.longest.is_none());
        // One token more than the longest row does not fit.
        let tight = long.total() - (4 << 10);
        let n = of(&c, Precision::F32, Place::Host, &[row(200)], 4096, Some(tight)).longest.unwrap();
        assert!((150..208).contains(&n), "{n}");
        assert_eq!(of(&c, Precision::F32, Place::Host, &[row(200)], 4096, Some(1)).longest, Some(0));
        assert!(short.words(Some(1 << 30)).last().unwrap().contains("tokens fits into the 1024.0 MiB"));
    }

    #[test]
    fn a_device_decides_by_its_size_how_much_is_computed_at_once() {
        let config = serde_json::json!({
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 1536, "intermediate_size": 8960,
            "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936,
            "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": true,
            "hidden_act": "silu", "initializer_range": 0.02, "bos_token_id": 1, "eos_token_id": 2, "use_sliding_window": false
        });
        let c = Config::parse(config, None).unwrap();
        let budget = |precision, gib: u64| Budget::of(&c, precision, Place::Device(gib << 30));
        // 1.54 billion parameters: 16 bytes each, and 2 more for bf16.
        let fixed = fixed_bytes(&c, Precision::F32, Place::Device(1 << 40));
        assert!((24_000_000_000..27_000_000_000).contains(&fixed), "{fixed}");
        let in_bf16 = fixed_bytes(&c, Precision::Bf16, Place::Device(1 << 40)) - fixed;
        assert!((3_000_000_000..3_200_000_000).contains(&in_bf16), "{in_bf16}");
        let tokens: Vec<usize> =
            [24, 40, 80, 141].iter().map(|&gib| budget(Precision::Bf16, gib).default_tokens()).collect();
        assert!(tokens.is_sorted() && tokens[0] == 256 && tokens[3] == 16384, "{tokens:?}");
        assert!(budget(Precision::F32, 80).default_tokens() <= budget(Precision::Bf16, 80).default_tokens());
        // What is kept stays within the half of what is left; more is computed twice.
        let half = budget(Precision::Bf16, 80);
        let tokens = half.default_tokens();
        assert_eq!(half.recompute(tokens), Recompute::None);
        assert!(half.activations(tokens).0 <= ((80 << 30) - fixed) / 2);
        assert_eq!(half.recompute(64 * tokens), Recompute::Layers);
        assert_eq!(half.micro_tokens(1 << 20), 1 << 20, "what was asked for");
        let ids = vec![1u32; 5000];
        let row = Row { prompt: &ids[..8], completion: &ids, inv_temperature: 1.0, gradient: true };
        let plan = of(&c, Precision::Bf16, Place::Device(80 << 30), &[row], tokens, Some(80 << 30));
        assert!(plan.words(Some(80 << 30)).last().unwrap().ends_with("that are free on the GPU"));
        assert!(plan.longest.unwrap() > 8000 && plan.total() < 80 << 30);
    }
}
