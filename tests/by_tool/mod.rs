//! Each tool as a process: what it prints, what it writes, how it fails.

mod advantage;
mod device;
mod distill;
mod eval;
mod follow;
mod grpo;
mod init;
mod judge;
mod lora;
mod plot;
mod prefer;
mod reject;
mod reward;
pub mod rollout;
pub mod sft;
mod tasks;
