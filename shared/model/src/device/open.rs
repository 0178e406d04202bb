//! Finding a card.

use anyhow::Result;

use super::Device;

/// Opens card `ordinal` of this machine (or the emulated one: see [`r1_kernels::cuda`]).
///
/// # Errors
/// One line: no driver, no such card, one that is too old, or a library of NVIDIA's that is missing.
pub fn open(ordinal: usize, batch_invariant: bool) -> Result<Device> {
    Ok(Device::open(ordinal)?.batch_invariant(batch_invariant))
}

/// How many cards this machine has.
///
/// # Errors
/// There is no driver.
pub fn count() -> Result<usize> {
    Ok(Device::count()?)
}

/// Whether an error is that of a device whose memory does not suffice.
pub fn is_out_of_memory(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(r1_kernels::cuda::Error::OutOfMemory { .. }))
}

/// Bytes that the head holds on a device for `rows` rows and a vocabulary of `v`; `half`: in bf16.
pub fn logits_bytes(rows: usize, v: usize, half: bool) -> usize {
    r1_kernels::head::cuda::scratch_bytes(rows, v, half)
}
