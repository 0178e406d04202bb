//! What lies between the products of a layer and decoding, in one launch: biases, rotation, the pages.

use super::SOURCE;
use super::cache::Cache;
use crate::cuda::{Arg, Error, Float, Grid, View, ViewMut};
use crate::rope::Pairing;
use crate::rope::cuda::Rotation;

const THREADS: usize = 256;

impl<T: Float> Cache<T> {
    /// Adds the biases of q, k and v, rotates q `[rows, heads · dk]` in place, and stores k `[rows, kv_heads · dk]`, rotated, and v
    /// `[rows, kv_heads · dv]` at each place, page · [`PAGE`](crate::attention::PAGE) + slot. The bits are those of the bias of
    /// [`linear::cuda::forward`](crate::linear::cuda::forward), [`rope::cuda::apply`](crate::rope::cuda::apply) and
    /// [`Cache::write_rows`]. Neither places nor positions are checked.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn write_products(
        &mut self,
        places: View<u32>,
        q: ViewMut<T>,
        k: View<T>,
        v: View<T>,
        biases: [Option<View<f32>>; 3],
        rotation: &Rotation,
    ) -> Result<(), Error> {
        let (op, s, rows) = ("attention::Cache::write_products", self.s, places.len());
        let Rotation { positions, table, pairing, offset } = *rotation;
        let widths = [s.heads * s.dk, s.kv_heads * s.dk, s.kv_heads * s.dv];
        let lens = [q.len(), k.len(), v.len()];
        assert!(
            lens == widths.map(|width| rows * width) && positions.len() == rows,
            "{op}: q, k, v {lens:?} values, {} positions for {rows} rows of {s:?}",
            positions.len()
        );
        for (bias, width) in biases.iter().zip(widths) {
            assert!(bias.is_none_or(|b| b.len() == width), "{op}: a bias of another size than {width}");
        }
        let half = table.half;
        assert!(offset + 2 * half <= s.dk, "{op}: {} values from {offset} on in {}", 2 * half, s.dk);
        let [q_bias, k_bias, v_bias] = biases.map(Arg::maybe);
        let args = [
            Arg::from(&q),
            k.into(),
            v.into(),
            q_bias,
            k_bias,
            v_bias,
            places.into(),
            positions.into(),
            Arg::from(&table.cos),
            Arg::from(&table.sin),
            Arg::from(&self.k),
            Arg::from(&self.v),
            s.heads.into(),
            s.kv_heads.into(),
            s.dk.into(),
            s.dv.into(),
            offset.into(),
            half.into(),
            (pairing == Pairing::Interleaved).into(),
        ];
        let items = (s.heads + s.kv_heads) * (s.dk - half) + s.kv_heads * s.dv;
        let grid = Grid::plane(rows, items.div_ceil(THREADS), THREADS as u32);
        self.k.device().launch(op, &SOURCE, &format!("cache_inputs_{}", T::SUFFIX), grid, &args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{PAGE, Shape};
    use crate::cuda::testing::{each_device, narrow, on, values};
    use crate::cuda::{Buffer, Device};
    use crate::linear;
    use crate::rope::{self, cuda::Table};

    /// Sizes, first rotated value of a head, pairs that are rotated.
    type Case = (Shape, usize, usize);

    fn case(heads: usize, kv_heads: usize, dk: usize, dv: usize, offset: usize, half: usize) -> Case {
        (Shape { heads, kv_heads, dk, dv, scale: 1.0 }, offset, half)
    }

    /// The launches that the one stands for.
    fn separate<T: Float>(
        device: &Device,
        cache: &mut Cache<T>,
        places: View<u32>,
        [q, k, v]: [&mut Buffer<T>; 3],
        biases: [Option<View<f32>>; 3],
        r: &Rotation,
    ) {
        let s = cache.shape();
        for (y, bias) in [&*q, &*k, &*v].into_iter().zip(biases) {
            let Some(bias) = bias else { continue };
            let args = [Arg::from(y), bias.into(), Arg::U64(y.len() as u64), bias.len().into()];
            let kernel = format!("add_bias_{}", T::SUFFIX);
            device.launch("test", &linear::cuda::SOURCE, &kernel, Grid::each(y.len()), &args).unwrap();
        }
        for (y, heads) in [(&mut *q, s.heads), (&mut *k, s.kv_heads)] {
            let y = y.all_mut();
            rope::cuda::apply(device, y, heads, s.dk, r.offset, r.positions, r.table, r.pairing, false)
                .unwrap();
        }
        cache.write_rows(places, k.all(), v.all()).unwrap();
    }

    fn agree<T: Float + PartialEq + std::fmt::Debug>(
        device: &Device,
        rows: usize,
        case: Case,
        to: fn(&[f32]) -> Vec<T>,
    ) {
        let (s, offset, half) = case;
        let (pages, widths) = (3, [s.heads * s.dk, s.kv_heads * s.dk, s.kv_heads * s.dv]);
        // Every place once at most, not in order; the others keep what they have.
        let places: Vec<u32> = (0..rows).map(|r| ((r * 29 + 5) % (pages * PAGE)) as u32).collect();
        let positions: Vec<u32> = (0..rows as u32).map(|r| (r * 7 + 3) % 50).collect();
        let inv_freq: Vec<f64> = (0..half).map(|i| 0.7f64.powi(i as i32)).collect();
        let table = Table::of(device, &rope::Table::build(&inv_freq, 50, 1.25)).unwrap();
        let (places, positions) = (on(device, &places), on(device, &positions));
        let biases = [0, 1, 2].map(|i| on(device, &values(10 + i as u64, widths[i], 3.0)));
        let products = || [0, 1, 2].map(|i| on(device, &to(&values(i as u64, rows * widths[i], 2.0))));
        let filled = || {
            let mut cache = Cache::<T>::with_pages(device, pages, s).unwrap();
            (0..pages as u32).for_each(|page| cache.clear_page(page).unwrap());
            cache
        };
        for (pairing, biased) in [
            (Pairing::Half, [true; 3]),
            (Pairing::Interleaved, [false; 3]),
            (Pairing::Half, [false, true, false]),
            (Pairing::Interleaved, [true, false, true]),
        ] {
            let biases = [0, 1, 2].map(|i| biased[i].then(|| biases[i].all()));
            let rotation = Rotation { positions: positions.all(), table: &table, pairing, offset };
            let (mut apart, mut at_once) = (filled(), filled());
            let [mut q, mut k, mut v] = products();
            separate(device, &mut apart, places.all(), [&mut q, &mut k, &mut v], biases, &rotation);
            let [mut turned, k, v] = products();
            at_once
                .write_products(places.all(), turned.all_mut(), k.all(), v.all(), biases, &rotation)
                .unwrap();
            let [a, b] = [(q, apart), (turned, at_once)]
                .map(|(q, cache)| [&q, &cache.k, &cache.v].map(|x| x.download("test").unwrap()));
            assert_eq!(a, b, "{rows} rows of {s:?}, {half} pairs from {offset} on, {pairing:?}, {biased:?}");
        }
    }

    #[test]
    fn one_launch_gives_the_bits_of_the_separate_ones() {
        each_device(|device| {
            for (rows, case) in [
                (1, case(1, 1, 2, 1, 0, 1)),
                (5, case(3, 1, 9, 7, 2, 3)),
                (2, case(4, 2, 16, 24, 0, 4)),
                (33, case(6, 2, 64, 64, 0, 32)),
                (3, case(2, 2, 24, 16, 8, 8)),
            ] {
                agree(device, rows, case, <[f32]>::to_vec);
                agree(device, rows, case, narrow);
            }
        });
    }
}
