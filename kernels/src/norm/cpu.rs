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
    const EXPONENT: u32 = 0x7f80_0000;
    let mut bad = [0u32; 16];
    let (rows, rest) = values.as_chunks::<16>();
    for row in rows {
        for l in 0..16 {
            bad[l] |= u32::from(row[l].to_bits() & EXPONENT == EXPONENT);
        }
    }
    bad.iter().all(|&b| b == 0) && rest.iter().all(|v| v.is_finite())
}
