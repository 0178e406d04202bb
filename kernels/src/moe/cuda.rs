//! Mixture of experts on a device. The experts' products are `linear`'s grouped ones: where an expert's rows begin is known to the device
//! only, so that nothing waits for the host.

use super::{Router, Scoring};
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Source, View, ViewMut};
use crate::linear::cuda::Groups;

pub(crate) const SOURCE: Source = Source { name: "moe", text: include_str!("cuda.cu") };

/// Experts that a router may have here, as in cuda.cu.
pub const EXPERTS: usize = 512;
/// Groups of them.
pub const GROUPS: usize = 64;

/// What the router decided for every token, on the device.
pub struct Routing {
    /// `[T, top_k]`: the experts, best first.
    pub experts: Buffer<u32>,
    /// `[T, top_k]`: their weights.
    pub weights: Buffer<f32>,
    /// `[T, E]`: all scores, after sigmoid or softmax, without bias.
    pub scores: Buffer<f32>,
}

/// The order in which expert rows lie.
pub struct Plan {
    /// Slot index `t·top_k + j` of each expert row, sorted by (expert, t).
    pub order: Buffer<u32>,
    /// The expert row of each slot.
    pub row_of: Buffer<u32>,
    /// What [`Groups`] says of the experts' rows: of them the first `[E + 1]` are where each expert's begin.
    pub starts: Buffer<u32>,
}

impl Plan {
    /// The experts' rows, for grouped products.
    pub fn groups(&self) -> Groups<'_> {
        Groups { starts: self.starts.all(), count: self.starts.len() / 3 - 1 }
    }
}

/// Scores, selection and weights for every row of logits `[T, E]`, as [`super::route`]. Of logits that are no numbers come
/// experts that exist, and weights that are no numbers.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the router's numbers contradict one another or the sizes do not fit.
pub fn route(
    device: &Device,
    logits: View<f32>,
    bias: Option<View<f32>>,
    r: &Router,
) -> Result<Routing, Error> {
    let op = "moe::route";
    super::check(r);
    assert!(
        r.experts <= EXPERTS && r.groups <= GROUPS && logits.len().is_multiple_of(r.experts),
        "{op}: {} logits, {} experts in {} groups ({EXPERTS} and {GROUPS} at most)",
        logits.len(),
        r.experts,
        r.groups
    );
    assert!(bias.is_none_or(|b| b.len() == r.experts), "{op}: bias does not have {} values", r.experts);
    let tokens = logits.len() / r.experts;
    let routing = Routing {
        experts: Buffer::uninit(device, op, tokens * r.top_k)?,
        weights: Buffer::uninit(device, op, tokens * r.top_k)?,
        scores: Buffer::uninit(device, op, logits.len())?,
    };
    let args = [
        logits.into(),
        Arg::maybe(bias),
        Arg::from(&routing.experts),
        Arg::from(&routing.weights),
        Arg::from(&routing.scores),
        r.experts.into(),
        r.top_k.into(),
        r.groups.into(),
        r.top_groups.into(),
        (r.scoring == Scoring::Softmax).into(),
        r.normalize.into(),
        r.scale.into(),
    ];
    device.launch(op, &SOURCE, "moe_route", Grid::of(tokens, 32), &args)?;
    Ok(routing)
}

/// dlogits (overwritten) from dweights, as [`super::route_backward`].
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn route_backward(
    device: &Device,
    dweights: View<f32>,
    routing: &Routing,
    r: &Router,
    dlogits: ViewMut<f32>,
) -> Result<(), Error> {
    let op = "moe::route_backward";
    super::check(r);
    let tokens = routing.experts.len() / r.top_k;
    assert!(
        dweights.len() == tokens * r.top_k && dlogits.len() == tokens * r.experts,
        "{op}: dweights {}, dlogits {} for {tokens} tokens",
        dweights.len(),
        dlogits.len()
    );
    let args = [
        dweights.into(),
        Arg::from(&routing.experts),
        Arg::from(&routing.scores),
        Arg::from(&dlogits),
        r.experts.into(),
        r.top_k.into(),
        (r.scoring == Scoring::Softmax).into(),
        r.normalize.into(),
        r.scale.into(),
    ];
    device.launch(op, &SOURCE, "moe_route_backward", grid(tokens, r.experts), &args)
}

/// Sorts the slots of a routing by (expert, token).
///
/// # Errors
/// The device refused.
pub fn plan(device: &Device, routing: &Routing, experts: usize) -> Result<Plan, Error> {
    let (op, slots) = ("moe::plan", routing.experts.len());
    let counts: Buffer<u32> = Buffer::uninit(device, op, experts)?;
    let plan = Plan {
        order: Buffer::uninit(device, op, slots)?,
        row_of: Buffer::uninit(device, op, slots)?,
        starts: Buffer::uninit(device, op, 3 * (experts + 1))?,
    };
    let chosen = || Arg::from(&routing.experts);
    let (count, grid) = (Arg::U64(slots as u64), Grid::of(experts, 256));
    device.launch(op, &SOURCE, "moe_count", grid, &[chosen(), Arg::from(&counts), count])?;
    let args = [Arg::from(&counts), Arg::from(&plan.starts), experts.into()];
    device.launch(op, &SOURCE, "moe_starts", Grid::of(1, 32), &args)?;
    let (starts, order) = (Arg::from(&plan.starts), Arg::from(&plan.order));
    device.launch(
        op,
        &SOURCE,
        "moe_order",
        grid,
        &[chosen(), starts, order, Arg::from(&plan.row_of), count],
    )?;
    Ok(plan)
}

/// Expert rows from token rows: y[i] = x[order[i] / top_k].
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn gather<T: Float>(
    device: &Device,
    x: View<T>,
    c: usize,
    top_k: usize,
    plan: &Plan,
    y: ViewMut<T>,
) -> Result<(), Error> {
    let op = "moe::gather";
    check_rows(op, y.len(), c, plan, top_k, x.len());
    let args = [x.into(), Arg::from(&plan.order), Arg::from(&y), c.into(), top_k.into()];
    device.launch(op, &SOURCE, &format!("moe_gather_{}", T::SUFFIX), grid(plan.order.len(), c), &args)
}

/// out[t] += Σ_j weights[t, j] · y[row of slot (t, j)], j ascending.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn combine<T: Float>(
    device: &Device,
    y: View<T>,
    c: usize,
    routing: &Routing,
    plan: &Plan,
    top_k: usize,
    out: ViewMut<f32>,
) -> Result<(), Error> {
    sum_of_rows(device, "moe::combine", y, c, plan, top_k, Arg::from(&routing.weights), out)
}

/// The backward of [`gather`]: dx[t] += Σ_j dy[row of slot (t, j)], j ascending.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn scatter_add<T: Float>(
    device: &Device,
    dy: View<T>,
    c: usize,
    top_k: usize,
    plan: &Plan,
    dx: ViewMut<f32>,
) -> Result<(), Error> {
    sum_of_rows(device, "moe::scatter_add", dy, c, plan, top_k, Arg::none::<f32>(), dx)
}

fn sum_of_rows<T: Float>(
    device: &Device,
    op: &'static str,
    y: View<T>,
    c: usize,
    plan: &Plan,
    top_k: usize,
    weights: Arg,
    out: ViewMut<f32>,
) -> Result<(), Error> {
    check_rows(op, y.len(), c, plan, top_k, out.len());
    let args = [y.into(), Arg::from(&plan.row_of), weights, Arg::from(&out), c.into(), top_k.into()];
    device.launch(op, &SOURCE, &format!("moe_combine_{}", T::SUFFIX), grid(out.len() / c, c), &args)
}

/// dy[row] = weight · dout[t] and dweights[t, j] = dout[t] · y[row] (both overwritten).
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn combine_backward<T: Float>(
    device: &Device,
    dout: View<f32>,
    y: View<T>,
    c: usize,
    routing: &Routing,
    plan: &Plan,
    top_k: usize,
    dy: ViewMut<T>,
    dweights: ViewMut<f32>,
) -> Result<(), Error> {
    let (op, slots) = ("moe::combine_backward", plan.order.len());
    check_rows(op, y.len(), c, plan, top_k, dout.len());
    assert!(
        dy.len() == y.len() && dweights.len() == slots,
        "{op}: dy {}, dweights {}",
        dy.len(),
        dweights.len()
    );
    let args = [
        dout.into(),
        y.into(),
        Arg::from(&plan.order),
        Arg::from(&routing.weights),
        Arg::from(&dy),
        Arg::from(&dweights),
        c.into(),
        top_k.into(),
    ];
    device.launch(op, &SOURCE, &format!("moe_combine_backward_{}", T::SUFFIX), grid(slots, c), &args)
}

fn grid(blocks: usize, c: usize) -> Grid {
    Grid::of(blocks, c.next_multiple_of(32).min(256) as u32)
}

fn check_rows(op: &str, y: usize, c: usize, plan: &Plan, top_k: usize, out: usize) {
    let slots = plan.order.len();
    assert!(
        c > 0 && y == slots * c && out * top_k == y,
        "{op}: y {y}, out {out} values; {slots} slots, C {c}"
    );
}

#[cfg(test)]
mod tests {
    use crate::cuda::testing::{each_device, narrow, near, on, values, widen};
    use crate::moe::{self, Router, Scoring};

    fn routers() -> [Router; 4] {
        let plain = Router {
            experts: 8,
            top_k: 2,
            groups: 1,
            top_groups: 1,
            scoring: Scoring::Softmax,
            normalize: true,
            scale: 1.0,
        };
        let sigmoid = Router { scoring: Scoring::Sigmoid, scale: 2.5, ..plain };
        [
            plain,
            Router { experts: 64, top_k: 8, groups: 8, top_groups: 3, ..sigmoid },
            Router { experts: 40, top_k: 6, groups: 4, top_groups: 2, normalize: false, ..plain },
            Router { experts: 1, top_k: 1, ..sigmoid },
        ]
    }

    /// A diverged policy's tokens go to experts that exist: what is wrong is told by the loss, not by a device that was lost.
    #[test]
    fn scores_that_are_no_numbers_lead_nowhere_else() {
        each_device(|device| {
            for r in routers() {
                let mut logits = values(1, 3 * r.experts, 4.0);
                logits[r.experts..2 * r.experts].fill(f32::NAN);
                logits[2 * r.experts] = f32::NAN;
                let routing = super::route(device, on(device, &logits).all(), None, &r).unwrap();
                let experts = routing.experts.download("test").unwrap();
                assert!(experts.iter().all(|&e| (e as usize) < r.experts), "{r:?}: {experts:?}");
                let mut order =
                    super::plan(device, &routing, r.experts).unwrap().order.download("test").unwrap();
                order.sort_unstable();
                assert!(order.into_iter().eq(0..3 * r.top_k as u32), "{r:?}");
            }
        });
    }

    #[test]
    fn every_step_is_the_cpu_s() {
        each_device(|device| {
            for (r, tokens, c) in routers().into_iter().flat_map(|r| [(r, 1, 3), (r, 37, 70)]) {
                let mut logits = values(1, tokens * r.experts, 4.0);
                // Ties.
                logits.iter_mut().step_by(3).for_each(|x| *x = x.round());
                let bias = values(2, r.experts, 0.3);
                let host = moe::route(&logits, Some(&bias), &r);
                let plan = moe::plan(&host, r.experts);
                let bias = on(device, &bias);
                let routing = super::route(device, on(device, &logits).all(), Some(bias.all()), &r).unwrap();
                assert_eq!(routing.experts.download("test").unwrap(), host.experts, "{r:?}");
                near("weights", &routing.weights.download("test").unwrap(), &host.weights, 1e-6);
                near("scores", &routing.scores.download("test").unwrap(), &host.scores, 1e-6);
                let on_device = super::plan(device, &routing, r.experts).unwrap();
                assert_eq!(on_device.order.download("test").unwrap(), plan.order);
                assert_eq!(on_device.row_of.download("test").unwrap(), moe::rows_of(&plan));
                let tiles = |size: usize| {
                    let mut sum = 0;
                    let counts = plan.offsets.windows(2).map(|w| (w[1] - w[0]).div_ceil(size) as u32);
                    let before: Vec<u32> = counts.map(|n| (sum, sum += n).0).collect();
                    before.into_iter().chain([sum]).collect::<Vec<u32>>()
                };
                let starts = on_device.starts.download("test").unwrap();
                assert_eq!(starts, [tiles(1), tiles(32), tiles(128)].concat());

                let (k, slots) = (r.top_k, plan.order.len());
                let round = |seed, n| widen(&narrow(&values(seed, n, 1.0)));
                let (x, y, dout) = (round(3, tokens * c), round(4, slots * c), values(5, tokens * c, 1.0));
                let (mut rows, mut out, mut dx) = (vec![0.0; slots * c], dout.clone(), dout.clone());
                let (mut dy, mut dweights) = (vec![0.0; slots * c], vec![0.0; slots]);
                moe::gather(&x, c, k, &plan.order, &mut rows);
                moe::combine(&y, c, &host, &plan, k, &mut out);
                moe::combine_backward(&dout, &y, c, &host, &plan, k, &mut dy, &mut dweights);
                moe::scatter_add(&y, c, k, &plan, &mut dx);
                let mut dlogits = vec![0.0; logits.len()];
                moe::route_backward(&dweights, &host, &r, &mut dlogits);
                macro_rules! check {
                    ($to:expr, $from:expr, $tolerance:literal) => {
                        let to = |x: &[f32]| on(device, &$to(x));
                        let (gx, gy, mut grows) = (to(&x), to(&y), to(&rows));
                        let (d, mut gout, mut gdx) =
                            (on(device, &dout), on(device, &dout), on(device, &dout));
                        let (mut gdy, mut gdw) = (to(&dy), on(device, &vec![9f32; slots]));
                        let (p, t) = (&on_device, &routing);
                        super::gather(device, gx.all(), c, k, p, grows.all_mut()).unwrap();
                        assert_eq!($from(&grows.download("test").unwrap()), rows);
                        super::combine(device, gy.all(), c, t, p, k, gout.all_mut()).unwrap();
                        near("out", &gout.download("test").unwrap(), &out, 1e-6);
                        super::scatter_add(device, gy.all(), c, k, p, gdx.all_mut()).unwrap();
                        near("dx", &gdx.download("test").unwrap(), &dx, 1e-6);
                        let (a, b) = (gdy.all_mut(), gdw.all_mut());
                        super::combine_backward(device, d.all(), gy.all(), c, t, p, k, a, b).unwrap();
                        near("dy", &$from(&gdy.download("test").unwrap()), &dy, $tolerance);
                        near("dweights", &gdw.download("test").unwrap(), &dweights, 2e-6);
                        // The slopes of normalized weights may cancel: what is lost is a share of what came in.
                        let (mut gl, dw) = (on(device, &vec![9f32; logits.len()]), on(device, &dweights));
                        super::route_backward(device, dw.all(), t, &r, gl.all_mut()).unwrap();
                        let most = dweights.iter().fold(0f32, |m, d| m.max(d.abs()));
                        for (a, b) in gl.download("test").unwrap().iter().zip(&dlogits) {
                            assert!((a - b).abs() <= 1e-6 * most * r.scale, "dlogits {a} {b} from {most}");
                        }
                    };
                }
                check!(<[f32]>::to_vec, <[f32]>::to_vec, 1e-6);
                check!(narrow, widen, 4e-3);
            }
        });
    }
}
