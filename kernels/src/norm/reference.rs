//! The definition of the reductions, in the order that `mod.rs` states.

#[cfg(test)]
use super::BLOCK;

#[cfg(test)]
pub fn sum_of_squares(g: &[f32]) -> f64 {
    let mut total = 0f64;
    for block in g.chunks(BLOCK) {
        let mut lanes = [0f64; 16];
        for (i, &v) in block.iter().enumerate() {
            lanes[i % 16] = f64::from(v).mul_add(f64::from(v), lanes[i % 16]);
        }
        for half in [8, 4, 2, 1] {
            for l in 0..half {
                lanes[l] += lanes[l + half];
            }
        }
        total += lanes[0];
    }
    total
}

pub fn first_non_finite(g: &[f32]) -> Option<usize> {
    g.iter().position(|v| !v.is_finite())
}
