//! PTX, read: what a kernel is to the interpreter.

use std::collections::HashMap;

/// Threads of a warp.
pub(super) const WARP: usize = 32;

/// A register's values in the lanes of a warp, by what may be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `.b16`, `.b32`, `.f32`
    Word,
    /// `.b64`, `.f64`
    Wide,
    /// `.pred`
    Pred,
}

/// The registers of a warp: a row of lanes each. Constants and special registers are registers too, behind the declared ones.
pub(super) struct Registers {
    pub word: Vec<[u32; WARP]>,
    pub wide: Vec<[u64; WARP]>,
    pub pred: Vec<[bool; WARP]>,
}

/// What an instruction does in each lane that takes part, by itself: destination first, then sources, by their numbers.
pub(super) type Lanes = fn(&mut Registers, u32, &[u16]);

/// Where a load or store goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Global,
    Shared,
    /// Wherever the address points; only global memory is meant by our sources.
    Generic,
}

/// `count` values of `bytes` each, at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub space: Space,
    pub bytes: usize,
    pub count: usize,
    /// A load that extends the sign where the register is wider than the value.
    pub signed: bool,
    /// The values' registers, which stand first in `operands`; then the base's.
    pub kind: Kind,
    pub base: Kind,
    pub offset: i64,
}

/// What an atomic operation leaves of the value that is there and the lane's own.
pub(super) type Combine = fn(u64, u64) -> u64;

/// Which lane a shuffle reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shuffle {
    Up,
    Butterfly,
    Index,
}

/// What the lanes of a warp do together: each waits for the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum Together {
    /// d, p, a, b, c, members
    Shuffle(Shuffle),
    /// d, p, members
    Ballot,
    /// members
    Wait,
    /// d (4), a (4), b (2), c (4)
    Product,
    /// d (4), row
    Matrices { transposed: bool },
}

#[derive(Clone, Copy)]
pub(super) enum Action {
    Lanes(Lanes),
    Branch(usize),
    Return,
    /// A value of the parameters, at a byte of them.
    Param {
        at: usize,
        bytes: usize,
        signed: bool,
        kind: Kind,
    },
    Load(Access),
    Store(Access),
    /// d, base, value
    Atomic(Access, Combine),
    /// 16 bytes in the background: to (word), from (wide), bytes (word)
    Copy,
    CopiesEnd,
    CopiesWait(usize),
    Barrier,
    Together(Together),
}

/// Most operands of an instruction: a product's.
pub(super) const OPERANDS: usize = 14;

#[derive(Clone, Copy)]
pub(super) struct Instruction {
    pub action: Action,
    /// A predicate, and whether the instruction wants its opposite.
    pub guard: Option<(u16, bool)>,
    pub operands: [u16; OPERANDS],
}

/// What a register holds from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Constant(u64),
    Thread,
    Threads,
    Block(usize),
    Blocks(usize),
}

pub(super) struct Kernel {
    pub code: Vec<Instruction>,
    /// Each instruction as it is written.
    pub text: Vec<String>,
    /// Registers of each kind, declared and otherwise.
    pub words: usize,
    pub wides: usize,
    pub preds: usize,
    /// Registers that hold something from the start.
    pub given: Vec<(Kind, u16, Value)>,
    /// Where each parameter lies, and its bytes.
    pub parameters: Vec<(usize, usize)>,
    /// Bytes of shared memory that the source declares; what the launch adds begins behind them.
    pub shared: usize,
    /// `.maxntid`: more threads do not launch.
    pub most_threads: Option<u32>,
}

pub(super) type Module = HashMap<String, Kernel>;
