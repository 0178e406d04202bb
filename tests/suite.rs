//! All cross-crate tests in one binary: one link step instead of twenty.

mod architecture;
mod by_tool;
mod contract;
mod harness;
mod pipeline;
