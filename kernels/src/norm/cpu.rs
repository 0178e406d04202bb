//! The reductions of one block, for every instruction set.

dispatch! {
    /// Σ v² of at most one block.
    pub(super) fn block(values: &[f32]) -> f64 = block_body;
    /// Whether no value is NaN or infinite.
    pub(super) fn all_finite(values: &[f32]) -> bool = all_finite_body;
}

#[inline(always)]
fn block_body(values: &[f32]) -> f64 {
    let mut lanes = [0f64; 16];
    let (rows, rest) = values.as_chunks::<16>();
    for row in rows {
        for l in 0..16 {
            let v = f64::from(row[l]);
            lanes[l] = v.mul_add(v, lanes[l]);
        }
    }
    for (l, &v) in rest.iter().enumerate() {
        lanes[l] = f64::from(v).mul_add(f64::from(v), lanes[l]);
    }
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

#[inline(always)]
fn all_finite_body(values: &[f32]) -> bool {
    // Without its sign a value's bits ascend with it: infinity is above all that is finite, NaN above infinity.
    const SIGN: u32 = 1 << 31;
    let mut greatest = [0u32; 64];
    let (rows, rest) = values.as_chunks::<64>();
    for row in rows {
        for l in 0..64 {
            greatest[l] = greatest[l].max(row[l].to_bits() & !SIGN);
        }
    }
    greatest.iter().all(|&bits| f32::from_bits(bits).is_finite()) && rest.iter().all(|v| v.is_finite())
}
