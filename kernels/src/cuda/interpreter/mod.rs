//! The second way to play a card (`emulation/` has the first): the PTX that NVIDIA's compiler makes of the device code, interpreted.
//!
//! It runs what g++ never sees: the inline assembly, the layout of parameters and of shared memory, wide loads and their alignment,
//! and whatever NVIDIA's front end does to the code. Opcodes (`lanes.rs`, `decode.rs`) and the layouts of exchanges (`together.rs`) are
//! written from the PTX ISA, not from `shim.h`; what is not known is an error that names it. A warp's lanes go together (`warp.rs`), where
//! fibers go one by one.
//!
//! What lockstep hides, a missing barrier, is found by a shadow of shared memory (`shadow.rs`).
//!
//! What it does not show: ptxas's registers and scheduling, races in global memory, time.

mod code;
mod decode;
mod lanes;
mod parse;
mod scene;
mod shadow;
mod together;
mod warp;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::emulation::{Memory, Player, SHARED};
use super::{Arg, Error, Grid, Source, libraries, module};
use code::{Kernel, Module, WARP};
use scene::Scene;
use shadow::Shadow;
use warp::{Stop, Warp};

/// The compute capability whose PTX is run.
const CAPABILITY: u32 = 90;

/// Plays warps and blocks in the order of this number.
pub(super) struct Interpreter(u64);

/// Modules that were read, by their source.
static READ: Mutex<Option<HashMap<u64, Arc<Module>>>> = Mutex::new(None);

impl Interpreter {
    pub fn new(order: u64) -> Result<Interpreter, Error> {
        libraries::nvrtc().map(|()| Interpreter(order))
    }
}

/// Compiles and reads a source.
fn read(source: &Source) -> Result<Arc<Module>, String> {
    let mut all = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let all = all.get_or_insert_default();
    let key = module::hash(&[source.name.as_bytes(), source.text.as_bytes()]);
    if let Some(found) = all.get(&key) {
        return Ok(found.clone());
    }
    let text = module::intermediate(source, CAPABILITY).map_err(|e| e.to_string())?;
    let text = String::from_utf8(text).map_err(|e| e.to_string())?;
    let read = Arc::new(parse::module(text.trim_end_matches('\0'))?);
    all.insert(key, read.clone());
    Ok(read)
}

impl Player for Interpreter {
    fn name(&self) -> String {
        format!("a card whose PTX the CPU interprets, order {}", self.0)
    }

    fn run(
        &self,
        source: &Source,
        kernel: &str,
        grid: Grid,
        args: &[Arg],
        memory: &Memory,
    ) -> Result<(), String> {
        let module = read(source)?;
        let kernel = module.get(kernel).ok_or("it is not in the PTX")?;
        let most = kernel.most_threads.unwrap_or(1024);
        if grid.threads == 0 || grid.threads > most || !(grid.threads as usize).is_multiple_of(WARP) {
            return Err(format!("{} threads: whole warps of at most {most} threads", grid.threads));
        }
        let held = kernel.shared + grid.shared as usize;
        if held > SHARED as usize {
            return Err(format!("{held} bytes of shared memory are more than {SHARED}"));
        }
        let (params, buffers) = (parameters(kernel, args)?, memory.buffers());
        let mut shared = vec![0u128; held.div_ceil(16)];
        let mut order = Order::new(self.0);
        let mut warps: Vec<Warp> = (0..grid.threads as usize / WARP).map(|_| Warp::new(kernel)).collect();
        let [x, y, z] = grid.blocks.map(|n| n as usize);
        let mut scene = Scene {
            params: &params,
            threads: grid.threads,
            blocks: grid.blocks,
            block: [0; 3],
            buffers: &buffers,
            shared: shared.as_mut_ptr().cast(),
            held,
            shadow: Shadow::new(kernel, held),
            text: &kernel.text,
        };
        for block in order.of(x * y * z) {
            shared.fill(u128::MAX);
            scene.block = [block % x, block / x % y, block / x / y].map(|n| n as u32);
            scene.shadow.block();
            play(kernel, &mut scene, &mut warps, &mut order)
                .map_err(|fact| format!("block {:?}: {fact}", scene.block))?;
        }
        Ok(())
    }
}

/// Each argument's bytes where the kernel looks for them, as the driver copies them.
fn parameters(kernel: &Kernel, args: &[Arg]) -> Result<Vec<u8>, String> {
    if args.len() != kernel.parameters.len() {
        return Err(format!("{} arguments, the PTX has {}", args.len(), kernel.parameters.len()));
    }
    let end = kernel.parameters.last().map_or(0, |(at, bytes)| at + bytes);
    let mut params = vec![0xff; end];
    for (arg, &(at, bytes)) in args.iter().zip(&kernel.parameters) {
        params[at..at + bytes].copy_from_slice(&arg.bits().to_le_bytes()[..bytes]);
    }
    Ok(params)
}

/// One block: each warp runs until it is at a barrier or has ended; then all go on.
fn play(kernel: &Kernel, scene: &mut Scene, warps: &mut [Warp], order: &mut Order) -> Result<(), String> {
    for (i, warp) in warps.iter_mut().enumerate() {
        warp.start(kernel, scene, (i * WARP) as u32);
    }
    loop {
        for i in order.of(warps.len()) {
            scene.shadow.warp(i as u32);
            warps[i].run(kernel, scene).map_err(|fact| format!("warp {i}: {fact}"))?;
        }
        let ended = warps.iter().filter(|warp| warp.stop == Some(Stop::End)).count();
        if ended == warps.len() {
            return Ok(());
        }
        if ended > 0 {
            return Err(format!("{ended} of {} warps have ended, the others are at a barrier", warps.len()));
        }
        scene.shadow.barrier();
    }
}

/// The order in which things go: 0 ascending, 1 descending, else shuffled anew each time.
struct Order {
    name: u64,
    state: u64,
}

impl Order {
    fn new(name: u64) -> Order {
        Order { name, state: name.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    fn of(&mut self, n: usize) -> Vec<usize> {
        match self.name {
            0 => (0..n).collect(),
            1 => (0..n).rev().collect(),
            _ => {
                let mut all: Vec<usize> = (0..n).collect();
                for i in (1..n).rev() {
                    self.state ^= self.state << 13;
                    self.state ^= self.state >> 7;
                    self.state ^= self.state << 17;
                    all.swap(i, (self.state % (i as u64 + 1)) as usize);
                }
                all
            }
        }
    }
}

#[cfg(test)]
mod tests;
