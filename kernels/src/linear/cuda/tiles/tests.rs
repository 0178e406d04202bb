//! Our own products against the CPU's, grouped against one at a time, and a row alone against the row among others.

use super::*;
use crate::Precision;
use crate::cuda::testing::{each_device, narrow, near, on, values, widen};
use crate::linear::{self, Weight, cuda};

/// Rows, outputs, inputs: one of each, odd ones that cannot be read wide, more than a tile and more than its steps.
const SHAPES: [(usize, usize, usize); 5] =
    [(1, 1, 1), (3, 5, 7), (33, 72, 168), (130, 136, 40), (70, 8, 130)];

/// First rows, then tiles of 32 and of 128 before each group: what `moe::cuda::plan` makes.
fn starts(counts: &[usize]) -> Vec<u32> {
    let prefix = |size: usize| {
        let mut before = 0;
        let mut all = vec![0];
        for count in counts {
            before += count.div_ceil(size) as u32;
            all.push(before);
        }
        all
    };
    [prefix(1), prefix(SMALL), prefix(LARGE)].concat()
}

#[test]
fn products_in_one_order_are_the_cpu_s() {
    each_device(|device| {
        let device = &device.clone().batch_invariant(true);
        for (m, n, k) in SHAPES {
            let round = |seed, len| widen(&narrow(&values(seed, len, 1.0)));
            let (x, w, dy) = (round(1, m * k), round(2, n * k), round(4, m * n));
            let weight = Weight::pack(&w, n, k, Precision::F32, true);
            let mut y = vec![0.0; m * n];
            linear::forward(&x, &weight, None, &mut y);
            let (mut dx, mut dw) = (values(5, m * k, 1.0), values(6, n * k, 1.0));
            let before = (dx.clone(), dw.clone());
            linear::backward_input(&dy, &weight, &mut dx, true);
            linear::backward_weight(&dy, &x, n, k, Precision::F32, &mut dw);
            macro_rules! check {
                ($to:expr) => {
                    let (x, w, dy) = (on(device, &$to(&x)), on(device, &$to(&w)), on(device, &$to(&dy)));
                    let mut out = on(device, &vec![9f32; m * n]);
                    cuda::forward(device, x.all(), w.all(), n, k, None, out.all_mut()).unwrap();
                    near("y", &out.download("test").unwrap(), &y, 1e-6);
                    let mut half = on(device, &vec![9u16; m * n]);
                    cuda::forward(device, x.all(), w.all(), n, k, None, half.all_mut()).unwrap();
                    assert_eq!(half.download("test").unwrap(), narrow(&out.download("test").unwrap()));
                    let (mut gx, mut gw) = (on(device, &before.0), on(device, &before.1));
                    cuda::backward_input(device, dy.all(), w.all(), n, k, gx.all_mut(), true).unwrap();
                    near("dx", &gx.download("test").unwrap(), &dx, 1e-6);
                    cuda::backward_weight(device, dy.all(), x.all(), n, k, gw.all_mut()).unwrap();
                    near("dw", &gw.download("test").unwrap(), &dw, 1e-6);
                    // The last row alone, in a tile of another size.
                    let mut alone = on(device, &vec![9f32; n]);
                    let last = x.part((m - 1) * k..m * k);
                    cuda::forward(device, last, w.all(), n, k, None, alone.all_mut()).unwrap();
                    assert_eq!(alone.download("test").unwrap(), out.download("test").unwrap()[(m - 1) * n..]);
                    let (mut alone, mut all) = (on(device, &vec![9f32; k]), on(device, &vec![9f32; m * k]));
                    let last = dy.part((m - 1) * n..m * n);
                    cuda::backward_input(device, last, w.all(), n, k, alone.all_mut(), false).unwrap();
                    cuda::backward_input(device, dy.all(), w.all(), n, k, all.all_mut(), false).unwrap();
                    assert_eq!(alone.download("test").unwrap(), all.download("test").unwrap()[(m - 1) * k..]);
                };
            }
            check!(<[f32]>::to_vec);
            check!(narrow);
        }
    });
}

#[test]
fn a_group_is_a_product_of_its_own() {
    each_device(|device| {
        let device = &device.clone().batch_invariant(true);
        for (counts, n, k) in [
            (&[1usize, 0, 33, 2][..], 40, 72),
            (&[0, 0, 5, 0], 7, 3),
            (&[300, 129, 0], 136, 40),
            (&[1; 9], 8, 16),
        ] {
            let (m, at) = (counts.iter().sum::<usize>(), starts(counts));
            let at = on(device, &at);
            let groups = Groups { starts: at.all(), count: counts.len() };
            macro_rules! check {
                ($to:expr, $t:ty) => {
                    let (x, dy) =
                        (on(device, &$to(&values(1, m * k, 1.0))), on(device, &$to(&values(2, m * n, 1.0))));
                    let ws: Vec<Buffer<$t>> = (0..counts.len())
                        .map(|g| on(device, &$to(&values(3 + g as u64, n * k, 1.0))))
                        .collect();
                    let dws = || -> Vec<Buffer<f32>> {
                        counts.iter().map(|_| on(device, &values(9, n * k, 1.0))).collect()
                    };
                    let (mut together, mut apart) = (dws(), dws());
                    let (at, gradients) = (
                        addresses(device, ws.iter().map(Buffer::all)).unwrap(),
                        addresses(device, together.iter().map(Buffer::all)).unwrap(),
                    );
                    let (mut y, mut dx) =
                        (on(device, &vec![9f32; m * n]), on(device, &$to(&vec![9f32; m * k])));
                    grouped_forward(device, x.all(), at.all(), n, k, groups, y.all_mut()).unwrap();
                    grouped_backward_input(device, dy.all(), at.all(), n, k, groups, dx.all_mut()).unwrap();
                    grouped_backward_weight(device, dy.all(), x.all(), n, k, groups, gradients.all())
                        .unwrap();
                    let mut from = 0;
                    for (g, count) in counts.iter().enumerate() {
                        let to = from + count;
                        let (x, dy) = (x.part(from * k..to * k), dy.part(from * n..to * n));
                        let mut own = on(device, &vec![9f32; count * n]);
                        cuda::forward(device, x, ws[g].all(), n, k, None, own.all_mut()).unwrap();
                        assert_eq!(
                            own.download("test").unwrap(),
                            y.part(from * n..to * n).download("test").unwrap()
                        );
                        let mut own: Buffer<$t> = Buffer::uninit(device, "test", count * k).unwrap();
                        cuda::backward_input(device, dy, ws[g].all(), n, k, own.all_mut(), false).unwrap();
                        assert_eq!(
                            own.download("test").unwrap(),
                            dx.part(from * k..to * k).download("test").unwrap()
                        );
                        cuda::backward_weight(device, dy, x, n, k, apart[g].all_mut()).unwrap();
                        assert_eq!(apart[g].download("test").unwrap(), together[g].download("test").unwrap());
                        from = to;
                    }
                    together.clear();
                };
            }
            check!(<[f32]>::to_vec, f32);
            check!(narrow, u16);
        }
    });
}
