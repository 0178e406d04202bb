//! Routing by hand and against the reference, the ops around the experts end to end against numeric derivatives.

use super::*;
use crate::lanes::each_level;
use crate::testing::{any_threads, close, dot, same, slope, values, wide};

fn router(experts: usize, top_k: usize, groups: usize, top_groups: usize, scoring: Scoring) -> Router {
    Router { experts, top_k, groups, top_groups, scoring, normalize: true, scale: 2.5 }
}

fn routers() -> Vec<Router> {
    let plain = |r: Router| Router { normalize: false, scale: 1.0, ..r };
    vec![
        router(1, 1, 1, 1, Scoring::Sigmoid),
        router(8, 2, 4, 2, Scoring::Sigmoid),
        router(256, 8, 8, 4, Scoring::Sigmoid),
        router(33, 5, 1, 1, Scoring::Softmax),
        router(128, 8, 1, 1, Scoring::Softmax),
        plain(router(6, 3, 6, 4, Scoring::Sigmoid)),
        plain(router(24, 6, 8, 3, Scoring::Softmax)),
    ]
}

#[test]
fn groups_and_bias_choose_but_do_not_weigh() {
    let r = router(8, 2, 4, 2, Scoring::Sigmoid);
    // Biased scores 0.5+: groups (0.9, 0.5) (0.8, 0.8) (0.6, 0.95) (0.5, 0.5); sums 1.4, 1.6, 1.55, 1.0.
    let bias = [0.4, 0.0, 0.3, 0.3, 0.1, 0.45, 0.0, 0.0];
    let routing = route(&[0.0; 8], Some(&bias), &r);
    // Groups 1 and 2 stay, so expert 0, second best of all, is out; 2 and 3 tie and the lower index wins.
    assert_eq!(routing.experts, [5, 2]);
    same("weights", &routing.weights, &[1.25, 1.25]);
    same("scores", &routing.scores, &[0.5; 8]);
    // All biased scores negative: the closed groups must not come back as zeros.
    let routing = route(&[0.0; 8], Some(&[-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0]), &r);
    assert_eq!(routing.experts, [0, 1]);
    assert_eq!(load(&routing, 8), [1, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn softmax_takes_the_best_and_renormalizes() {
    let r = Router { scale: 1.0, ..router(4, 2, 1, 1, Scoring::Softmax) };
    let routing = route(&[0.0, 3f32.ln(), 0.0, 2f32.ln()], None, &r);
    assert_eq!(routing.experts, [1, 3]);
    close("scores", &routing.scores, &[1.0 / 7.0, 3.0 / 7.0, 1.0 / 7.0, 2.0 / 7.0], 1e-6);
    close("weights", &routing.weights, &[0.6, 0.4], 1e-6);
}

#[test]
fn no_number_breaks_the_selection() {
    let r = router(8, 3, 4, 2, Scoring::Sigmoid);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut experts = route(&[bad; 8], None, &r).experts;
        experts.sort_unstable();
        experts.dedup();
        assert_eq!(experts.len(), 3, "{bad}");
    }
}

#[test]
fn routing_is_the_references() {
    for r in routers() {
        let tokens = 37;
        let logits = values(1, tokens * r.experts, 4.0);
        let bias = values(2, r.experts, 0.3);
        for bias in [None, Some(&bias[..])] {
            let routing = route(&logits, bias, &r);
            for t in 0..tokens {
                let row = wide(&logits[t * r.experts..][..r.experts]);
                let scores = reference::scores(&row, r.scoring);
                let mine = &routing.scores[t * r.experts..][..r.experts];
                close("scores", mine, &scores, 1e-6);
                let experts = reference::select(mine, bias, &r);
                assert_eq!(routing.experts[t * r.top_k..][..r.top_k], experts, "token {t} of {r:?}");
                let weights = reference::weights(&scores, &experts, &r);
                close("weights", &routing.weights[t * r.top_k..][..r.top_k], &weights, 1e-6);
            }
        }
    }
}

#[test]
fn route_backward_is_the_slope() {
    for r in routers().into_iter().filter(|r| r.experts < 64) {
        let tokens = 3;
        let logits = values(1, tokens * r.experts, 3.0);
        let dweights = values(2, tokens * r.top_k, 1.0);
        let routing = route(&logits, None, &r);
        let mut dlogits = vec![9.0; logits.len()];
        route_backward(&dweights, &routing, &r, &mut dlogits);
        let loss = |logits: &[f64]| {
            (0..tokens)
                .map(|t| {
                    let scores = reference::scores(&logits[t * r.experts..][..r.experts], r.scoring);
                    let slots = t * r.top_k..(t + 1) * r.top_k;
                    let weights = reference::weights(&scores, &routing.experts[slots.clone()], &r);
                    dot(&weights, &wide(&dweights[slots]))
                })
                .sum()
        };
        let expected = slope(&wide(&logits), loss);
        // One expert of one has the weight 1 whatever its logit: nothing to be relative to.
        if r.experts > 1 {
            close("dlogits", &dlogits, &expected, 2e-5);
        } else {
            assert!(dlogits.iter().all(|d| d.abs() < 1e-6), "{dlogits:?}");
        }
    }
}

#[test]
fn experts_rows_go_out_and_come_back() {
    // Expert e multiplies by e + 1; everything around it is linear in x and in the weights.
    let (r, tokens, c) = (router(8, 3, 4, 2, Scoring::Sigmoid), 9, 21);
    let logits = values(1, tokens * r.experts, 3.0);
    let routing = route(&logits, None, &r);
    let plan = plan(&routing, r.experts);
    assert_eq!(plan.offsets[r.experts], tokens * r.top_k);
    for e in 0..r.experts {
        let rows = &plan.order[plan.offsets[e]..plan.offsets[e + 1]];
        assert!(rows.iter().all(|&slot| routing.experts[slot as usize] as usize == e));
        assert!(rows.is_sorted());
        assert_eq!(rows.len() as u32, load(&routing, r.experts)[e]);
    }
    let factors = |y: &mut [f32]| {
        for e in 0..r.experts {
            y[plan.offsets[e] * c..plan.offsets[e + 1] * c].iter_mut().for_each(|y| *y *= (e + 1) as f32);
        }
    };
    let (x, dout) = (values(2, tokens * c, 1.0), values(3, tokens * c, 1.0));
    let mut y = vec![0.0; tokens * r.top_k * c];
    gather(&x, c, r.top_k, &plan.order, &mut y);
    factors(&mut y);
    let shared = values(4, tokens * c, 1.0);
    let mut out = shared.clone();
    combine(&y, c, &routing, &plan, r.top_k, &mut out);
    let forward = |x: &[f64], weights: &[f64]| -> Vec<f64> {
        let mut out = wide(&shared);
        for slot in 0..tokens * r.top_k {
            let t = slot / r.top_k;
            for j in 0..c {
                out[t * c + j] += weights[slot] * f64::from(routing.experts[slot] + 1) * x[t * c + j];
            }
        }
        out
    };
    let (wx, ww, wdout) = (wide(&x), wide(&routing.weights), wide(&dout));
    close("out", &out, &forward(&wx, &ww), 1e-6);

    let (mut dy, mut dweights) = (vec![9.0; y.len()], vec![9.0; tokens * r.top_k]);
    combine_backward(&dout, &y, c, &routing, &plan, r.top_k, &mut dy, &mut dweights);
    factors(&mut dy);
    let mut dx = vec![0.0; tokens * c];
    scatter_add(&dy, c, r.top_k, &plan, &mut dx);
    close("dx", &dx, &slope(&wx, |x| dot(&forward(x, &ww), &wdout)), 1e-5);
    close("dweights", &dweights, &slope(&ww, |w| dot(&forward(&wx, w), &wdout)), 1e-5);
}

#[test]
fn bits_depend_on_nothing_but_the_token() {
    let (r, tokens, c) = (router(24, 4, 4, 2, Scoring::Sigmoid), 70, 517);
    let (logits, x, dout) =
        (values(1, tokens * r.experts, 3.0), values(2, tokens * c, 1.0), values(3, tokens * c, 1.0));
    let run = |cuts: &[usize]| {
        let mut all = [vec![], vec![], vec![], vec![]];
        for cut in cuts.windows(2) {
            let (tokens, at) = (cut[1] - cut[0], cut[0] * c..cut[1] * c);
            let routing = route(&logits[cut[0] * r.experts..cut[1] * r.experts], None, &r);
            let plan = plan(&routing, r.experts);
            let mut y = vec![0.0; tokens * r.top_k * c];
            gather(&x[at.clone()], c, r.top_k, &plan.order, &mut y);
            let mut out = x[at.clone()].to_vec();
            combine(&y, c, &routing, &plan, r.top_k, &mut out);
            let (mut dy, mut dweights) = (vec![0.0; y.len()], vec![0.0; tokens * r.top_k]);
            combine_backward(&dout[at], &y, c, &routing, &plan, r.top_k, &mut dy, &mut dweights);
            let (mut dx, mut dlogits) = (vec![0.0; tokens * c], vec![0.0; tokens * r.experts]);
            scatter_add(&dy, c, r.top_k, &plan, &mut dx);
            route_backward(&dweights, &routing, &r, &mut dlogits);
            for (all, part) in all.iter_mut().zip([routing.weights, out, dx, dlogits]) {
                all.extend(part);
            }
        }
        all.concat()
    };
    let whole = any_threads("moe", || run(&[0, tokens]));
    same("cut", &whole, &run(&[0, 1, 33, tokens]));
    each_level(|level| same(level.name(), &whole, &run(&[0, tokens])));
}
