//! Finding a card.

use anyhow::Result;

use super::Device;

/// Opens card `ordinal` of this machine (or the emulated one: see [`r1_kernels::cuda`]).
///
/// # Errors
/// One line: no driver, no such card, one that is too old, or a library of NVIDIA's that is missing.
pub fn open(ordinal: usize) -> Result<Device> {
    Ok(Device::open(ordinal)?)
}

/// How many cards this machine has.
///
/// # Errors
/// There is no driver.
pub fn count() -> Result<usize> {
    Ok(Device::count()?)
}
