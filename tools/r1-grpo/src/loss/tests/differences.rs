//! Every derivative against a finite difference of a loss that is written out a second time, with its held parts held.

use super::*;

/// d/d(one log-probability) of the loss with everything that a loss holds held, as a number: what is held (φ, a held ratio, GSPO-token's s)
/// is left out of the finite difference by comparing with the loss whose held parts were computed at the middle.
fn held_difference(o: &Objective, s: &Sequence, t: usize, h: f64) -> f64 {
    let moved = |by: f64| {
        let mut l = s.logprobs.to_vec();
        l[t] += by;
        l
    };
    let value = |now: &[f64]| -> f64 {
        let n = now.len() as f64;
        let gaps = |l: &[f64]| -> Vec<f64> { l.iter().zip(s.old).map(|(a, b)| a - b).collect() };
        let mean = |g: &[f64]| g.iter().sum::<f64>() / n;
        let (moving, fixed) = (gaps(now), gaps(s.logprobs));
        let correction = o.correction.map(|c| c.weights(s.old, s.sampled, o.correction_bounds));
        let stays =
            o.off_policy_threshold.is_none_or(|x| correction::stays(s.advantage, s.logprobs, s.sampled, x));
        let sequence = o.importance == Importance::Sequence;
        let mut total = 0.0;
        for i in 0..now.len() {
            let (free, held) = if sequence { (mean(&moving), mean(&fixed)) } else { (moving[i], fixed[i]) };
            let (a, low, high) = (s.advantage, 1.0 - o.clip_low, 1.0 + o.clip_high);
            let ppo = |lr: f64| {
                (lr.exp().min(o.delta.unwrap_or(f64::INFINITY)) * a).min(lr.exp().clamp(low, high) * a)
            };
            let surrogate = match o.kind {
                Kind::Reinforce => a * now[i],
                Kind::Cispo => held.exp().clamp(low.max(0.0).min(o.cap), o.cap) * a * now[i],
                Kind::Vespo => vespo::phi(a, &fixed, correction.as_deref(), o.vespo) * a * now[i],
                // sg(s) π / sg(π)
                Kind::GspoToken => ppo(mean(&fixed) + now[i] - s.logprobs[i]),
                Kind::Sapo => {
                    let tau = if a > 0.0 { o.sapo[0] } else { o.sapo[1] };
                    a * 4.0 / tau / (1.0 + (-tau * (free.exp() - 1.0)).exp())
                }
                Kind::DualClip if a < 0.0 => ppo(free).max(o.dual_clip * a),
                Kind::KlCov => {
                    let chosen = s.chosen.is_some_and(|c| c[i]);
                    free.exp() * a - if chosen { o.cov_penalty * free.abs() } else { 0.0 }
                }
                Kind::ClipCov if s.chosen.is_some_and(|c| c[i]) => 0.0,
                Kind::Gmpo => {
                    let one = |g: f64| if a > 0.0 { g.min(o.clip_high) } else { g.max(-o.clip_low) };
                    mean(&moving.iter().map(|g| one(*g)).collect::<Vec<_>>()).exp() * a
                }
                Kind::Dppo => {
                    let shift = s.logprobs[i].exp() - s.old[i].exp();
                    let stays = if a > 0.0 { shift <= o.clip_high } else { shift >= -o.clip_low };
                    if stays { held.exp().min(o.cap) * a * now[i] } else { 0.0 }
                }
                Kind::DppoKl => {
                    let (p, q) = (s.logprobs[i].exp(), s.old[i].exp());
                    let kl = q * (s.old[i] - s.logprobs[i])
                        + (1.0 - q) * ((1.0 - q + 1e-8) / (1.0 - p + 1e-8)).ln();
                    let stays =
                        if a > 0.0 { kl <= o.clip_high || p <= q } else { kl <= o.clip_low || p >= q };
                    if stays { held.exp().min(o.cap) * a * now[i] } else { 0.0 }
                }
                _ => ppo(free),
            };
            let weight = correction.as_ref().filter(|_| o.kind != Kind::Vespo).map_or(1.0, |w| w[i]);
            if stays && s.kept.is_none_or(|kept| kept[i]) {
                total -= weight * surrogate;
            }
            if let Some(reference) = s.reference {
                let d = now[i] - reference[i];
                let k3 = (-d).exp() + d - 1.0;
                total += o.kl_beta
                    * match o.kl_kind {
                        kl::Kind::K1 => d,
                        kl::Kind::K2 | kl::Kind::K1Through | kl::Kind::K3Through => 0.5 * d * d,
                        kl::Kind::K3 => k3,
                        kl::Kind::Abs => d.abs(),
                        kl::Kind::Unbiased => free.exp() * k3,
                    };
            }
        }
        total
    };
    (value(&moved(h)) - value(&moved(-h))) / (2.0 * h)
}

#[test]
fn gradients_agree_with_finite_differences_in_every_parameterization() {
    let mut checked = 0;
    let logprobs: [&[f64]; 3] = [&[-0.3, -1.2, -2.5, -0.011, -4.0], &[-0.9], &[-0.35, -3.1, -0.6]];
    let losses = [
        "--loss grpo",
        "--loss grpo --delta 1.4",
        "--loss bnpo",
        "--loss dapo --clip-high 0.28",
        "--loss dapo --importance sequence --clip-low 0.05 --clip-high 0.07",
        "--loss dr_grpo --generation-limit 9",
        "--loss luspo --clip-low 0.1 --clip-high 0.1",
        "--loss gspo --clip-low 0.1 --clip-high 0.15",
        "--loss gspo-token --clip-low 0.1 --clip-high 0.15",
        "--loss dual-clip --dual-clip 1.3",
        "--loss dual-clip --dual-clip 1.3 --importance sequence",
        "--loss cispo --cap 1.2",
        "--loss cispo --cap 1.2 --clip-low 0.1",
        "--loss cispo --cap 1.1 --importance sequence",
        "--loss sapo",
        "--loss sapo --sapo-temperature 1.5,2 --importance sequence",
        "--loss vespo",
        "--loss reinforce",
        "--loss clip-cov",
        "--loss kl-cov --cov-penalty 0.7",
        "--loss gmpo --clip-low 0.1 --clip-high 0.2",
        "--loss dppo --clip-low 0.02 --clip-high 0.05 --cap 1.3",
        "--loss dppo-kl --clip-low 0.003 --clip-high 0.004",
    ];
    let extras = [
        "",
        "--kl-beta 0.3",
        "--kl-beta 0.3 --kl-kind k1",
        "--kl-beta 0.3 --kl-kind k2",
        "--kl-beta 0.3 --kl-kind abs",
        "--kl-beta 0.3 --kl-kind k1+",
        "--kl-beta 0.3 --kl-kind k3+",
        "--kl-beta 0.3 --kl-kind unbiased",
        "--correction tis-token --correction-bounds 0.9,1.1",
        "--correction mis-token --correction-bounds 0.8,1.3",
        "--correction tis-sequence --correction-bounds ,1.1",
        "--correction mis-sequence --correction-bounds 0.5,2",
        "--off-policy-threshold 0.1",
    ];
    for loss in losses {
        for extra in extras {
            let sequence_weight = extra.contains("-sequence") && loss.contains("vespo");
            // GMPO's own ratio is not the one that `unbiased` multiplies in the reference below.
            if sequence_weight || (loss.contains("gmpo") && extra.contains("unbiased")) {
                continue;
            }
            let o = parse(&format!("{loss} {extra}"));
            for now in logprobs {
                for offset in [0.0, 0.11, -0.36, 0.52, -0.06, 1.31] {
                    for advantage in [1.3, -0.7, 0.0] {
                        let n = now.len();
                        let old: Vec<f64> =
                            (0..n).map(|t| now[t] - offset * (1.0 + 0.13 * t as f64)).collect();
                        let sampled: Vec<f64> = (0..n).map(|t| old[t] + 0.1 - 0.07 * t as f64).collect();
                        let reference: Vec<f64> = (0..n).map(|t| now[t] + 0.4 - 0.3 * t as f64).collect();
                        let pattern: Vec<bool> = (0..n).map(|t| t % 2 == 1).collect();
                        let chosen = loss.contains("-cov").then_some(&pattern[..]);
                        let s = Sequence {
                            advantage,
                            logprobs: now,
                            old: &old,
                            sampled: &sampled,
                            reference: (o.kl_beta > 0.0).then_some(&reference),
                            kept: (extra.is_empty() && !loss.contains("gmpo")).then_some(&pattern),
                            chosen,
                        };
                        // On the kink of |log r| there is no derivative.
                        if loss.contains("kl-cov") && offset == 0.0 {
                            continue;
                        }
                        let mut d = vec![0.0; n];
                        o.row(&s, 1.0, &mut d, &mut Sums::default());
                        for t in 0..n {
                            let numeric = held_difference(&o, &s, t, 1e-6);
                            assert!(
                                (numeric - d[t]).abs() < 1e-6 * (1.0 + d[t].abs()),
                                "{loss} {extra} offset {offset} A {advantage} n {n} token {t}: {numeric}, {}",
                                d[t]
                            );
                            checked += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(checked > 40_000, "{checked}");
}
