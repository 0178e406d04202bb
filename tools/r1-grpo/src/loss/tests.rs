mod differences;

use std::collections::{BTreeSet, HashMap};

use super::options::{Flags, Kind, Objective};
use super::*;
use clap::{Parser, ValueEnum};
use serde::Deserialize;
use serde_json::Value;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

/// The objective of a command line; with old log-probabilities recomputed, so that a correction may be asked for.
fn objective(arguments: &[String]) -> anyhow::Result<Objective> {
    let line = Line::try_parse_from(std::iter::once("test".to_string()).chain(arguments.iter().cloned()))?;
    line.flags.settle(true)
}

fn parse(arguments: &str) -> Objective {
    objective(&arguments.split_whitespace().map(String::from).collect::<Vec<_>>()).unwrap()
}

#[derive(Deserialize)]
struct Batches {
    ragged: Vec<Row>,
    truncated: Vec<Row>,
}

#[derive(Clone, Deserialize)]
struct Row {
    advantage: f64,
    logprobs: Vec<f64>,
    old_logprobs: Vec<f64>,
    reference_logprobs: Vec<f64>,
    sampled_logprobs: Vec<f64>,
    entropy: Vec<f32>,
    mask: Vec<u8>,
}

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    batch: String,
    options: Value,
    loss: f64,
    #[serde(default)]
    metrics: HashMap<String, f64>,
    dlogprobs: Vec<Vec<f64>>,
    #[serde(default)]
    dentropy: Vec<Vec<f64>>,
}

fn batches() -> Batches {
    serde_json::from_str(include_str!("../../../../tests/golden/losses/batches.json")).unwrap()
}

/// The flags that say what a golden case's options say; `None` where the case is of something else.
fn flags(options: &Value) -> Option<Vec<String>> {
    let mut flags = Vec::new();
    let mut add = |name: &str, value: String| flags.push(format!("--{name}={value}"));
    let text = |key: &str| options[key].as_str().map(String::from);
    let loss = match (text("loss")?.as_str(), text("level").as_deref()) {
        ("grpo", Some("sequence")) => "gspo".to_string(),
        (loss, _) => loss.to_string(),
    };
    // A weight out of a table, or the tokens of a larger batch: not what this tool computes.
    if options["importance"].is_string() || options["normalizer"].is_number() {
        return None;
    }
    let kind = Kind::from_str(&loss, false).unwrap();
    let (clips, is) =
        (!matches!(kind, Kind::Sapo | Kind::Vespo | Kind::Reinforce | Kind::KlCov), |k| kind == k);
    let trl_cispo = is(Kind::Cispo) && options["aggregate"].is_null();
    for (key, flag, looks) in [
        ("loss", "", false),
        ("clip_low", "clip-low", clips && !trl_cispo),
        ("clip_high", "clip-high", clips && !is(Kind::Cispo)),
        ("delta", "delta", true),
        ("cap", "cap", true),
        ("dual_clip", "dual-clip", true),
        ("generation_limit", "generation-limit", true),
        ("kl_beta", "kl-beta", true),
        ("off_policy_threshold", "off-policy-threshold", true),
        ("top_entropy", "top-entropy", true),
        ("entropy_coefficient", "entropy-weight", true),
        ("share", "cov-share", true),
        ("kl", "cov-penalty", true),
    ] {
        if let Some(value) = options[key].as_f64().filter(|_| looks) {
            add(flag, value.to_string());
        }
    }
    if let (Some(low), Some(high)) = (options["low"].as_f64(), options["high"].as_f64()) {
        add("cov-band", format!("{low},{high}"));
    }
    if let Some(level) = text("level")
        && !matches!(kind, Kind::Gspo | Kind::Gmpo | Kind::Vespo)
    {
        add("importance", level);
    }
    if let Some(correction) = text("correction") {
        let low = options["correction_min"].as_f64().map_or(String::new(), |x| x.to_string());
        add("correction-bounds", format!("{low},{}", options["correction_max"]));
        add("correction", correction);
    }
    if options["kl_times_ratio"] == true {
        add("kl-kind", "unbiased".into());
    }
    if is(Kind::Sapo) {
        let tau = |side: &str| options[format!("sapo_temperature_{side}")].to_string();
        add("sapo-temperature", format!("{},{}", tau("positive"), tau("negative")));
    }
    if let Some(aggregate) = text("aggregate") {
        let ours = match aggregate.as_str() {
            "seq-mean-token-mean" => "sequence-mean",
            "seq-mean-token-sum" => "sequence-sum",
            "seq-mean-token-sum-norm" => "constant",
            same => same,
        };
        add("aggregate", ours.into());
    }
    add("loss", loss);
    Some(flags)
}

/// Loss, d(loss)/d(logprob) and sums of a whole batch of rows; `None` masks a row.
fn whole(
    o: &Objective,
    rows: &[Row],
    now: &[Vec<f64>],
    old: &[Vec<f64>],
    opsm_by_old: bool,
) -> (f64, Vec<Vec<f64>>, Sums) {
    let live: Vec<bool> = rows.iter().map(|row| row.mask.iter().all(|m| *m == 1)).collect();
    let lengths: Vec<usize> =
        now.iter().zip(&live).map(|(l, live)| if *live { l.len() } else { 0 }).collect();
    let weights = aggregate::weights(o.aggregate, &lengths, &vec![0; rows.len()], o.generation_limit);
    let entropies: Vec<&[f32]> =
        rows.iter().zip(&live).map(|(row, live)| if *live { &row.entropy[..] } else { &[] }).collect();
    let kept = o.top_entropy.map(|share| entropy::highest(&entropies, share));
    let seen: Vec<covariance::Row> = (0..rows.len())
        .map(|i| covariance::Row {
            advantage: rows[i].advantage,
            logprobs: if live[i] { &now[i] } else { &[] },
            old: if live[i] { &old[i] } else { &[] },
        })
        .collect();
    let chosen = match o.kind {
        Kind::ClipCov => {
            let bounds = [1.0 - o.clip_low, 1.0 + o.clip_high];
            Some(covariance::left_out(&seen, o.cov_share, o.cov_band, bounds, 7, 3))
        }
        Kind::KlCov => Some(covariance::held_back(&seen, o.cov_share)),
        _ => None,
    };
    let mut sums = Sums::default();
    let mut gradients = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        let mut d = vec![0.0; now[i].len()];
        if live[i] {
            let sequence = Sequence {
                advantage: row.advantage,
                logprobs: &now[i],
                old: &old[i],
                sampled: if opsm_by_old { &old[i] } else { &row.sampled_logprobs },
                reference: (o.kl_beta > 0.0).then_some(&row.reference_logprobs[..]),
                kept: kept.as_ref().map(|kept| &kept[i][..]),
                chosen: chosen.as_ref().map(|chosen| &chosen[i][..]),
            };
            o.row(&sequence, weights[i], &mut d, &mut sums);
        }
        gradients.push(d);
    }
    (sums.loss, gradients, sums)
}

/// Compares every case that is ours, and gives back the names of those.
fn compare(text: &str) -> BTreeSet<String> {
    let cases: Cases = serde_json::from_str(text).unwrap();
    let batches = batches();
    let mut checked = BTreeSet::new();
    for case in &cases.cases {
        let Some(arguments) = flags(&case.options) else { continue };
        let o = objective(&arguments).unwrap_or_else(|e| panic!("{}: {arguments:?}: {e}", case.name));
        let rows = if case.batch == "ragged" { &batches.ragged } else { &batches.truncated };
        let now: Vec<Vec<f64>> = rows.iter().map(|row| row.logprobs.clone()).collect();
        let old: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| if case.options["old"] == false { &row.logprobs } else { &row.old_logprobs }.clone())
            .collect();
        let by_sampler = case.options["sampled"] == true || o.correction.is_some();
        let (mut loss, gradients, sums) = whole(&o, rows, &now, &old, !by_sampler);
        let mut worst = 0.0f64;
        for (own, expected) in gradients.iter().flatten().zip(case.dlogprobs.iter().flatten()) {
            worst = worst.max((own - expected).abs());
            // verl divides by |o| + 1e-8.
            let tolerance = if case.name.starts_with("verl") { 2e-8 } else { 1e-10 };
            let close = (own - expected).abs() < tolerance * (1.0 + expected.abs());
            assert!(close, "{}: d/dlogprob {own}, expected {expected}", case.name);
        }
        if let Some(entropy::Bonus::Fixed(weight)) = o.bonus {
            let live: Vec<&[f32]> = rows
                .iter()
                .map(|row| if row.mask.iter().all(|m| *m == 1) { &row.entropy[..] } else { &[] })
                .collect();
            let kept = entropy::highest(&live, o.top_entropy.unwrap_or(1.0));
            let acting: Vec<f64> = live
                .iter()
                .zip(&kept)
                .flat_map(|(own, kept)| own.iter().zip(kept).filter(|(_, k)| **k).map(|(h, _)| f64::from(*h)))
                .collect();
            loss -= weight * acting.iter().sum::<f64>() / acting.len() as f64;
            let slope = -weight / acting.len() as f64;
            for (own, expected) in kept.iter().zip(&case.dentropy) {
                for (t, expected) in expected.iter().enumerate() {
                    let own = if own.get(t) == Some(&true) { slope } else { 0.0 };
                    assert!((own - expected).abs() < 1e-12, "{}: d/dentropy {own}, {expected}", case.name);
                }
            }
        }
        // Entropies are f32 here and f64 there.
        let tolerance = if case.name.starts_with("verl") { 1e-8 } else { 1e-9 };
        assert!((loss - case.loss).abs() < tolerance, "{}: {loss}, expected {}", case.name, case.loss);
        let ratios = sums.ratios as f64;
        for (key, value) in [
            ("kl", sums.kl / sums.tokens as f64),
            ("clip_fraction_low", sums.clipped_low as f64 / ratios),
            ("clip_fraction_high", sums.clipped_high as f64 / ratios),
            ("clip_fraction", (sums.clipped_low + sums.clipped_high) as f64 / ratios),
        ] {
            // TRL counts δ before the clip, and with GMPO every clipped token, whatever the side.
            let Some(expected) = case.metrics.get(key).filter(|_| o.delta.is_none() && o.kind != Kind::Gmpo)
            else {
                continue;
            };
            // In a sequence's mean of per-sequence values TRL counts masked rows.
            let whole = !case.name.contains("truncated") || o.importance == Importance::Token;
            assert!(!whole || (value - expected).abs() < 1e-9, "{}: {key} {value}, {expected}", case.name);
        }
        // scripts/golden/parity.py makes its table of these lines.
        let off = (loss - case.loss).abs();
        println!("parity\t{}\t{}\t{:.9}\t{off:.1e}\t{worst:.1e}", case.name, arguments.join(" "), case.loss);
        checked.insert(case.name.clone());
    }
    checked
}

#[test]
fn losses_and_gradients_are_those_of_trl() {
    let checked = compare(include_str!("../../../../tests/golden/losses/cases.json"));
    // All but the three that weigh by a table or are a part of a larger batch.
    assert_eq!(checked.len(), 46, "{checked:?}");
    for name in ["grpo-r1", "gspo-delta", "vespo-mis-token", "gmpo-kl", "luspo", "dapo-top-entropy", "bnpo"] {
        assert!(checked.contains(name), "{name} is not among {checked:?}");
    }
}

#[test]
fn losses_and_gradients_are_those_of_verl() {
    let checked = compare(include_str!("../../../../tests/golden/losses/verl.json"));
    assert_eq!(checked.len(), 14, "{checked:?}");
}

#[test]
fn divergences_are_those_of_the_goldens() {
    let text = include_str!("../../../../tests/golden/losses/kl.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let list =
        |v: &Value| -> Vec<f64> { v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
    let (now, reference) = (list(&golden["logprobs"]), list(&golden["reference_logprobs"]));
    for name in ["k1", "k2", "k3", "abs", "k1+", "k3+"] {
        let kind = kl::Kind::from_str(name, false).unwrap();
        let (values, slopes) = (list(&golden[name]["value"]), list(&golden[name]["dlogprobs"]));
        for t in 0..now.len() {
            let (value, slope) = kind.of(now[t], reference[t]);
            assert!((value - values[t]).abs() < 1e-12 && (slope - slopes[t]).abs() < 1e-12, "{name} {t}");
        }
    }
}

#[test]
fn odd_shapes() {
    for kind in Kind::value_variants() {
        let name = kind.to_possible_value().unwrap().get_name().to_string();
        let limit = if name == "dr_grpo" { "--generation-limit 4" } else { "" };
        let o = parse(&format!("--loss {name} {limit} --kl-beta 0.1"));
        // No token.
        let mut sums = Sums::default();
        let nothing = Sequence {
            advantage: 1.0,
            logprobs: &[],
            old: &[],
            sampled: &[],
            reference: Some(&[]),
            kept: None,
            chosen: None,
        };
        o.row(&nothing, 1.0, &mut [], &mut sums);
        assert_eq!((sums.loss, sums.rows, sums.tokens), (0.0, 1, 0), "{name}");
        // One token, on-policy, at the reference: the surrogate's slope is A.
        let one = [-0.7];
        let s = Sequence {
            advantage: 0.8,
            logprobs: &one,
            old: &one,
            sampled: &one,
            reference: Some(&one),
            kept: None,
            chosen: None,
        };
        let mut d = [0.0];
        o.row(&s, 0.5, &mut d, &mut sums);
        assert!((d[0] + 0.4).abs() < 1e-12, "{name}: {d:?}");
        assert_eq!(sums.ratio_range, [1.0, 1.0]);
        // Every token left out: only the divergence counts, and there is none.
        let left = Sequence { kept: Some(&[false]), ..s };
        if *kind != Kind::Gmpo {
            let mut d = [0.0];
            let mut sums = Sums::default();
            o.row(&left, 0.5, &mut d, &mut sums);
            assert_eq!((d[0], sums.loss, sums.low_entropy), (0.0, 0.0, 1), "{name}");
        }
    }
}

#[test]
fn on_policy_the_loss_is_minus_the_mean_advantage() {
    let now = [-0.7, -1.9, -0.02];
    let mut sums = Sums::default();
    for advantage in [0.8, -0.8] {
        let mut d = [0.0; 3];
        let s = Sequence {
            advantage,
            logprobs: &now,
            old: &now,
            sampled: &now,
            reference: None,
            kept: None,
            chosen: None,
        };
        parse("").row(&s, 1.0 / 6.0, &mut d, &mut sums);
        assert!(d.iter().all(|d| (d + advantage / 6.0).abs() < 1e-15));
    }
    assert!(sums.loss.abs() < 1e-15);
    assert_eq!((sums.ratio, sums.ratio_range, sums.clipped_low + sums.clipped_high), (6.0, [1.0; 2], 0));
}

#[test]
fn extreme_log_probabilities_stay_finite() {
    // A reference that is sure of what the policy would never say: a finite pull back, also as f32.
    for (now, reference) in [(-120.0, -0.001), (-0.001, -120.0), (-1000.0, -0.001)] {
        let (value, slope) = kl::Kind::K3.of(now, reference);
        assert!(
            value.is_finite() && value > 0.0 && (slope as f32).is_finite() && slope != 0.0,
            "{value} {slope}"
        );
    }
    // k3 near 0 keeps its digits: e^ρ − ρ − 1 = ρ²/2 + …
    let close = kl::Kind::K3.of(-1.0, -1.0 + 1e-5).0;
    assert!((close / 5e-11 - 1.0).abs() < 1e-4, "{close}");
    // The line goes on where the exponential ends, with the same value and slope.
    let (at, slope) = kl::Kind::K3.of(-20.0, 0.0);
    let (after, same) = kl::Kind::K3.of(-21.0, 0.0);
    assert!(slope == same && (after - at + slope).abs() < 1e-6 * at);
    for name in ["dapo", "gspo", "sapo", "cispo", "vespo", "gmpo", "dual-clip"] {
        let (now, old) = ([-0.01, -200.0], [-300.0, -0.01]);
        for advantage in [1.0, -1.0] {
            let s = Sequence {
                advantage,
                logprobs: &now,
                old: &old,
                sampled: &old,
                reference: None,
                kept: None,
                chosen: None,
            };
            let mut d = [0.0; 2];
            parse(&format!("--loss {name}")).row(&s, 0.5, &mut d, &mut Sums::default());
            assert!(d.iter().all(|d| d.is_finite()), "{name} {d:?}");
        }
    }
}

#[test]
fn the_draw_of_clip_cov_depends_on_seed_and_step_alone() {
    let (now, old) = (vec![-0.1, -5.0, -0.2, -4.0, -0.3, -6.0], vec![-0.1, -5.0, -0.2, -4.0, -0.3, -6.0]);
    let row = |advantage| covariance::Row { advantage, logprobs: &now, old: &old };
    let rows = [row(2.0), row(-2.0)];
    let draw = |seed, step| covariance::left_out(&rows, 0.2, [0.5, 50.0], [0.8, 1.2], seed, step);
    let count = |lists: &[Vec<bool>]| lists.concat().iter().filter(|x| **x).count();
    assert_eq!((count(&draw(1, 1)), draw(1, 1)), (2, draw(1, 1)));
    assert!(
        (2..20).any(|step| draw(1, step) != draw(1, 1)) && (2..20).any(|seed| draw(seed, 1) != draw(1, 1))
    );
    assert_eq!(count(&covariance::held_back(&rows, 2e-4)), 1);
    assert_eq!(count(&covariance::left_out(&rows, 0.2, [900.0, 901.0], [0.8, 1.2], 1, 1)), 0);
}

#[test]
fn flags_without_effect_and_contradictions_are_refused() {
    for (arguments, words) in [
        ("--loss sapo --clip-low 0.1", "--clip-low has no effect with --loss sapo"),
        ("--loss cispo --clip-high 0.1", "--clip-high has no effect"),
        ("--loss reinforce --importance sequence", "--importance has no effect"),
        ("--loss cispo --delta 2", "--delta has no effect"),
        ("--cap 2", "--cap has no effect with --loss dapo"),
        ("--dual-clip 2", "--dual-clip has no effect"),
        ("--sapo-temperature 1,1", "--sapo-temperature has no effect"),
        ("--vespo-negative 1,1", "--vespo-negative has no effect"),
        ("--loss kl-cov --cov-band 1,2", "--cov-band has no effect"),
        ("--loss clip-cov --cov-penalty 1", "--cov-penalty has no effect"),
        ("--loss dr_grpo", "needs --generation-limit"),
        ("--generation-limit 4", "--generation-limit has no effect"),
        ("--kl-kind k1", "--kl-kind has no effect"),
        ("--correction-bounds 0,2", "--correction-bounds has no effect"),
        ("--loss vespo --correction tis-sequence", "token by token"),
        ("--loss gmpo --top-entropy 0.2", "cannot leave tokens out"),
        ("--top-entropy 0", "above 0"),
        ("--dual-clip 1", "above 1"),
        ("--entropy-step 0.1", "--entropy-target"),
        ("--correction-bounds 3,2 --correction tis-token", "lower bound"),
    ] {
        let arguments: Vec<String> = arguments.split(' ').map(String::from).collect();
        let error = objective(&arguments).unwrap_err().to_string();
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    let line = Line::parse_from(["test", "--correction", "tis-token"]);
    assert!(line.flags.settle(false).unwrap_err().to_string().contains("--old recompute"));
}

#[test]
fn a_ratio_beyond_f64_leaves_finite_numbers() {
    // Clipped away with a positive advantage, worth nothing with none: no reason to lose the update, or its metrics.
    for loss in
        ["grpo", "dapo", "gspo", "gspo-token", "luspo", "cispo", "sapo", "gmpo", "dppo", "dual-clip", "vespo"]
    {
        let o = objective(&[format!("--loss={loss}")]).unwrap();
        for advantage in [1.0, 0.0] {
            let (now, old) = ([-0.5, -0.25], [-2000.0, -1900.0]);
            let s = Sequence {
                advantage,
                logprobs: &now,
                old: &old,
                sampled: &old,
                reference: None,
                kept: None,
                chosen: None,
            };
            let (mut d, mut sums) = (vec![0.0; 2], Sums::default());
            o.row(&s, 0.5, &mut d, &mut sums);
            assert!(d.iter().all(|d| d.is_finite()), "{loss}: {d:?}");
            let numbers = [sums.loss, sums.ratio, sums.ratio_range[0], sums.ratio_range[1], sums.phi];
            assert!(numbers.iter().all(|x| x.is_finite()), "{loss}: {numbers:?}");
            // GMPO clips a ratio before it counts.
            assert!(loss == "gmpo" || sums.ratio > 1e200, "{loss}");
        }
    }
}
