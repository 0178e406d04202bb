use super::*;
use crate::convention::{Flags, Preset};
use clap::{Parser, ValueEnum};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

fn convention(arguments: &[&str]) -> Convention {
    let line = Line::parse_from(["test"].iter().chain(arguments));
    Convention::settle(&line.flags).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let line = Line::parse_from(["test"].iter().chain(arguments));
    Convention::settle(&line.flags).unwrap_err().to_string()
}

fn rows(rewards: &[Option<f64>], tokens: &[usize]) -> Vec<Judged> {
    let row = |(i, total): (usize, &Option<f64>)| Judged {
        total: *total,
        parts: Vec::new(),
        tokens: tokens.get(i).copied().unwrap_or(1),
    };
    rewards.iter().enumerate().map(row).collect()
}

/// Advantages of several groups under one convention.
fn advantages(convention: &Convention, groups: &[Vec<Judged>]) -> Vec<f64> {
    let mut all: Vec<Option<f64>> = groups.iter().flat_map(|group| convention.group(group)).collect();
    convention.batch(&groups.concat(), &mut all);
    all.into_iter().map(|a| a.unwrap_or(0.0)).collect()
}

fn estimate(arguments: &[&str], rewards: &[f64]) -> Vec<f64> {
    let rewards: Vec<Option<f64>> = rewards.iter().copied().map(Some).collect();
    advantages(&convention(arguments), &[rows(&rewards, &[])])
}

/// Arguments of a preset; gdpo must be told its parts.
fn of(preset: Preset) -> Vec<String> {
    let name = preset.to_possible_value().unwrap().get_name().to_string();
    let mut arguments = vec!["--preset".to_string(), name.clone()];
    if name == "gdpo" {
        arguments.extend(["--part".to_string(), "a=1".to_string()]);
    }
    arguments
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() < 1e-9, "{found:?} is not {expected:?}");
    }
}

/// The four completions of the walkthrough. Sum of squares about 0.575: 2·0.475² + 0.525² + 0.425² = 0.9075.
const WALKTHROUGH: [f64; 4] = [0.1, 1.1, 1.0, 0.1];

#[test]
fn the_walkthrough_under_every_preset() {
    let deviations = [-0.475, 0.525, 0.425, -0.475];
    let over = |divisor: f64| deviations.map(|d| d / divisor);
    let preset = |name: &str| estimate(&["--preset", name], &WALKTHROUGH);
    close(&preset("r1"), &over((0.9075f64 / 4.0).sqrt()));
    close(&preset("trl"), &over((0.9075f64 / 3.0).sqrt() + 1e-4));
    close(&preset("verl"), &over((0.9075f64 / 3.0).sqrt() + 1e-6));
    close(&preset("openrlhf"), &over((0.9075f64 / 3.0).sqrt() + 1e-9));
    close(&preset("dr-grpo"), &deviations);
    // Means of the others by hand: 2.2/3, 1.2/3, 1.3/3, 2.2/3.
    close(&preset("rloo"), &[0.1 - 2.2 / 3.0, 1.1 - 0.4, 1.0 - 1.3 / 3.0, 0.1 - 2.2 / 3.0]);
    close(&preset("maxrl"), &over(0.575));
    close(&preset("passk"), &[0.0, 0.1 / ((0.9075f64 / 3.0).sqrt() + 1e-6), 0.0, 0.0]);
    // One group of one token each: whitening is the sample's standard deviation.
    close(&preset("reinforce++"), &over((0.9075f64 / 3.0 + 1e-8).sqrt()));
}

#[derive(serde::Deserialize)]
struct Case {
    rule: String,
    scale: Option<String>,
    #[serde(default)]
    rewards: Vec<Vec<Option<f64>>>,
    #[serde(default)]
    parts: Vec<Vec<Vec<Option<f64>>>>,
    #[serde(default)]
    weights: Vec<f64>,
    #[serde(default)]
    lengths: Vec<Vec<usize>>,
    advantages: Vec<Vec<f64>>,
}

#[test]
fn advantages_are_those_of_the_goldens() {
    let text = include_str!("../../../../tests/golden/advantages/advantages.json");
    let golden: serde_json::Value = serde_json::from_str(text).unwrap();
    let cases: Vec<Case> = serde_json::from_value(golden["cases"].clone()).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for case in &cases {
        let preset = format!("--preset {}", case.rule);
        let arguments: Vec<&str> = match (case.rule.as_str(), case.scale.as_deref()) {
            ("trl", Some("none")) => "--preset dr-grpo",
            ("trl", Some("batch")) => "--preset trl --scale batch",
            ("verl-grpo", Some("none")) => "--preset verl --std none",
            ("verl-grpo", _) => "--preset verl",
            // verl keeps the reward of a group of one here too; its vectorized form and ours give 0.
            ("rloo", _) => "--preset rloo --single reward",
            ("population", _) => "--preset r1 --eps 1e-4",
            ("gdpo", _) => "--preset gdpo --part p0=1 --part p1=0.5",
            _ => &preset,
        }
        .split(' ')
        .collect();
        if case.rule == "gdpo" {
            assert_eq!(case.weights, [1.0, 0.5]);
        }
        let groups: Vec<Vec<Judged>> = if case.parts.is_empty() {
            let lengths = |g: usize| case.lengths.get(g).map_or(&[][..], Vec::as_slice);
            case.rewards.iter().enumerate().map(|(g, group)| rows(group, lengths(g))).collect()
        } else {
            let row = |parts: &Vec<Option<f64>>| Judged { total: None, parts: parts.clone(), tokens: 1 };
            case.parts.iter().map(|group| group.iter().map(row).collect()).collect()
        };
        let found = advantages(&convention(&arguments), &groups);
        for (f, e) in found.iter().zip(case.advantages.concat()) {
            assert!(
                (f - e).abs() < 1e-6 * (1.0 + e.abs()),
                "{arguments:?}: {found:?}, {:?}",
                case.advantages
            );
        }
        assert_eq!(found.len(), case.advantages.concat().len());
        // scripts/golden/parity.py makes its table of these lines.
        let off = found.iter().zip(case.advantages.concat()).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max);
        println!("parity\t{}\t{}\t{}\t{off:.1e}", case.rule, arguments.join(" "), found.len());
        seen.insert(case.rule.clone());
    }
    let rules = [
        "gdpo",
        "maxrl",
        "opo",
        "passk",
        "population",
        "reinforce++",
        "reinforce++-baseline",
        "rloo",
        "trl",
        "verl-grpo",
    ];
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), rules);
}

#[test]
fn equal_rewards_give_exactly_zero() {
    for preset in Preset::value_variants() {
        let arguments = of(*preset);
        let convention = convention(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        for rewards in
            [&[0.1, 0.1, 0.1][..], &[1.1, 0.1 + 1.0], &[0.3, 0.1 + 0.2, 0.3], &[0.0, 0.0], &[2.5; 7]]
        {
            let group: Vec<Judged> = rewards
                .iter()
                .map(|r| Judged { total: Some(*r), parts: vec![Some(*r); convention.parts.len()], tokens: 3 })
                .collect();
            assert!(advantages(&convention, &[group]).iter().all(|a| *a == 0.0), "{preset:?} {rewards:?}");
        }
    }
    let nearly: f64 = [0.1, 0.2].iter().sum();
    assert_ne!(nearly, 0.3, "the case above is one where rounding matters");
    assert!(differ(&[0.0, 1e-12]), "small rewards differ as well as great ones");
}

#[test]
fn a_group_of_one() {
    for (preset, expected) in
        [("r1", 0.0), ("trl", 0.0), ("verl", 0.7 / (1.0 + 1e-6)), ("opo", 0.7), ("rloo", 0.0), ("passk", 0.0)]
    {
        close(&estimate(&["--preset", preset], &[0.7]), &[expected]);
    }
    close(&estimate(&["--single", "reward"], &[0.7]), &[0.7]);
    close(&estimate(&["--preset", "verl", "--single", "zero"], &[0.7]), &[0.0]);
}

#[test]
fn absent_rewards_are_in_no_statistic() {
    let of = |rewards: &[Option<f64>]| convention(&[]).group(&rows(rewards, &[]));
    assert_eq!(of(&[Some(1.0), None, Some(0.0)]), [Some(1.0), None, Some(-1.0)]);
    assert_eq!(of(&[None, None]), [None, None]);
    assert_eq!(of(&[None, Some(3.0)]), [None, Some(0.0)]);
    let second = convention(&["--baseline", "second", "--std", "none"]);
    assert_eq!(
        second.group(&rows(&[None, Some(1.0), Some(4.0), None, Some(3.0)], &[])),
        [None, Some(0.0), Some(1.0), None, Some(0.0)]
    );
    let weighted = convention(&["--preset", "opo"]);
    assert_eq!(
        weighted.group(&rows(&[Some(1.0), None, Some(0.0)], &[1, 50, 3])),
        [Some(0.75), None, Some(-0.25)]
    );
    // Without a single token there is nothing to weigh by: the plain mean.
    assert_eq!(weighted.group(&rows(&[Some(1.0), Some(0.0)], &[0, 0])), [Some(0.5), Some(-0.5)]);
}

#[test]
fn the_batch_divides_what_the_group_has_left() {
    let groups = [rows(&[Some(0.0), Some(2.0)], &[]), rows(&[Some(5.0), Some(5.0)], &[])];
    // All rewards: mean 3, squares 9 + 1 + 4 + 4 = 18, population variance 4.5.
    let found = advantages(&convention(&["--scale", "batch"]), &groups);
    close(&found, &[-1.0 / 4.5f64.sqrt(), 1.0 / 4.5f64.sqrt(), 0.0, 0.0]);
    let whitened = advantages(&convention(&["--std", "none", "--whiten", "rows"]), &groups);
    let deviation = (2.0f64 / 3.0).sqrt() + 1e-4;
    close(&whitened, &[-1.0 / deviation, 1.0 / deviation, 0.0, 0.0]);
}

#[test]
fn flags_change_the_preset_and_senseless_ones_are_refused() {
    let rewards = [0.0, 2.0];
    assert_eq!(estimate(&["--eps", "1"], &rewards), [-0.5, 0.5]);
    assert_eq!(estimate(&["--std", "none"], &rewards), [-1.0, 1.0]);
    close(&estimate(&["--std", "ddof1"], &rewards), &[-0.5f64.sqrt(), 0.5f64.sqrt()]);
    assert_eq!(estimate(&["--baseline", "none", "--std", "none"], &rewards), rewards);
    for (arguments, words) in [
        (&["--preset", "dr-grpo", "--eps", "1"][..], "--eps has no effect"),
        (&["--std", "none", "--scale", "batch"], "--scale batch has no effect"),
        (&["--preset", "reinforce++", "--single", "zero"], "--single has no effect"),
        (&["--preset", "gdpo"], "must be told which"),
        (&["--part", "a=1", "--scale", "batch"], "--part normalizes within"),
        (&["--part", "a=1", "--part", "a=2"], "comes twice"),
    ] {
        assert!(refused(arguments).contains(words), "{arguments:?}");
    }
}
