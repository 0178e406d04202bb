//! The definition of the linear layer and its gradients, in the order that `mod.rs` states, and of bfloat16.

/// Rounds to bfloat16: nearest, ties to even; subnormal inputs become zeros; a NaN stays one and becomes quiet.
#[inline(always)]
pub fn to_bf16(v: f32) -> u16 {
    let bits = v.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude < 0x0080_0000 {
        (bits >> 16) as u16 & 0x8000
    } else if magnitude > 0x7f80_0000 {
        (bits >> 16) as u16 | 0x0040
    } else {
        rounded
    }
}

/// The value of a bfloat16.
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn flush(v: f32) -> f32 {
    if v.is_subnormal() { 0f32.copysign(v) } else { v }
}

/// One element of `TDPBF16PS`: 16 pairs, two chains of fused multiply-adds from 0, over the even and over the odd
/// members; then their sum; then `sum` plus that. Subnormals in and out are zeros.
pub fn dot_block(a: &[[u16; 2]; 16], b: &[[u16; 2]; 16], sum: f32) -> f32 {
    let chain = |i: usize| {
        let terms = a.iter().zip(b).map(|(a, b)| (flush(from_bf16(a[i])), flush(from_bf16(b[i]))));
        terms.fold(0f32, |sum, (a, b)| flush(a.mul_add(b, sum)))
    };
    flush(flush(sum) + flush(chain(0) + chain(1)))
}

#[cfg(test)]
pub use definition::*;

#[cfg(test)]
mod definition {
    use super::{dot_block, flush, from_bf16, to_bf16};
    use crate::{Isa, Precision};

    /// One lane of `VDPBF16PS`: the odd products first, then the even ones, subnormals in and out are zeros.
    pub fn dot_pair(a: [u16; 2], b: [u16; 2], sum: f32) -> f32 {
        let mut sum = flush(sum);
        for i in [1, 0] {
            sum = flush(flush(from_bf16(a[i])).mul_add(flush(from_bf16(b[i])), sum));
        }
        sum
    }

    /// An order of summation, as `mod.rs` states them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Order {
        /// f32, term by term.
        Terms,
        /// bf16 in pairs: `VDPBF16PS`.
        Pairs,
        /// bf16 in blocks of 32: `TDPBF16PS`.
        Blocks,
    }

    impl Order {
        /// The order of an instruction set's products.
        pub fn of(isa: Isa, precision: Precision) -> Order {
            match (precision, isa) {
                (Precision::F32, _) => Order::Terms,
                (Precision::Bf16, Isa::Amx) => Order::Blocks,
                (Precision::Bf16, _) => Order::Pairs,
            }
        }

        /// The summed index may be cut at multiples of this.
        pub fn grain(self) -> usize {
            match self {
                Order::Terms => 1,
                Order::Pairs => 2,
                Order::Blocks => 32,
            }
        }
    }

    /// `start + Σ_i a(i) b(i)` for i in `0..len`.
    pub fn dot(
        order: Order,
        start: f32,
        len: usize,
        a: impl Fn(usize) -> f32,
        b: impl Fn(usize) -> f32,
    ) -> f32 {
        let at = |f: &dyn Fn(usize) -> f32, i| if i < len { to_bf16(f(i)) } else { 0 };
        let pair = |f: &dyn Fn(usize) -> f32, i| [at(f, i), at(f, i + 1)];
        match order {
            Order::Terms => (0..len).fold(start, |sum, i| a(i).mul_add(b(i), sum)),
            Order::Pairs => (0..len).step_by(2).fold(start, |sum, i| dot_pair(pair(&a, i), pair(&b, i), sum)),
            Order::Blocks => (0..len).step_by(32).fold(start, |sum, i| {
                let block = |f: &dyn Fn(usize) -> f32| std::array::from_fn(|s| pair(f, i + 2 * s));
                dot_block(&block(&a), &block(&b), sum)
            }),
        }
    }

    pub fn forward(p: Order, x: &[f32], w: &[f32], n: usize, k: usize, bias: Option<&[f32]>) -> Vec<f32> {
        let mut y = Vec::new();
        for row in x.chunks(k) {
            for j in 0..n {
                let sum = dot(p, 0.0, k, |i| row[i], |i| w[j * k + i]);
                y.push(bias.map_or(sum, |bias| sum + bias[j]));
            }
        }
        y
    }

    pub fn forward_add(p: Order, x: &[f32], w: &[f32], n: usize, k: usize, y: &mut [f32]) {
        for (row, out) in x.chunks(k).zip(y.chunks_mut(n)) {
            for j in 0..n {
                out[j] = dot(p, out[j], k, |i| row[i], |i| w[j * k + i]);
            }
        }
    }

    pub fn backward_input(p: Order, dy: &[f32], w: &[f32], n: usize, k: usize, dx: &mut [f32]) {
        for (row, out) in dy.chunks(n).zip(dx.chunks_mut(k)) {
            for i in 0..k {
                out[i] = dot(p, out[i], n, |j| row[j], |j| w[j * k + i]);
            }
        }
    }

    pub fn backward_weight(p: Order, dy: &[f32], x: &[f32], n: usize, k: usize, dw: &mut [f32]) {
        let rows = dy.len() / n;
        for j in 0..n {
            for i in 0..k {
                let at = j * k + i;
                dw[at] = dot(p, dw[at], rows, |m| dy[m * n + j], |m| x[m * k + i]);
            }
        }
    }

    pub fn backward_bias(dy: &[f32], db: &mut [f32]) {
        for row in dy.chunks(db.len()) {
            for (sum, v) in db.iter_mut().zip(row) {
                *sum += v;
            }
        }
    }
}
