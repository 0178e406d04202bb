//! Reductions over gradients and weights on a device: the CPU's order, so its bits. Many tensors at a time, one wait for all.

use super::BLOCK;
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Source, View};

pub(crate) const SOURCE: Source = Source { name: "norm", text: include_str!("cuda.cu") };

/// Σ g² of each tensor, accumulated in f64: one sum a block on the device, the sums in order on the host. Waits for the device.
///
/// # Errors
/// The device refused.
pub fn sums_of_squares(device: &Device, tensors: &[View<f32>]) -> Result<Vec<f64>, Error> {
    let op = "norm::sums_of_squares";
    let blocks = |g: &View<f32>| g.len().div_ceil(BLOCK);
    let sums: Buffer<f64> = Buffer::uninit(device, op, tensors.iter().map(blocks).sum())?;
    let mut start = 0;
    for g in tensors {
        let own = start..start + blocks(g);
        start = own.end;
        let args = [(*g).into(), sums.part(own.clone()).into(), Arg::U64(g.len() as u64), own.len().into()];
        device.launch(op, &SOURCE, "squares", Grid::each(own.len().div_ceil(2) * 32), &args)?;
    }
    let (sums, mut start) = (sums.download(op)?, 0);
    let each = tensors.iter().map(|g| {
        let own = start..start + blocks(g);
        start = own.end;
        sums[own].iter().fold(0.0, |sum, part| sum + part)
    });
    Ok(each.collect())
}

/// The index of the first NaN or infinity in each tensor, where there is one. Waits for the device.
///
/// # Errors
/// The device refused.
pub fn first_non_finite<T: Float>(device: &Device, tensors: &[View<T>]) -> Result<Vec<Option<usize>>, Error> {
    let op = "norm::first_non_finite";
    let found = Buffer::of(device, op, &vec![u64::MAX; tensors.len()])?;
    for (i, g) in tensors.iter().enumerate() {
        let args = [(*g).into(), found.part(i..i + 1).into(), Arg::U64(g.len() as u64)];
        let blocks = g.len().div_ceil(256).min(8 * device.processors());
        device.launch(op, &SOURCE, &format!("not_finite_{}", T::SUFFIX), Grid::of(blocks, 256), &args)?;
    }
    let first = |i: u64| Some(i).filter(|&i| i != u64::MAX).map(|i| i as usize);
    Ok(found.download(op)?.into_iter().map(first).collect())
}

#[cfg(test)]
mod tests {
    use crate::cuda::testing::{each_device, narrow, on, values};
    use crate::cuda::{Buffer, View};
    use crate::norm;

    #[test]
    fn bits_are_the_cpu_s() {
        each_device(|device| {
            let sizes = [0, 1, 17, 4096, 4097, 3 * 4096 + 5];
            let mut all: Vec<Vec<f32>> = sizes.iter().map(|&n| values(n as u64, n, 1.0)).collect();
            let lie = |all: &[Vec<f32>]| all.iter().map(|g| on(device, g)).collect::<Vec<_>>();
            let first = |all: &[Vec<f32>]| {
                let (full, half) = (lie(all), all.iter().map(|g| on(device, &narrow(g))).collect::<Vec<_>>());
                let views: Vec<View<f32>> = full.iter().map(Buffer::all).collect();
                let found = super::first_non_finite(device, &views).unwrap();
                let views: Vec<View<u16>> = half.iter().map(Buffer::all).collect();
                assert_eq!(super::first_non_finite(device, &views).unwrap(), found);
                found
            };
            let there = lie(&all);
            let views: Vec<View<f32>> = there.iter().map(Buffer::all).collect();
            let sums = super::sums_of_squares(device, &views).unwrap();
            for (g, sum) in all.iter().zip(&sums) {
                assert_eq!(sum.to_bits(), norm::sum_of_squares(g).to_bits(), "{}", g.len());
            }
            assert_eq!(first(&all), vec![None; sizes.len()]);
            for (bad, part) in [(f32::NEG_INFINITY, 1), (f32::NAN, 3)] {
                all.iter_mut().filter(|g| !g.is_empty()).for_each(|g| {
                    let at = (g.len() - 1) / part;
                    g[at] = bad;
                });
                let wanted = all.iter().map(|g| (!g.is_empty()).then(|| (g.len() - 1) / part));
                assert_eq!(first(&all), wanted.collect::<Vec<_>>());
            }
        });
    }
}
