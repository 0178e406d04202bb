//! The network: what a policy directory holds, how it computes, and how it draws completions.
//!
//! - [`config`], [`checkpoint`], [`directory`], [`gguf`], [`presets`]: files in, files out;
//! - [`lora`]: adapters in PEFT's format;
//! - [`tokenizer`], [`template`]: text to token ids and back;
//! - [`parameters`], [`batch`], [`network`]: the forward and backward pass over a packed batch;
//! - [`cache`], [`random`], [`sample`], [`engine`]: generation;
//! - [`device`]: the same on an NVIDIA GPU.
//!
//! Sampling and training run the same kernels in the same order, so a token's log-probability has the same bits in both
//! (DESIGN: one engine).

pub mod batch;
pub mod cache;
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod directory;
pub mod engine;
pub mod gguf;
pub mod lora;
pub mod network;
pub mod parameters;
pub mod presets;
pub mod random;
pub mod sample;
pub mod template;
pub mod tokenizer;

pub use batch::Packed;
pub use config::Config;
pub use network::{LoadOptions, Policy};
pub use r1_kernels::Precision;
pub use tokenizer::Tokenizer;
