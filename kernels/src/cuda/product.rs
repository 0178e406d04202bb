//! The matrix product of a device, row-major: `C = A·B (+ C)`, either operand as it lies or transposed.
//!
//! Sums in f32. On a card it is cuBLASLt's: which algorithm, hence which order of summation, depends on the shape, so a row's bits
//! may depend on how many rows ride along. Emulated it is a loop with k ascending. A batch-invariant device has ours instead
//! (linear/tiles.cu).

/// An operand where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub at: u64,
    /// bf16, or else f32.
    pub half: bool,
    /// Values from one row to the next.
    pub stride: usize,
    /// Whether the rows of the operand are the columns of what is stored.
    pub transposed: bool,
}

/// `C[m,n] = Σ_k A[m,k] B[k,n]`, or `+=`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: Operand,
    pub b: Operand,
    /// Never transposed.
    pub c: Operand,
    pub add: bool,
}

impl Product {
    pub fn is_empty(&self) -> bool {
        self.m == 0 || self.n == 0
    }
}

/// The definition, over memory of the host.
///
/// # Safety
/// The operands must be readable, C writable, by these sizes.
pub(super) unsafe fn plain(p: &Product) {
    // SAFETY: the caller's promise.
    let read = |o: &Operand, i: usize, j: usize| unsafe {
        let at = if o.transposed { j * o.stride + i } else { i * o.stride + j };
        if o.half {
            half::bf16::from_bits(*(o.at as *const u16).add(at)).to_f32()
        } else {
            *(o.at as *const f32).add(at)
        }
    };
    for i in 0..p.m {
        for j in 0..p.n {
            let mut sum = if p.add { read(&p.c, i, j) } else { 0.0 };
            for k in 0..p.k {
                sum = read(&p.a, i, k).mul_add(read(&p.b, k, j), sum);
            }
            // SAFETY: the caller's promise.
            unsafe {
                let at = i * p.c.stride + j;
                if p.c.half {
                    *(p.c.at as *mut u16).add(at) = half::bf16::from_f32(sum).to_bits();
                } else {
                    *(p.c.at as *mut f32).add(at) = sum;
                }
            }
        }
    }
}
