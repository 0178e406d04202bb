//! Where a policy computes when that is not the host: on an NVIDIA GPU, where this was built with the feature `cuda`.
//!
//! A policy whose [`LoadOptions`](crate::LoadOptions) name a device keeps its parameters there, and its passes run there:
//! [`Network`] is `crate::network` over the kernels' device ops, block by block in the same order. Whoever holds a policy
//! (the engine, the trainer, a checkpoint) does not see the difference, but for errors: a device may be out of memory.
//!
//! Without the feature no [`Device`] can exist, and what would use it is compiled to nothing.

use std::sync::{Mutex, PoisonError};

#[cfg(not(feature = "cuda"))]
mod absent;
#[cfg(feature = "cuda")]
mod adapter;
#[cfg(feature = "cuda")]
mod attention;
#[cfg(feature = "cuda")]
mod cache;
#[cfg(feature = "cuda")]
mod draws;
#[cfg(feature = "cuda")]
mod experts;
#[cfg(feature = "cuda")]
mod feed_forward;
#[cfg(feature = "cuda")]
mod latent;
#[cfg(feature = "cuda")]
mod layer;
#[cfg(feature = "cuda")]
mod open;
#[cfg(feature = "cuda")]
mod passes;
#[cfg(feature = "cuda")]
mod project;
#[cfg(feature = "cuda")]
mod recorded;
#[cfg(feature = "cuda")]
mod score;
#[cfg(feature = "cuda")]
mod tensors;
#[cfg(feature = "cuda")]
mod toward;

#[cfg(not(feature = "cuda"))]
pub use absent::{
    Caches, Device, Gradients, Moments, Network, Tape, count, expanded_bytes, is_out_of_memory, logits_bytes,
    open,
};
#[cfg(feature = "cuda")]
pub use cache::Caches;
#[cfg(feature = "cuda")]
pub use latent::expanded_bytes;
#[cfg(feature = "cuda")]
pub use open::{count, is_out_of_memory, logits_bytes, open};
#[cfg(feature = "cuda")]
pub use passes::Tape;
#[cfg(feature = "cuda")]
pub use r1_kernels::cuda::Device;
#[cfg(feature = "cuda")]
pub use tensors::{Gradients, Moments, Network};

/// Whether this was built to use devices.
pub const BUILT: bool = cfg!(feature = "cuda");

/// The device of this run; `None` is the host.
static CHOSEN: Mutex<Option<Device>> = Mutex::new(None);

/// Chooses where policies that are loaded from now on compute: `None` is the host, as it is before. Meant to be called once
/// at start.
pub fn set(device: Option<Device>) {
    *CHOSEN.lock().unwrap_or_else(PoisonError::into_inner) = device;
}

/// What [`set`] said.
pub fn chosen() -> Option<Device> {
    CHOSEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Gives memory that the chosen device has free, but that this process holds for its next use, back for other processes.
///
/// # Errors
/// The device's.
pub fn release() -> anyhow::Result<()> {
    match chosen() {
        Some(device) => Ok(device.release()?),
        None => Ok(()),
    }
}
