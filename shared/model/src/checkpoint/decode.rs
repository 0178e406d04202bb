//! From the bytes of a tensor to f32.

use std::sync::LazyLock;

use half::f16;
use safetensors::Dtype;

/// Whether [`decode`] knows the type.
pub(super) fn is_read(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) || is_fp8(dtype)
}

/// Whether values of the type need their block's scale.
pub(super) fn is_fp8(dtype: Dtype) -> bool {
    dtype == Dtype::F8_E4M3
}

/// Fills `out` with the values of a tensor's `bytes` (little endian) from index `from` on; of a type that is read.
pub(super) fn decode(dtype: Dtype, bytes: &[u8], from: usize, out: &mut [f32]) {
    let width = if dtype == Dtype::F32 { 4 } else { 2 - usize::from(is_fp8(dtype)) };
    let bytes = &bytes[from * width..][..out.len() * width];
    let pairs = || bytes.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => {
            out.iter_mut().zip(bytes.as_chunks::<4>().0).for_each(|(x, b)| *x = f32::from_le_bytes(*b))
        }
        // A bf16 value is the upper half of an f32.
        Dtype::BF16 => out
            .iter_mut()
            .zip(pairs())
            .for_each(|(x, b)| *x = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)),
        Dtype::F16 => out.iter_mut().zip(pairs()).for_each(|(x, b)| *x = f16::from_le_bytes(*b).to_f32()),
        Dtype::F8_E4M3 => out.iter_mut().zip(bytes).for_each(|(x, b)| *x = E4M3[usize::from(*b)]),
        _ => unreachable!("is_read was asked before"),
    }
}

/// All values of [`e4m3`].
static E4M3: LazyLock<[f32; 256]> = LazyLock::new(|| std::array::from_fn(|byte| e4m3(byte as u8)));

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
