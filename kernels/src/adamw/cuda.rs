//! AdamW on a device: the CPU's operations, so its bits.

use super::{Constants, Step};
use crate::cuda::{Arg, Device, Error, Grid, Source, View, ViewMut};

pub(crate) const SOURCE: Source = Source { name: "adamw", text: include_str!("cuda.cu") };

/// One step for one parameter: `w`, `m`, `v` change in place, `g` is read; `half` gets w in bf16.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths differ or `s.step` is 0.
pub fn update(
    device: &Device,
    w: ViewMut<f32>,
    m: ViewMut<f32>,
    v: ViewMut<f32>,
    g: View<f32>,
    half: Option<ViewMut<u16>>,
    s: &Step,
) -> Result<(), Error> {
    let n = w.len();
    assert!(
        g.len() == n && m.len() == n && v.len() == n && half.as_ref().is_none_or(|h| h.len() == n),
        "adamw: {n} weights, {} gradients, moments of {} and {}",
        g.len(),
        m.len(),
        v.len()
    );
    assert!(s.step > 0, "adamw: steps are counted from 1");
    let c = Constants::of(s);
    let args = [
        Arg::from(&w),
        Arg::from(&m),
        Arg::from(&v),
        g.into(),
        half.as_ref().map_or(Arg::none::<u16>(), Arg::from),
        Arg::U64(n as u64),
        c.grad_scale.into(),
        c.beta1.into(),
        c.one_minus_beta1.into(),
        c.beta2.into(),
        c.one_minus_beta2.into(),
        c.keep.into(),
        c.rate.into(),
        c.inverse_root.into(),
        c.eps.into(),
    ];
    device.launch("adamw::update", &SOURCE, "adamw", Grid::each(n), &args)
}

#[cfg(test)]
mod tests {
    use crate::adamw::{self, Step};
    use crate::cuda::testing::{each_device, narrow, on, values};

    #[test]
    fn bits_are_the_cpu_s() {
        each_device(|device| {
            for n in [1, 257, 1000] {
                let [mut w, mut m, mut v] = [values(1, n, 1.0), vec![0.0; n], vec![0.0; n]];
                let (mut gw, mut gm, mut gv) = (on(device, &w), on(device, &m), on(device, &v));
                let mut copy = on(device, &narrow(&w));
                for step in 1..4 {
                    let (lr, weight_decay, grad_scale) = (1e-2, 0.1, 0.5);
                    let s = Step { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, step, grad_scale };
                    let g = values(step + 7, n, 1.0);
                    adamw::update(&mut w, &g, &mut m, &mut v, &s);
                    let (g, half) = (on(device, &g), Some(copy.all_mut()));
                    super::update(device, gw.all_mut(), gm.all_mut(), gv.all_mut(), g.all(), half, &s)
                        .unwrap();
                }
                assert_eq!(gw.download("test").unwrap(), w);
                assert_eq!(gm.download("test").unwrap(), m);
                assert_eq!(gv.download("test").unwrap(), v);
                assert_eq!(copy.download("test").unwrap(), narrow(&w));
            }
        });
    }
}
