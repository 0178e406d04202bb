//! RMSNorm on a device. The weight and its gradient are f32; x, y and dy are f32 or bf16, dx is f32.

use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Source, View, ViewMut};

pub(crate) const SOURCE: Source = Source { name: "rmsnorm", text: include_str!("cuda.cu") };

/// Rows that one partial sum of dw covers.
const RUN: usize = 64;

/// y = x · rstd · w for every row of x; keeps rstd for the backward pass. x and y: f32 to either, bf16 to bf16.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn forward<X: Float, Y: Float>(
    device: &Device,
    x: View<X>,
    w: View<f32>,
    eps: f32,
    y: ViewMut<Y>,
    rstd: ViewMut<f32>,
) -> Result<(), Error> {
    let (op, c) = ("rmsnorm::forward", w.len());
    super::check(op, x.len(), c, rstd.len(), y.len());
    let wide = x.wide(c) && y.view().wide(c) && w.wide(c);
    let kernel = format!("rmsnorm_forward_{}_{}", X::SUFFIX, Y::SUFFIX);
    let args = [x.into(), w.into(), eps.into(), Arg::from(&y), Arg::from(&rstd), c.into(), wide.into()];
    device.launch(op, &SOURCE, &kernel, grid(rstd.len(), c), &args)
}

/// x += branch, then y = norm of the new x. branch and y: f32 and either, or both bf16.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn add_forward<B: Float, Y: Float>(
    device: &Device,
    x: ViewMut<f32>,
    branch: View<B>,
    w: View<f32>,
    eps: f32,
    y: ViewMut<Y>,
    rstd: ViewMut<f32>,
) -> Result<(), Error> {
    let (op, c) = ("rmsnorm::add_forward", w.len());
    super::check(op, x.len(), c, rstd.len(), y.len());
    assert_eq!(x.len(), branch.len(), "{op}: x and branch differ in length");
    let wide = x.view().wide(c) && branch.wide(c) && y.view().wide(c) && w.wide(c);
    let kernel = format!("rmsnorm_add_forward_{}_{}", B::SUFFIX, Y::SUFFIX);
    let (x, y, rows, rstd) = (Arg::from(&x), Arg::from(&y), rstd.len(), Arg::from(&rstd));
    let args = [x, branch.into(), w.into(), eps.into(), y, rstd, c.into(), wide.into()];
    device.launch(op, &SOURCE, &kernel, grid(rows, c), &args)
}

/// dx = d(loss)/dx (added to dx when `accumulate_dx`), dw += d(loss)/dw where it is wanted. `rstd` is what forward gave.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn backward<D: Float, X: Float>(
    device: &Device,
    dy: View<D>,
    x: View<X>,
    w: View<f32>,
    rstd: View<f32>,
    dx: ViewMut<f32>,
    dw: Option<ViewMut<f32>>,
    accumulate_dx: bool,
) -> Result<(), Error> {
    let (op, c, rows) = ("rmsnorm::backward", w.len(), rstd.len());
    super::check(op, x.len(), c, rows, dx.len());
    assert_eq!(dy.len(), x.len(), "{op}: dy and x differ in length");
    let wide = x.wide(c) && dy.wide(c) && dx.view().wide(c) && w.wide(c);
    let end = format!("{}_{}", D::SUFFIX, X::SUFFIX);
    let args = [
        dy.into(),
        x.into(),
        w.into(),
        rstd.into(),
        Arg::from(&dx),
        accumulate_dx.into(),
        c.into(),
        wide.into(),
    ];
    device.launch(op, &SOURCE, &format!("rmsnorm_backward_{end}"), grid(rows, c), &args)?;
    let Some(dw) = dw else { return Ok(()) };
    assert_eq!(dw.len(), c, "{op}: dw and w differ in length");
    let runs = rows.div_ceil(RUN);
    let part: Buffer<f32> = Buffer::uninit(device, op, runs * c)?;
    let args = [dy.into(), x.into(), rstd.into(), Arg::from(&part), rows.into(), c.into(), RUN.into()];
    let grid = Grid::plane(c.div_ceil(128), runs, 128);
    device.launch(op, &SOURCE, &format!("rmsnorm_weight_part_{end}"), grid, &args)?;
    let args = [Arg::from(&part), Arg::from(&dw), runs.into(), c.into()];
    device.launch(op, &SOURCE, "rmsnorm_weight_sum", Grid::each(c), &args)
}

/// A block a row, a thread for every four values.
fn grid(rows: usize, c: usize) -> Grid {
    Grid::of(rows, c.div_ceil(4).next_multiple_of(32).min(256) as u32)
}

#[cfg(test)]
mod tests {
    use crate::cuda::testing::{each_device, narrow, near, on, values, widen};
    use crate::rmsnorm;

    const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 7), (5, 16), (2, 33), (40, 100), (70, 1032)];

    #[test]
    fn forward_is_the_cpu_s() {
        each_device(|device| {
            for (rows, c) in SHAPES {
                let (x, w) = (values(1, rows * c, 3.0), values(2, c, 1.0));
                let (mut y, mut rstd) = (vec![0.0; rows * c], vec![0.0; rows]);
                rmsnorm::forward(&x, &w, 1e-6, &mut y, &mut rstd);
                let (dx, dw) = (on(device, &x), on(device, &w));
                let (mut dy, mut dr) = (on(device, &vec![7f32; rows * c]), on(device, &vec![7f32; rows]));
                super::forward(device, dx.all(), dw.all(), 1e-6, dy.all_mut(), dr.all_mut()).unwrap();
                near("y", &dy.download("test").unwrap(), &y, 1e-6);
                near("rstd", &dr.download("test").unwrap(), &rstd, 1e-6);
                let mut half = on(device, &vec![7u16; rows * c]);
                super::forward(device, dx.all(), dw.all(), 1e-6, half.all_mut(), dr.all_mut()).unwrap();
                near("y in bf16", &widen(&half.download("test").unwrap()), &y, 4e-3);

                let branch = values(3, rows * c, 1.0);
                let mut sum = x.clone();
                rmsnorm::add_forward(&mut sum, &branch, &w, 1e-6, &mut y, &mut rstd);
                let (mut dx, branch) = (on(device, &x), on(device, &branch));
                super::add_forward(
                    device,
                    dx.all_mut(),
                    branch.all(),
                    dw.all(),
                    1e-6,
                    dy.all_mut(),
                    dr.all_mut(),
                )
                .unwrap();
                assert_eq!(dx.download("test").unwrap(), sum);
                near("y after add", &dy.download("test").unwrap(), &y, 1e-6);
                let (mut dx, y16, r) = (on(device, &x), half.all_mut(), dr.all_mut());
                super::add_forward(device, dx.all_mut(), branch.all(), dw.all(), 1e-6, y16, r).unwrap();
                near("y in bf16 after add", &widen(&half.download("test").unwrap()), &y, 4e-3);
                let (branch, mut dx) =
                    (on(device, &narrow(&branch.download("test").unwrap())), on(device, &x));
                let (y16, r) = (half.all_mut(), dr.all_mut());
                super::add_forward(device, dx.all_mut(), branch.all(), dw.all(), 1e-6, y16, r).unwrap();
                near("y in bf16 after bf16", &widen(&half.download("test").unwrap()), &y, 1e-2);
                let (x16, y16, r) = (on(device, &narrow(&x)), half.all_mut(), dr.all_mut());
                super::forward(device, x16.all(), dw.all(), 1e-6, y16, r).unwrap();
                rmsnorm::forward(&widen(&narrow(&x)), &w, 1e-6, &mut y, &mut rstd);
                near("y in bf16 of bf16", &widen(&half.download("test").unwrap()), &y, 4e-3);
            }
        });
    }

    #[test]
    fn backward_is_the_cpu_s() {
        each_device(|device| {
            for (rows, c) in SHAPES {
                let (x, w, dy) = (values(1, rows * c, 3.0), values(2, c, 1.0), values(3, rows * c, 1.0));
                let (x, dy) = (widen(&narrow(&x)), widen(&narrow(&dy)));
                let (mut y, mut rstd) = (vec![0.0; rows * c], vec![0.0; rows]);
                rmsnorm::forward(&x, &w, 1e-3, &mut y, &mut rstd);
                let before = (values(4, rows * c, 1.0), values(5, c, 1.0));
                let (mut dx, mut dw) = before.clone();
                rmsnorm::backward(&dy, &x, &w, &rstd, &mut dx, Some(&mut dw), true);
                let (w, rstd) = (on(device, &w), on(device, &rstd));
                let (x32, dy32) = (on(device, &x), on(device, &dy));
                let (x16, dy16) = (on(device, &narrow(&x)), on(device, &narrow(&dy)));
                macro_rules! check {
                    ($dy:ident, $x:ident) => {
                        let (mut gx, mut gw) = (on(device, &before.0), on(device, &before.1));
                        let dw_ = Some(gw.all_mut());
                        super::backward(
                            device,
                            $dy.all(),
                            $x.all(),
                            w.all(),
                            rstd.all(),
                            gx.all_mut(),
                            dw_,
                            true,
                        )
                        .unwrap();
                        near("dx", &gx.download("test").unwrap(), &dx, 2e-6);
                        near("dw", &gw.download("test").unwrap(), &dw, 1e-5);
                    };
                }
                check!(dy32, x32);
                check!(dy16, x32);
                check!(dy32, x16);
                check!(dy16, x16);
            }
        });
    }
}
