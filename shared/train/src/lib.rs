//! The update: batches, optimizer, schedules, the supervised loop, checkpoints.
//!
//! - [`schedule`]: the learning rate of every update;
//! - [`optimizer`]: AdamW with f32 state that can be saved;
//! - [`microbatch`]: cutting a batch by a token budget;
//! - [`update`]: gradients of a batch, the clipped step, refusal of what is not finite;
//! - [`router`]: balancing experts by their load;
//! - [`checkpoint`]: a training state on disk, and going on from it;
//! - [`lora`]: training an adapter instead of the policy;
//! - [`examples`], [`corpus`], [`supervised`]: imitation, shared by r1-sft and r1-distill;
//! - [`neftune`]: noise on embedded tokens;
//! - [`memory`], [`selftest`]: what a run will need, and whether its gradients are right, asked before it;
//! - [`flags`]: what all trainers are asked in the same words.

pub mod checkpoint;
pub mod corpus;
pub mod examples;
pub mod flags;
pub mod lora;
pub mod memory;
pub mod microbatch;
pub mod neftune;
pub mod optimizer;
pub mod refusal;
pub mod router;
pub mod schedule;
pub mod selftest;
pub mod supervised;
pub mod update;
