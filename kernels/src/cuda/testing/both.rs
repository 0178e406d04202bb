//! A device that runs each launch twice, by fibers and interpreted, and wants the same bits in all memory.

use std::sync::Arc;

use crate::cuda::emulation::{Emulated, Fibers, MEMORY, Memory, Player};
use crate::cuda::interpreter::Interpreter;
use crate::cuda::{Arg, Device, Error, Grid, Source};

struct Both(Fibers, Interpreter);

/// What runs there runs on both.
pub(crate) fn device(order: u64) -> Result<Device, Error> {
    let both = Both(Fibers::new(order)?, Interpreter::new(order)?);
    Ok(Device::of(Arc::new(Emulated::of(Box::new(both), MEMORY))))
}

/// All that is in buffers.
fn contents(buffers: &[(u64, u64)]) -> Vec<Vec<u8>> {
    // SAFETY: buffers are memory of the host, which nobody writes between launches.
    let copied = buffers.iter().map(|&(at, end)| unsafe {
        std::slice::from_raw_parts(at as *const u8, (end - at) as usize).to_vec()
    });
    copied.collect()
}

/// Whether the word at this byte is a NaN: which one, machines choose.
fn nan(bytes: &[u8], at: usize) -> bool {
    let word = bytes.get(at / 4 * 4..).and_then(|rest| rest.first_chunk());
    word.is_some_and(|word| f32::from_le_bytes(*word).is_nan())
}

impl Player for Both {
    fn name(&self) -> String {
        format!("{}, and {}", self.0.name(), self.1.name())
    }

    fn run(
        &self,
        source: &Source,
        kernel: &str,
        grid: Grid,
        args: &[Arg],
        memory: &Memory,
    ) -> Result<(), String> {
        let buffers = memory.buffers();
        let before = contents(&buffers);
        self.0.run(source, kernel, grid, args, memory)?;
        let emulated = contents(&buffers);
        for (&(at, _), bytes) in buffers.iter().zip(&before) {
            // SAFETY: as above.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        }
        self.1.run(source, kernel, grid, args, memory)?;
        // These take 2^x from the card's own table (ex2.approx): the tests' tolerances hold, not the bits.
        // Latents of a spare page may be laid out several times, and the last block's stay.
        let approximate = kernel.starts_with("tensor_") || kernel.starts_with("cache_expand_");
        for (i, (a, b)) in emulated.iter().zip(&contents(&buffers)).enumerate() {
            let differs = |&at: &usize| a[at] != b[at] && !approximate && !(nan(a, at) && nan(b, at));
            if let Some(at) = (0..a.len()).find(differs) {
                let word = |x: &[u8]| {
                    x[at / 4 * 4..].iter().take(4).rev().map(|b| format!("{b:02x}")).collect::<String>()
                };
                return Err(format!(
                    "byte {at} of {} in buffer {i}: the word is {} emulated, {} interpreted",
                    a.len(),
                    word(a),
                    word(b)
                ));
            }
        }
        Ok(())
    }
}
