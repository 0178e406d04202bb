//! Every numeric op of r1: one folder an op, with its reference, its fast versions and its tests.
//!
//! Pure functions over slices on the CPU. Activations are `f32` row-major `[T, C]` (T packed tokens), weights are
//! `[N, K]` = `[out, in]` row-major. Every output element has one fixed order of operations which depends neither
//! on the number of rows that ride along, nor on the thread count, nor on the instruction set; each op's header
//! states it. `README.md` beside this crate's manifest lists the ops, their versions and their tolerances.

#[macro_use]
mod isa;
#[macro_use]
mod lanes;
mod pages;
#[cfg(test)]
mod real;

pub mod adamw;
pub mod attention;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod divergence;
pub mod embedding;
pub mod head;
pub mod linear;
pub mod moe;
pub mod norm;
pub mod rmsnorm;
pub mod rope;
mod scratch;
pub mod swiglu;
#[cfg(test)]
mod testing;
pub mod threads;

pub use isa::{Isa, isa, supports};

/// Compute type of the matrix products. Accumulation, activations in memory, softmax and norms are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Operands and products in f32, one fused multiply-add per term.
    F32,
    /// Operands rounded to bfloat16 (nearest, ties to even), pairs of products accumulated in f32.
    Bf16,
}
