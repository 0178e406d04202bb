//! Reductions over gradients on a device: the CPU's order, so its bits.

use super::BLOCK;
use crate::cuda::{Arg, Buffer, Device, Error, Grid, Source, View};

pub(crate) const SOURCE: Source = Source { name: "norm", text: include_str!("cuda.cu") };

/// Σ g², accumulated in f64: one sum a block on the device, the sums in order on the host. Waits for the device.
///
/// # Errors
/// The device refused.
pub fn sum_of_squares(device: &Device, g: View<f32>) -> Result<f64, Error> {
    let (op, blocks) = ("norm::sum_of_squares", g.len().div_ceil(BLOCK));
    let sums: Buffer<f64> = Buffer::uninit(device, op, blocks)?;
    let args = [g.into(), Arg::from(&sums), Arg::U64(g.len() as u64), blocks.into()];
    device.launch(op, &SOURCE, "squares", Grid::each(blocks.div_ceil(2) * 32), &args)?;
    Ok(sums.download(op)?.into_iter().fold(0.0, |sum, part| sum + part))
}

/// The index of the first NaN or infinity in `g`, if there is one. Waits for the device.
///
/// # Errors
/// The device refused.
pub fn first_non_finite(device: &Device, g: View<f32>) -> Result<Option<usize>, Error> {
    let op = "norm::first_non_finite";
    let found = Buffer::of(device, op, &[u64::MAX])?;
    let args = [g.into(), Arg::from(&found), Arg::U64(g.len() as u64)];
    let blocks = g.len().div_ceil(256).min(8 * device.processors());
    device.launch(op, &SOURCE, "not_finite", Grid::of(blocks, 256), &args)?;
    Ok(Some(found.download(op)?[0]).filter(|&i| i != u64::MAX).map(|i| i as usize))
}

#[cfg(test)]
mod tests {
    use crate::cuda::testing::{each_device, on, values};
    use crate::norm;

    #[test]
    fn bits_are_the_cpu_s() {
        each_device(|device| {
            for n in [0, 1, 17, 4096, 4097, 3 * 4096 + 5] {
                let mut g = values(1, n, 1.0);
                let sum = super::sum_of_squares(device, on(device, &g).all()).unwrap();
                assert_eq!(sum.to_bits(), norm::sum_of_squares(&g).to_bits(), "{n}");
                assert_eq!(super::first_non_finite(device, on(device, &g).all()).unwrap(), None);
                for at in [n / 3, n.saturating_sub(1)].into_iter().filter(|&at| at < n).rev() {
                    g[at] = if at % 2 == 0 { f32::NAN } else { f32::NEG_INFINITY };
                    assert_eq!(super::first_non_finite(device, on(device, &g).all()).unwrap(), Some(at));
                }
            }
        });
    }
}
