//! Each tool as a process: what it prints, what it writes, how it fails.
mod init;
mod tasks;
mod sft;
mod rollout;
mod reward;
mod advantage;
mod grpo;
mod reject;
mod distill;
mod eval;
