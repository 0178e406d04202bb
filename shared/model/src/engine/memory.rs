//! How many bytes keys and values may take where nobody says.

use anyhow::{Context, Result};

use crate::config::Config;
use crate::device;
use crate::network::Policy;

/// MiB on the host, which others use too.
const ON_HOST: usize = 1024;

/// Of what a device has free after the weights and a step, the tenths that keys and values may take.
const TENTHS: usize = 9;

/// Bytes for keys and values: `given` MiB; else on the host 1024 MiB, on a device nine tenths of what is free there beside a
/// step of `sequences` sequences and `prefill` prompt tokens, which makes keys and values of `latents` where these are kept. An engine takes
/// no more of them than its sequences could fill.
///
/// # Errors
/// The device does not say what it has free.
pub fn kv_bytes(
    policy: &Policy,
    given: Option<usize>,
    sequences: usize,
    prefill: usize,
    latents: bool,
) -> Result<usize> {
    match (given, policy.device()) {
        (Some(mib), _) => Ok(mib.saturating_mul(1 << 20)),
        (None, None) => Ok(ON_HOST << 20),
        (None, Some(device)) => {
            let (free, _) = device.memory()?;
            let c = &policy.config;
            let expanded = if latents { expanded_bytes(c, sequences) } else { 0 };
            let step = step_bytes(c, sequences, prefill).saturating_add(expanded);
            Ok(free.saturating_sub(step) / 10 * TENTHS)
        }
    }
}

/// A device keeps recordings of steps, which share the memory of about the largest, and makes other steps beside them: taken for as many
/// steps as this.
const RECORDINGS: usize = 4;

/// Bytes that latents on the way to keys and values hold, in a step of `sequences` sequences and in recordings.
fn expanded_bytes(c: &Config, sequences: usize) -> usize {
    let positions = sequences.saturating_mul(c.max_position_embeddings);
    (1 + RECORDINGS) * device::expanded_bytes(c, positions)
}

/// Bytes that a step holds on a device beside weights and cache, all in f32: logits and the weights that are drawn by, and
/// one layer's activations, because a layer finds its blocks where the one before left them.
fn step_bytes(c: &Config, sequences: usize, prefill: usize) -> usize {
    let inner = c.moe.as_ref().map_or(0, |m| m.top_k * m.intermediate + m.shared * m.intermediate);
    let attention = 2 * c.heads * (c.dk() + c.dv()) + 2 * c.kv_heads() * (c.dk() + c.dv());
    let row = 3 * c.hidden_size + attention + 3 * inner.max(c.intermediate_size);
    let sequences = sequences.saturating_mul(RECORDINGS);
    let logits = sequences.saturating_mul(2 * c.vocab_size);
    sequences
        .saturating_add(prefill)
        .saturating_mul(row)
        .saturating_add(logits)
        .saturating_mul(size_of::<f32>())
}

/// Says what to do about a device whose memory is at its end.
pub(super) fn with_remedy<T>(result: Result<T>) -> Result<T> {
    match result {
        Err(e) if device::is_out_of_memory(&e) => Err(e).context(
            "the device's memory does not suffice; lower --kv-memory, --sequences or --micro-tokens",
        ),
        other => other,
    }
}
