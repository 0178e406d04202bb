//! Every parameter of a network: its Hugging Face name, shape and kind, in one canonical order.
//!
//! Matrices that are applied to the same input right after each other (the gate and up projections of a SwiGLU layer)
//! are kept stacked in one [`Parameter`], so that one product computes both; its [`Piece`]s say which rows carry which
//! name on disk.

use crate::config::{Attention, Config, Head};

/// What a parameter is: decides its initialization and whether weight decay applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// a projection `[out, in]`: normal initialization, decayed
    Matrix,
    /// an RMSNorm weight: ones, not decayed
    Norm,
    /// a bias: zeros, not decayed
    Bias,
    /// the token embedding `[V, C]`: normal initialization, not decayed
    Embedding,
    /// the router's selection bias: zeros, no gradient (updated by load, not by loss)
    CorrectionBias,
}

/// One tensor as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// Hugging Face name, e.g. `model.layers.0.self_attn.q_proj.weight`
    pub name: String,
    /// shape on disk
    pub shape: Vec<usize>,
    /// what it is
    pub kind: Kind,
}

/// A named slice of a [`Parameter`].
#[derive(Clone, Debug)]
pub struct Piece {
    /// Hugging Face name
    pub name: String,
    /// shape on disk
    pub shape: Vec<usize>,
    /// first value inside the parameter
    pub offset: usize,
}

impl Piece {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the piece has no value (never true for a checked config).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values' place inside the parameter.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// One parameter as the network and the optimizer hold it: f32 master values.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// what it is
    pub kind: Kind,
    /// the tensors on disk that make it up, stacked along the first dimension
    pub pieces: Vec<Piece>,
    /// values, row-major; empty for the matrices of a policy loaded only to sample
    pub value: Vec<f32>,
    /// number of values, also when `value` is empty
    pub len: usize,
}

impl Parameter {
    /// Whether it is the matrix that scores experts.
    pub fn is_router(&self) -> bool {
        self.pieces[0].name.ends_with(".mlp.gate.weight")
    }

    /// Size of the last dimension.
    pub fn columns(&self) -> usize {
        self.pieces[0].shape.last().copied().unwrap_or(1)
    }

    /// `len / columns`.
    pub fn rows(&self) -> usize {
        self.len / self.columns()
    }
}

/// Positions of one attention block's parameters.
#[derive(Clone, Debug)]
pub(crate) enum AttentionIndex {
    Gqa { q: usize, k: usize, v: usize, bias: Option<[usize; 3]>, norms: Option<[usize; 2]>, o: usize },
    Mla { query: QueryIndex, kv_a: usize, kv_norm: usize, kv_b: usize, o: usize },
}

/// The query side of MLA: one matrix, or a low-rank pair with a norm between.
#[derive(Clone, Debug)]
pub(crate) enum QueryIndex {
    Full(usize),
    LowRank { a: usize, norm: usize, b: usize },
}

/// Positions of a SwiGLU layer's parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MlpIndex {
    pub gate_up: usize,
    pub down: usize,
}

/// Positions of one feed-forward block's parameters.
#[derive(Clone, Debug)]
pub(crate) enum FeedForwardIndex {
    Dense(MlpIndex),
    Moe { router: usize, correction: Option<usize>, experts: Vec<MlpIndex>, shared: Option<MlpIndex> },
}

/// Positions of one layer's parameters.
#[derive(Clone, Debug)]
pub(crate) struct LayerIndex {
    pub input_norm: usize,
    pub attention: AttentionIndex,
    pub post_norm: usize,
    pub feed_forward: FeedForwardIndex,
}

/// Where each role's parameter stands in the canonical list.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    pub embedding: usize,
    pub layers: Vec<LayerIndex>,
    pub final_norm: usize,
    /// the vocabulary's (`None` when tied to the embedding), or the classifier's
    pub head: Option<usize>,
}

/// Name of a classifier's head on disk.
pub(crate) const SCORE: &str = "score.weight";

/// Collects parameters in order.
struct Collector {
    parameters: Vec<Parameter>,
}

impl Collector {
    fn add(&mut self, kind: Kind, pieces: &[(String, Vec<usize>)]) -> usize {
        let mut offset = 0;
        let pieces = pieces
            .iter()
            .map(|(name, shape)| {
                let piece = Piece { name: name.clone(), shape: shape.clone(), offset };
                offset += piece.len();
                piece
            })
            .collect();
        self.parameters.push(Parameter { kind, pieces, value: Vec::new(), len: offset });
        self.parameters.len() - 1
    }

    fn one(&mut self, kind: Kind, name: String, shape: &[usize]) -> usize {
        self.add(kind, &[(name, shape.to_vec())])
    }

    fn matrix(&mut self, name: String, out: usize, input: usize) -> usize {
        self.one(Kind::Matrix, name, &[out, input])
    }

    fn mlp(&mut self, prefix: &str, hidden: usize, intermediate: usize) -> MlpIndex {
        let shape = vec![intermediate, hidden];
        let gate_up = self.add(
            Kind::Matrix,
            &[
                (format!("{prefix}.gate_proj.weight"), shape.clone()),
                (format!("{prefix}.up_proj.weight"), shape),
            ],
        );
        let down = self.matrix(format!("{prefix}.down_proj.weight"), hidden, intermediate);
        MlpIndex { gate_up, down }
    }

    fn attention(&mut self, c: &Config, prefix: &str) -> AttentionIndex {
        let (hidden, heads) = (c.hidden_size, c.heads);
        match c.attention {
            Attention::Gqa { kv_heads, head_dim, qkv_bias, qk_norm } => {
                let rows = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim];
                let [q, k, v] = ["q", "k", "v"].map(|role| {
                    let n = if role == "q" { rows[0] } else { rows[1] };
                    self.matrix(format!("{prefix}.{role}_proj.weight"), n, hidden)
                });
                let bias = qkv_bias.then(|| {
                    let mut i = 0;
                    ["q", "k", "v"].map(|role| {
                        i += 1;
                        self.one(Kind::Bias, format!("{prefix}.{role}_proj.bias"), &[rows[i - 1]])
                    })
                });
                let norms = qk_norm.then(|| {
                    ["q", "k"]
                        .map(|role| self.one(Kind::Norm, format!("{prefix}.{role}_norm.weight"), &[head_dim]))
                });
                let o = self.matrix(format!("{prefix}.o_proj.weight"), hidden, heads * head_dim);
                AttentionIndex::Gqa { q, k, v, bias, norms, o }
            }
            Attention::Mla { q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim } => {
                let dk = qk_nope_head_dim + qk_rope_head_dim;
                let query = match q_lora_rank {
                    None => {
                        QueryIndex::Full(self.matrix(format!("{prefix}.q_proj.weight"), heads * dk, hidden))
                    }
                    Some(rank) => QueryIndex::LowRank {
                        a: self.matrix(format!("{prefix}.q_a_proj.weight"), rank, hidden),
                        norm: self.one(Kind::Norm, format!("{prefix}.q_a_layernorm.weight"), &[rank]),
                        b: self.matrix(format!("{prefix}.q_b_proj.weight"), heads * dk, rank),
                    },
                };
                AttentionIndex::Mla {
                    query,
                    kv_a: self.matrix(
                        format!("{prefix}.kv_a_proj_with_mqa.weight"),
                        kv_lora_rank + qk_rope_head_dim,
                        hidden,
                    ),
                    kv_norm: self.one(Kind::Norm, format!("{prefix}.kv_a_layernorm.weight"), &[kv_lora_rank]),
                    kv_b: self.matrix(
                        format!("{prefix}.kv_b_proj.weight"),
                        heads * (qk_nope_head_dim + v_head_dim),
                        kv_lora_rank,
                    ),
                    o: self.matrix(format!("{prefix}.o_proj.weight"), hidden, heads * v_head_dim),
                }
            }
        }
    }

    fn feed_forward(&mut self, c: &Config, layer: usize, prefix: &str) -> FeedForwardIndex {
        let hidden = c.hidden_size;
        match c.moe.as_ref().filter(|_| c.is_moe(layer)) {
            None => FeedForwardIndex::Dense(self.mlp(prefix, hidden, c.intermediate_size)),
            Some(m) => FeedForwardIndex::Moe {
                router: self.matrix(format!("{prefix}.gate.weight"), m.experts, hidden),
                correction: m.correction_bias.then(|| {
                    self.one(
                        Kind::CorrectionBias,
                        format!("{prefix}.gate.e_score_correction_bias"),
                        &[m.experts],
                    )
                }),
                experts: (0..m.experts)
                    .map(|e| self.mlp(&format!("{prefix}.experts.{e}"), hidden, m.intermediate))
                    .collect(),
                shared: (m.shared > 0).then(|| {
                    self.mlp(&format!("{prefix}.shared_experts"), hidden, m.shared * m.intermediate)
                }),
            },
        }
    }
}

/// All parameters of a config (values empty) and where each role's stands.
pub(crate) fn layout(c: &Config) -> (Vec<Parameter>, Index) {
    let mut list = Collector { parameters: Vec::new() };
    let embedding =
        list.one(Kind::Embedding, "model.embed_tokens.weight".into(), &[c.vocab_size, c.hidden_size]);
    let layers = (0..c.layers)
        .map(|i| {
            let prefix = format!("model.layers.{i}");
            LayerIndex {
                input_norm: list.one(
                    Kind::Norm,
                    format!("{prefix}.input_layernorm.weight"),
                    &[c.hidden_size],
                ),
                attention: list.attention(c, &format!("{prefix}.self_attn")),
                post_norm: list.one(
                    Kind::Norm,
                    format!("{prefix}.post_attention_layernorm.weight"),
                    &[c.hidden_size],
                ),
                feed_forward: list.feed_forward(c, i, &format!("{prefix}.mlp")),
            }
        })
        .collect();
    let final_norm = list.one(Kind::Norm, "model.norm.weight".into(), &[c.hidden_size]);
    let head = match &c.head {
        Head::Vocabulary if c.tie_word_embeddings => None,
        Head::Vocabulary => Some(list.matrix("lm_head.weight".into(), c.vocab_size, c.hidden_size)),
        Head::Score { labels } => Some(list.matrix(SCORE.into(), labels.len(), c.hidden_size)),
    };
    (list.parameters, Index { embedding, layers, final_norm, head })
}

/// Every tensor a checkpoint of this config holds, in canonical order; no `lm_head.weight` when tied or
/// under a classifier's head.
pub fn specification(c: &Config) -> Vec<ParameterSpec> {
    let (parameters, _) = layout(c);
    parameters
        .into_iter()
        .flat_map(|p| {
            let kind = p.kind;
            p.pieces.into_iter().map(move |s| ParameterSpec { name: s.name, shape: s.shape, kind })
        })
        .collect()
}
