//! Embedding on a device. The backward pass has the CPU's order: tokens ascending, so its bits.

use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Source, View, ViewMut};

pub(crate) const SOURCE: Source = Source { name: "embedding", text: include_str!("cuda.cu") };

/// y[t] = table[ids[t]]. The ids lie on the device and are not checked: one beyond the table gives NaN.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn forward<T: Float>(
    device: &Device,
    table: View<T>,
    c: usize,
    ids: View<u32>,
    y: ViewMut<f32>,
) -> Result<(), Error> {
    let op = "embedding::forward";
    assert!(c > 0 && y.len() == ids.len() * c, "{op}: {} values for {} ids of {c}", y.len(), ids.len());
    let args = [table.into(), ids.into(), Arg::from(&y), c.into(), (table.len() / c).into()];
    device.launch(op, &SOURCE, &format!("embedding_forward_{}", T::SUFFIX), grid(ids.len(), c), &args)
}

/// dtable[ids[t]] += dy[t]. The ids are the host's, which sorts them.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another or an id lies beyond the table.
pub fn backward(
    device: &Device,
    dy: View<f32>,
    c: usize,
    ids: &[u32],
    dtable: ViewMut<f32>,
) -> Result<(), Error> {
    let op = "embedding::backward";
    super::check(op, dtable.len(), c, ids, dy.len());
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&t| ids[t as usize]);
    let (mut unique, mut starts) = (Vec::new(), Vec::new());
    for (i, &t) in order.iter().enumerate() {
        let id = ids[t as usize];
        if unique.last() != Some(&id) {
            unique.push(id);
            starts.push(i as u32);
        }
    }
    starts.push(ids.len() as u32);
    let (count, ids) = (unique.len(), Buffer::of(device, op, &unique)?);
    let (starts, order) = (Buffer::of(device, op, &starts)?, Buffer::of(device, op, &order)?);
    let args =
        [dy.into(), Arg::from(&ids), Arg::from(&starts), Arg::from(&order), Arg::from(&dtable), c.into()];
    device.launch(op, &SOURCE, "embedding_backward", grid(count, c), &args)
}

fn grid(blocks: usize, c: usize) -> Grid {
    Grid::of(blocks, c.next_multiple_of(32).min(256) as u32)
}

#[cfg(test)]
mod tests {
    use crate::cuda::testing::{each_device, narrow, on, values, widen};
    use crate::embedding;

    #[test]
    fn bits_are_the_cpu_s() {
        each_device(|device| {
            for (v, c, t) in [(1, 1, 1), (5, 7, 40), (300, 260, 33)] {
                let (table, dy) = (values(1, v * c, 1.0), values(2, t * c, 1.0));
                let ids: Vec<u32> = (0..t).map(|i| ((i * i + 3) % v) as u32).collect();
                let (on_device, mut y) = (on(device, &ids), on(device, &vec![9f32; t * c]));
                let mut expected = vec![0.0; t * c];
                for half in [false, true] {
                    let rounded = if half { widen(&narrow(&table)) } else { table.clone() };
                    embedding::forward(&rounded, c, &ids, &mut expected);
                    let done = if half {
                        super::forward(
                            device,
                            on(device, &narrow(&table)).all(),
                            c,
                            on_device.all(),
                            y.all_mut(),
                        )
                    } else {
                        super::forward(device, on(device, &table).all(), c, on_device.all(), y.all_mut())
                    };
                    done.unwrap();
                    assert_eq!(y.download("test").unwrap(), expected);
                }
                let mut dtable = table.clone();
                embedding::backward(&dy, c, &ids, &mut dtable);
                let mut sum = on(device, &table);
                super::backward(device, on(device, &dy).all(), c, &ids, sum.all_mut()).unwrap();
                assert_eq!(sum.download("test").unwrap(), dtable);
            }
        });
    }
}
