//! All cross-crate tests in one binary: one link step instead of twenty.

mod architecture;
mod bad_input;
mod by_tool;
mod cold_start;
mod contract;
mod harness;
mod kill;
mod pipeline;
mod stub;
