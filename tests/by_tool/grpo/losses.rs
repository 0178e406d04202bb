//! What an update minimizes: losses, presets, the divergence from a reference, the entropy bonus, batches.

use super::*;

#[test]
fn the_divergence_from_the_reference_starts_at_zero_and_holds_back() {
    let round = Round::of("qwen-tiny");
    let out = round.path("out");
    let beta = ["-o", out.as_str(), "--kl-beta", "0.1", "--epochs", "3", "--lr", "3e-3"];
    let mut all = vec![round.policy.as_str(), "-"];
    all.extend(beta);
    run("r1-grpo", &all, &round.rows)
        .refused(2, &["stdin:1", "no `reference.logprobs`", "--score reference"]);
    let scored =
        run("r1-rollout", &[&round.policy, "-", "--score", "reference", "-q"], &round.rows).success();
    let log = round.path("metrics.jsonl");
    all.extend(["--metrics", &log]);
    run("r1-grpo", &all, &scored).success();
    let kl: Vec<f64> = metrics(Path::new(&log)).iter().map(|l| l["kl"].as_f64().unwrap()).collect();
    assert!(kl[0] == 0.0 && kl[1] > 0.0 && kl.len() == 3, "{kl:?}");
}

#[test]
fn every_loss_moves_the_policy_and_is_recorded() {
    let mut round = Round::of("llama-tiny");
    // A fresh policy never ends: completions of unequal lengths, which aggregations weigh differently.
    let shorter = rows(&round.rows).into_iter().enumerate().map(|(i, mut row)| {
        for key in ["completion_ids", "logprobs"] {
            row["rollout"][key].as_array_mut().unwrap().truncate(3 + i % 9);
        }
        format!("{row}\n")
    });
    round.rows = shorter.collect();
    let weights = |dir: &str| fs::read(Path::new(dir).join("model.safetensors")).unwrap();
    let mut seen = Vec::new();
    for loss in [
        "grpo",
        "bnpo",
        "dapo",
        "dr_grpo --generation-limit 12",
        "cispo",
        "sapo",
        "vespo",
        "luspo",
        "gspo",
        "gspo-token",
        "reinforce",
        "gpg --kl-beta 0",
        "dual-clip",
        "clip-cov --cov-band 0,9 --cov-share 0.1",
        "kl-cov --cov-share 0.1",
        "gmpo",
        "dppo",
        "dppo-kl",
        "dapo --aggregate group",
        "grpo --importance sequence",
        "dapo --top-entropy 0.3",
        "dapo --off-policy-threshold 0.5",
        "dapo --entropy-weight 0.1",
    ] {
        let flags: Vec<&str> = ["-q", "--epochs", "2", "--loss"].into_iter().chain(loss.split(' ')).collect();
        let name = loss.replace(' ', "-");
        round.update(&name, &flags).success();
        let out = round.path(&name);
        let after = weights(&out);
        assert!(after != weights(&round.policy), "{loss}");
        assert!(command_of(&out)["aggregate"].is_string() && command_of(&out)["importance"].is_string());
        seen.push((loss, after));
    }
    // The same gradient under another name, and every other one its own.
    let of = |name: &str| &seen.iter().find(|(loss, _)| *loss == name).unwrap().1;
    assert!(of("bnpo") == of("dapo") && of("gpg --kl-beta 0") == of("reinforce"));
    for (a, b) in [("grpo", "dapo"), ("dapo", "cispo"), ("gspo", "luspo"), ("dapo", "dapo --top-entropy 0.3")]
    {
        assert!(of(a) != of(b), "{a} and {b} give the same weights");
    }
    assert!(of("dapo") != of("dapo --entropy-weight 0.1"));
}

#[test]
fn presets_are_printed_in_full_and_a_flag_beside_one_wins() {
    let round = Round::of("llama-tiny");
    for preset in ["r1-rl1", "r1-rl2", "dapo", "dr-grpo", "gspo", "cispo", "trl-default"] {
        let flags = match preset {
            "r1-rl1" | "r1-rl2" => vec!["-q", "--preset", preset, "--kl-beta", "0"],
            _ => vec!["-q", "--preset", preset],
        };
        round.update(preset, &flags).success();
        let command = command_of(&round.path(preset));
        assert_eq!((&command["preset"], &command["lr"]), (&json!(preset), &json!(1e-3)), "{command}");
        for key in
            ["loss", "aggregate", "kl-beta", "beta2", "adam-eps", "clip-norm", "epochs", "dtype", "seed"]
        {
            assert!(!command[key].is_null(), "{preset}: {key} is missing in {command}");
        }
        match preset {
            "r1-rl1" => {
                assert_eq!((&command["clip-high"], &command["batch-size"]), (&json!(10.0), &json!(512)))
            }
            "gspo" => assert_eq!((&command["clip-low"], &command["batches"]), (&json!(3e-4), &json!(4))),
            "cispo" => assert_eq!((&command["cap"], &command["adam-eps"]), (&json!(5.0), &json!(1e-15))),
            "trl-default" => assert_eq!(command["beta2"], 0.999),
            _ => {}
        }
    }
    // Without its reference r1-zero says what it needs.
    round.update("zero", &["--preset", "r1-zero"]).refused(2, &["stdin:1", "--score reference", "--kl-beta"]);
    round.update("none", &["--preset", "gspo", "--delta", "2", "--loss", "sapo"]).refused(2, &["--delta"]);
}

#[test]
fn the_entropy_bonus_raises_the_entropy() {
    let round = Round::of("llama-tiny");
    let text = without_advantage(&round.rows);
    // A policy that has learned something, so that its entropy can rise.
    let (out, log) = (round.path("out"), round.path("log.jsonl"));
    let learned = round.path("learned");
    round.update("learned", &["-q", "--epochs", "12", "--loss", "reinforce"]).success();
    let all = [
        learned.as_str(),
        "-",
        "-o",
        &out,
        "--metrics",
        &log,
        "--entropy-weight",
        "1",
        "--epochs",
        "4",
        "--lr",
        "1e-3",
        "-q",
    ];
    run("r1-grpo", &all, &text).success();
    let entropy: Vec<f64> = metrics(Path::new(&log)).iter().map(|l| l["entropy"].as_f64().unwrap()).collect();
    assert!(entropy.windows(2).all(|pair| pair[1] > pair[0]), "{entropy:?}");
}

#[test]
fn batches_cut_the_round_into_as_many_updates() {
    let round = Round::of("llama-tiny");
    let log = round.path("log.jsonl");
    round.update("out", &["--batches", "5", "--epochs", "2", "-q", "--metrics", &log]).success();
    let counts: Vec<u64> = metrics(Path::new(&log)).iter().map(|l| l["rows"].as_u64().unwrap()).collect();
    assert_eq!(counts, [5, 5, 5, 5, 4, 5, 5, 5, 5, 4]);
    round.update("none", &["--batches", "5", "--batch-size", "2"]).refused(2, &["--batch"]);
}
