//! What is drawn, how much of it, and how: the flags of sampling, settled.

use anyhow::Result;
use r1_model::engine::{Limits, kv_bytes};
use r1_model::sample::Sampling;
use r1_model::template::Template;
use r1_model::{Policy, Tokenizer};

use crate::Args;

/// What and how much is drawn.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Completions per prompt (the group size G)
    #[arg(short = 'n', long, default_value_t = 1, value_name = "G")]
    pub samples: usize,
    /// Softmax temperature; 0 is greedy
    #[arg(long, default_value_t = 1.0, value_name = "T")]
    pub temperature: f32,
    /// Draw from the K most probable tokens; 0 for all
    #[arg(long, default_value_t = 0, value_name = "K")]
    pub top_k: usize,
    /// Draw from the most probable tokens that together hold this mass
    #[arg(long, default_value_t = 1.0, value_name = "P")]
    pub top_p: f32,
    /// Drop tokens less probable than this share of the most probable one
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub min_p: f32,
    /// Divide positive logits of tokens that came before, in prompt or completion, and multiply negative ones
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub repetition_penalty: f32,
    /// Take X from the logits of tokens that stand in the completion
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Take X from a token's logit for each time that it stands in the completion
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// Never draw the tokens that write this text, alone or after a space (repeatable)
    #[arg(long, value_name = "TEXT", conflicts_with = "endpoint")]
    bad_words: Vec<String>,
    /// Longest completion in tokens
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub max_tokens: usize,
    /// No end of a completion before this many tokens
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub min_tokens: usize,
    /// End a completion with this text, which stays part of it (repeatable)
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// End a completion with this token, which stays part of it (repeatable)
    #[arg(long, value_name = "TOKEN")]
    pub stop_token: Vec<String>,
    /// Begin every completion with this text: its tokens are given, not drawn (and not trained on)
    #[arg(long, default_value = "", value_name = "TEXT", hide_default_value = true)]
    pub prefill: String,
    /// Ask for more than the prompt, which stays the row's: few-shot (among solved problems), reflection (reason, then verify),
    /// refine (write the row's `completion` anew), or a minijinja file over question and response
    #[arg(long, value_name = "NAME")]
    pub ask: Option<String>,
    /// Sequences decoded together
    #[arg(long, default_value_t = 256, value_name = "N", conflicts_with = "endpoint")]
    sequences: usize,
    /// Memory for keys and values, in MiB; where it is short, sequences wait and are computed again [default: 1024; on a GPU nine
    /// tenths of what is free there beside the weights and a step]
    #[arg(long, value_name = "MIB", conflicts_with = "endpoint")]
    kv_memory: Option<usize>,
    /// What that memory keeps: keys and values, or the latents that an MLA policy makes them from (a fraction of the memory,
    /// slower: each step makes keys and values anew; the same rows byte for byte, on a GPU with --batch-invariant)
    #[arg(long, default_value = "values", value_name = "FORM", value_enum, conflicts_with = "endpoint")]
    kv_cache: Kept,
    /// Begin with the longest prompts, so that no long one runs on alone at the end; the rows stay in their order, byte for
    /// byte, and groups are kept in memory until it is their turn
    #[arg(long, conflicts_with = "endpoint")]
    longest_first: bool,
    #[command(flatten)]
    pub follow: crate::follow::Flags,
    /// Only the first N tasks
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Keep complete groups beside FILE (-o), and go on from those that a killed run of the same command left
    #[arg(long)]
    pub resume: bool,
    /// Instead of sampling: print each row's tokens, given or trained on
    #[arg(long, conflicts_with = "endpoint")]
    pub show_tokens: bool,
}

/// What the cache keeps of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kept {
    Values,
    Latents,
}

/// Names of the flags that say how to draw, and would be ignored by `--score`.
pub const FLAGS: [&str; 26] = [
    "follow",
    "prompts",
    "max_lag",
    "samples",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "bad_words",
    "max_tokens",
    "min_tokens",
    "stop",
    "stop_token",
    "prefill",
    "ask",
    "sequences",
    "kv_memory",
    "kv_cache",
    "longest_first",
    "limit",
    "resume",
    "show_tokens",
    "seed",
];

impl Flags {
    /// Refuses what draws nothing.
    pub fn check(&self) -> Result<()> {
        for (flag, zero) in [("--samples", self.samples == 0), ("--limit", self.limit == Some(0))] {
            if zero {
                return Err(r1_cli::misuse(format!("{flag} 0 draws nothing"), "ask for at least one"));
            }
        }
        Ok(())
    }

    /// How tokens are drawn.
    pub fn sampling(&self, tokenizer: &Tokenizer) -> Result<Sampling> {
        let mut forbidden = Vec::new();
        for word in &self.bad_words {
            for text in [word.clone(), format!(" {word}")] {
                let ids = tokenizer.encode(&text, false)?;
                if ids.is_empty() {
                    return Err(r1_cli::misuse("--bad-words: an empty text", "name the text to keep out"));
                }
                forbidden.push(ids);
            }
        }
        Ok(Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            forbidden,
        })
    }

    /// What bounds the run.
    pub fn limits(&self, args: &Args, tokenizer: &Tokenizer, policy: &Policy) -> Result<Limits> {
        let (prefill, latents) = (args.micro_tokens, self.kv_cache == Kept::Latents);
        Ok(Limits {
            max_tokens: self.max_tokens,
            min_tokens: self.min_tokens,
            max_sequences: self.sequences,
            prefill_tokens: prefill,
            kv_bytes: kv_bytes(policy, self.kv_memory, self.sequences, prefill, latents)?,
            latents,
            longest_first: self.longest_first,
            stop: self.stop.clone(),
            stop_tokens: self.stop_tokens(tokenizer)?,
            seed: args.seed.seed,
        })
    }

    /// Ids of the `--stop-token`s.
    fn stop_tokens(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let id = |token: &String| {
            tokenizer.token_to_id(token).ok_or_else(|| {
                let fact = format!("--stop-token {token}: the tokenizer has no such token");
                r1_cli::misuse(fact, "name one token as tokenizer.json spells it, or use --stop for a text")
            })
        };
        self.stop_token.iter().map(id).collect()
    }

    /// Token ids of what completions begin with.
    pub fn prefill_ids(&self, tokenizer: &Tokenizer, template: &Template) -> Result<Vec<u32>> {
        if self.prefill.is_empty() {
            Ok(Vec::new())
        } else {
            template.completion_ids(&self.prefill, tokenizer)
        }
    }

    /// All that decides what is drawn and does not stand in the rows: the name of a run that may be gone on with.
    pub fn fingerprint(&self, limits: &Limits, sampling: &Sampling, policy: &Policy) -> u64 {
        let Limits { max_tokens, min_tokens, stop, stop_tokens, seed, .. } = limits;
        let drawn = (max_tokens, min_tokens, stop, stop_tokens, seed, policy.precision());
        r1_model::random::hash(&format!("{drawn:?} {sampling:?} {} {}", self.samples, self.prefill))
    }
}
