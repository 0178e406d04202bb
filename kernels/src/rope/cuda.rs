//! Rotary embedding on a device, with the cosines and sines that the host computed: in f32 its bits.

use super::Pairing;
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Source, View, ViewMut};

pub(crate) const SOURCE: Source = Source { name: "rope", text: include_str!("cuda.cu") };

/// Cosines and sines on a device.
pub struct Table {
    pub(crate) half: usize,
    positions: usize,
    pub(crate) cos: Buffer<f32>,
    pub(crate) sin: Buffer<f32>,
}

/// How the heads of a batch's rows are rotated.
#[derive(Clone, Copy)]
pub struct Rotation<'a> {
    /// a row's place in its sequence
    pub positions: View<'a, u32>,
    /// by position
    pub table: &'a Table,
    /// which values are a pair
    pub pairing: Pairing,
    /// the first value of a head that is rotated
    pub offset: usize,
}

impl Table {
    /// A copy of the host's.
    ///
    /// # Errors
    /// Out of memory.
    pub fn of(device: &Device, table: &super::Table) -> Result<Table, Error> {
        let [cos, sin] = [&table.cos, &table.sin].map(|values| Buffer::of(device, "rope::Table", values));
        Ok(Table { half: table.half, positions: table.positions(), cos: cos?, sin: sin? })
    }

    /// How many positions the table holds.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        2 * self.cos.len() * size_of::<f32>()
    }
}

/// Rotates in place, as [`super::apply`]. The positions lie on the device and are not checked against the table.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn apply<T: Float>(
    device: &Device,
    x: ViewMut<T>,
    heads: usize,
    stride: usize,
    offset: usize,
    positions: View<u32>,
    table: &Table,
    pairing: Pairing,
    inverse: bool,
) -> Result<(), Error> {
    let (op, rows, half) = ("rope::apply", positions.len(), table.half);
    assert!(x.len() == rows * heads * stride, "{op}: {} values, {rows}·{heads}·{stride}", x.len());
    assert!(offset + 2 * half <= stride, "{op}: {} values from {offset} on in a slot of {stride}", 2 * half);
    let args = [
        Arg::from(&x),
        positions.into(),
        Arg::from(&table.cos),
        Arg::from(&table.sin),
        rows.into(),
        heads.into(),
        stride.into(),
        offset.into(),
        half.into(),
        (pairing == Pairing::Interleaved).into(),
        inverse.into(),
    ];
    device.launch(op, &SOURCE, &format!("rope_{}", T::SUFFIX), Grid::each(rows * heads * half), &args)
}

#[cfg(test)]
mod tests {
    use crate::cuda::testing::{each_device, narrow, near, on, values, widen};
    use crate::rope::{self, Pairing};

    #[test]
    fn rotations_are_the_cpu_s() {
        each_device(|device| {
            for (rows, heads, stride, offset, half) in [(1, 1, 2, 0, 1), (5, 3, 9, 2, 3), (33, 4, 64, 0, 32)]
            {
                let inv_freq: Vec<f64> = (0..half).map(|i| 0.7f64.powi(i)).collect();
                let table = rope::Table::build(&inv_freq, 50, 1.25);
                let on_device = super::Table::of(device, &table).unwrap();
                let positions: Vec<u32> = (0..rows as u32).map(|r| (r * 7) % 50).collect();
                let places = on(device, &positions);
                let x = widen(&narrow(&values(1, rows * heads * stride, 1.0)));
                for pairing in [Pairing::Half, Pairing::Interleaved] {
                    for inverse in [false, true] {
                        let mut expected = x.clone();
                        rope::apply(
                            &mut expected,
                            heads,
                            stride,
                            offset,
                            &positions,
                            &table,
                            pairing,
                            inverse,
                        );
                        let (mut y, mut half) = (on(device, &x), on(device, &narrow(&x)));
                        let (p, t) = (places.all(), &on_device);
                        super::apply(device, y.all_mut(), heads, stride, offset, p, t, pairing, inverse)
                            .unwrap();
                        assert_eq!(y.download("test").unwrap(), expected);
                        super::apply(device, half.all_mut(), heads, stride, offset, p, t, pairing, inverse)
                            .unwrap();
                        near("in bf16", &widen(&half.download("test").unwrap()), &expected, 4e-3);
                    }
                }
            }
        });
    }
}
