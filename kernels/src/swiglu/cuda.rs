//! SwiGLU on a device. The CPU's operations, so in f32 its bits.

use crate::cuda::{Arg, Device, Error, Float, Grid, Source, View, ViewMut};

pub(crate) const SOURCE: Source = Source { name: "swiglu", text: include_str!("cuda.cu") };

/// y = silu(gate) · up.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn forward<T: Float>(device: &Device, gate_up: View<T>, f: usize, y: ViewMut<T>) -> Result<(), Error> {
    let op = "swiglu::forward";
    super::check(op, gate_up.len(), f, y.len());
    let (rows, wide) = (y.len() / f, gate_up.wide(f) && y.view().wide(f));
    let args = [gate_up.into(), Arg::from(&y), Arg::U64(rows as u64), f.into(), wide.into()];
    let kernel = format!("swiglu_forward_{}", T::SUFFIX);
    device.launch(op, &SOURCE, &kernel, Grid::each(if wide { y.len() / 4 } else { y.len() }), &args)
}

/// dgate_up = d(loss)/d(gate_up) from dy = d(loss)/dy.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn backward<T: Float>(
    device: &Device,
    dy: View<T>,
    gate_up: View<T>,
    f: usize,
    dgate_up: ViewMut<T>,
) -> Result<(), Error> {
    let op = "swiglu::backward";
    super::check(op, gate_up.len(), f, dy.len());
    assert_eq!(dgate_up.len(), gate_up.len(), "{op}: dgate_up and gate_up differ in length");
    let wide = gate_up.wide(f) && dy.wide(f) && dgate_up.view().wide(f);
    let rows = Arg::U64((dy.len() / f) as u64);
    let args = [dy.into(), gate_up.into(), Arg::from(&dgate_up), rows, f.into(), wide.into()];
    let kernel = format!("swiglu_backward_{}", T::SUFFIX);
    device.launch(op, &SOURCE, &kernel, Grid::each(if wide { dy.len() / 4 } else { dy.len() }), &args)
}

#[cfg(test)]
mod tests {
    use crate::cuda::testing::{each_device, narrow, near, on, values, widen};
    use crate::swiglu;

    #[test]
    fn both_ways_are_the_cpu_s() {
        each_device(|device| {
            for (rows, f) in [(1, 1), (3, 7), (5, 64), (33, 260)] {
                let x = widen(&narrow(&values(1, rows * 2 * f, 8.0)));
                let dy = widen(&narrow(&values(2, rows * f, 1.0)));
                let (mut y, mut dx) = (vec![0.0; rows * f], vec![0.0; rows * 2 * f]);
                swiglu::forward(&x, f, &mut y);
                swiglu::backward(&dy, &x, f, &mut dx);
                let (gx, gd) = (on(device, &x), on(device, &dy));
                let (mut oy, mut ox) = (on(device, &y), on(device, &dx));
                super::forward(device, gx.all(), f, oy.all_mut()).unwrap();
                super::backward(device, gd.all(), gx.all(), f, ox.all_mut()).unwrap();
                assert_eq!(oy.download("test").unwrap(), y);
                assert_eq!(ox.download("test").unwrap(), dx);
                let (hx, hd) = (on(device, &narrow(&x)), on(device, &narrow(&dy)));
                let (mut oy, mut ox) = (on(device, &narrow(&y)), on(device, &narrow(&dx)));
                super::forward(device, hx.all(), f, oy.all_mut()).unwrap();
                super::backward(device, hd.all(), hx.all(), f, ox.all_mut()).unwrap();
                near("y in bf16", &widen(&oy.download("test").unwrap()), &y, 4e-3);
                near("dx in bf16", &widen(&ox.download("test").unwrap()), &dx, 4e-3);
            }
        });
    }
}
