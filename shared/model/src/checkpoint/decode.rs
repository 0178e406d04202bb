//! From the bytes of a tensor to f32.

use half::{bf16, f16};
use safetensors::Dtype;

/// Whether [`decode`] knows the type.
pub(super) fn is_read(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) || is_fp8(dtype)
}

/// Whether values of the type need their block's scale.
pub(super) fn is_fp8(dtype: Dtype) -> bool {
    dtype == Dtype::F8_E4M3
}

/// Little-endian values as f32; `None` for types that are not read.
pub(super) fn decode(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let pairs = || bytes.as_chunks::<2>().0.iter().copied();
    Some(match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F8_E4M3 => {
            let table: Vec<f32> = (0..=255u8).map(e4m3).collect();
            bytes.iter().map(|b| table[*b as usize]).collect()
        }
        _ => return None,
    })
}

/// FP8 e4m3fn (Micikevicius et al., FP8 formats for deep learning): sign, 4 bits of exponent with bias 7, 3 of
/// mantissa; no infinity, all ones is NaN.
pub(super) fn e4m3(byte: u8) -> f32 {
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(byte >> 3 & 0xF), f32::from(byte & 7));
    match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => sign * mantissa / 8.0 * 2f32.powi(-6),
        _ => sign * (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    }
}
