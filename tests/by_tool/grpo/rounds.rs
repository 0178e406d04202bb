//! What lasts over several rounds (reference, rate, router, metrics), and what is asked before one.

use super::*;

#[test]
fn the_reference_comes_from_a_directory_and_is_renewed() {
    let round = Round::of("qwen-tiny");
    let weights = |dir: &str| fs::read(Path::new(dir).join("model.safetensors")).unwrap();
    let kl = ["--kl-beta", "0.1", "--epochs", "3", "--batches", "2", "-q"];
    let scored =
        run("r1-rollout", &[&round.policy, "-", "--score", "reference", "-q"], &round.rows).success();
    let by_rows = round.path("by-rows");
    let all = [&[round.policy.as_str(), "-", "-o", &by_rows, "--lr", "1e-3"][..], &kl].concat();
    run("r1-grpo", &all, &scored).success();
    round.update("named", &[&kl[..], &["--reference", &round.policy]].concat()).success();
    let named = round.path("named");
    assert!(weights(&by_rows) == weights(&named), "one engine, one number");
    assert!(!Path::new(&named).join("reference").exists());

    // Six updates: with every 6 it is the policy that comes out, with every 7 it does not come yet.
    let renew = |out: &str, every: &str, more: &[&str]| {
        let flags = [&kl[..], &["--reference", &round.policy, "--reference-every", every], more].concat();
        round.update(out, &flags).success();
        round.path(out)
    };
    let (six, seven) = (renew("six", "6", &[]), renew("seven", "7", &[]));
    assert!(weights(&format!("{six}/reference")) == weights(&six) && weights(&six) == weights(&named));
    assert!(!Path::new(&seven).join("reference").exists());
    let mixed = renew("mixed", "6", &["--reference-mix", "0.25"]);
    let value = |dir: &str| f32::from_le_bytes(weights(dir)[weights(dir).len() - 4..].try_into().unwrap());
    let (start, end, between) = (value(&round.policy), value(&mixed), value(&format!("{mixed}/reference")));
    assert!((between - (0.25 * end + 0.75 * start)).abs() <= 1e-7 * between.abs(), "{start} {end} {between}");

    // The next round measures from the renewed one, in place or not, and a signal or the same command again changes nothing.
    let flags = [&["-", "-o"][..], &["rolling", "--lr", "1e-3"], &kl].concat();
    let next = |from: &str, out: &str| {
        let mut all = vec![from];
        all.extend(flags.iter().map(|flag| if *flag == "rolling" { out } else { *flag }));
        all.extend(["--reference", &round.policy, "--reference-every", "6", "--checkpoint-every", "1"]);
        run("r1-grpo", &all, &round.rows.replace("\"prompt\":", "\"next\":1,\"prompt\":"))
    };
    let (apart, rolling) = (round.path("apart"), round.path("rolling"));
    next(&six, &apart).success();
    let copied = std::process::Command::new("cp").args(["-r", &six, &rolling]).status().unwrap();
    assert!(copied.success());
    next(&rolling, &rolling).success();
    same_bytes(Path::new(&apart), Path::new(&rolling));
    next(&rolling, &rolling).success();
    same_bytes(Path::new(&apart), Path::new(&rolling));
    let mut wrong = vec!["--reference", round.policy.as_str()];
    round.update("none", &wrong).refused(2, &["--reference has no effect without --kl-beta"]);
    wrong.extend(["--kl-beta", "0.1", "--reference", "nowhere"]);
    round.update("none", &wrong[2..]).refused(2, &["nowhere"]);
}

#[test]
fn a_frozen_router_stays_and_everything_else_moves() {
    let round = Round::of("r1-tiny");
    round.update("frozen", &["--freeze-router", "--weight-decay", "0.5", "-q"]).success();
    round.update("free", &["--weight-decay", "0.5", "-q"]).success();
    let tensors = |dir: &str| -> Vec<(String, Vec<u8>)> {
        let bytes = fs::read(Path::new(dir).join("model.safetensors")).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let fields = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
        fields
            .map(|(name, field)| {
                let at = |i: usize| 8 + length + field["data_offsets"][i].as_u64().unwrap() as usize;
                (name.clone(), bytes[at(0)..at(1)].to_vec())
            })
            .collect()
    };
    let (start, frozen, free) =
        (tensors(&round.policy), tensors(&round.path("frozen")), tensors(&round.path("free")));
    let mut routers = 0;
    for ((name, before), ((_, held), (_, moved))) in start.iter().zip(frozen.iter().zip(&free)) {
        if name.ends_with(".mlp.gate.weight") {
            assert!(before == held && before != moved, "{name}");
            routers += 1;
        } else if name.ends_with("o_proj.weight") {
            assert!(before != held, "{name}");
        }
    }
    assert!(routers >= 1);
    assert_eq!(command_of(&round.path("frozen"))["freeze-router"], true);
}

#[test]
fn the_learning_rate_falls_over_the_rounds() {
    let round = Round::of("llama-tiny");
    let log = round.path("log.jsonl");
    let flags = ["--schedule", "linear", "--total-updates", "8", "--warmup", "2", "--batches", "3", "-q"];
    round.update("one", &[&flags[..], &["--metrics", &log]].concat()).success();
    let rates: Vec<f64> =
        metrics(Path::new(&log)).iter().map(|l| l["learning_rate"].as_f64().unwrap()).collect();
    assert_eq!(rates, [0.0, 5e-4, 1e-3]);
    let command = command_of(&round.path("one"));
    assert_eq!((&command["schedule"], &command["total-updates"]), (&json!("linear"), &json!(8)));
    round.update("none", &["--schedule", "cosine"]).refused(2, &["--total-updates"]);
    round.update("none", &["--total-updates", "9"]).refused(2, &["need each other"]);
}

#[test]
fn several_tools_share_a_file_of_metrics() {
    let round = Round::of("llama-tiny");
    let log = round.path("log.jsonl");
    fs::write(&log, "{\"tool\":\"r1-sft\",\"step\":90,\"loss\":1.5}\n{\"tool\":\"r1-grpo\",\"step\":7}\n")
        .unwrap();
    let flags = ["--batches", "2", "-q", "--metrics", log.as_str(), "--tensorboard"];
    let board = round.path("board");
    round.update("one", &[&flags[..], &[board.as_str()]].concat()).success();
    let lines: Vec<Value> = metrics(Path::new(&log)).iter().map(|l| json!([l["tool"], l["step"]])).collect();
    assert_eq!(lines, [json!(["r1-sft", 90]), json!(["r1-grpo", 1]), json!(["r1-grpo", 2])]);
    let lags: Vec<Value> = metrics(Path::new(&log))[1..].iter().map(|l| l["policy_lag"].clone()).collect();
    assert_eq!(lags, [json!(0), json!(1)]);
    assert!(at(&round, "board/events.out.tfevents.r1-grpo").exists());
}

#[test]
fn a_sampler_from_nowhere_does_not_cost_the_update() {
    let round = Round::of("llama-tiny");
    let mut foreign = rows(&round.rows);
    for row in &mut foreign {
        if row["advantage"].as_f64().unwrap() > 0.0 {
            row["rollout"]["logprobs"][1] = json!(-3000.0);
        }
    }
    let text: String = foreign.iter().map(|row| format!("{row}\n")).collect();
    let (out, log) = (round.path("out"), round.path("log.jsonl"));
    run("r1-grpo", &[&round.policy, "-", "-o", &out, "--metrics", &log, "-q"], &text).success();
    let line = &metrics(Path::new(&log))[0];
    assert!(
        line["ratio/max"].as_f64().unwrap() > 1e200 && line["loss"].as_f64().unwrap().is_finite(),
        "{line}"
    );
}

#[test]
fn questions_before_a_round_are_answered_and_write_nothing() {
    let round = Round::of("r1-tiny");
    let ask = |flags: &[&str]| {
        let outcome = round.update("out", flags);
        let said = outcome.stderr.clone();
        outcome.success();
        assert!(!Path::new(&round.path("out")).exists());
        said
    };
    let said = ask(&["--plan"]);
    for words in ["weights, f32", "moments of AdamW", "MiB  at most", "a row of up to"] {
        assert!(said.contains(words), "{said}");
    }
    for loss in ["dapo", "gspo", "sapo", "gmpo", "kl-cov", "cispo"] {
        let said = ask(&["--selftest", "--loss", loss, "--entropy-weight", "0.01"]);
        for words in ["gradient coverage", "agrees   self_attn.kv_b_proj", "agrees   mlp.gate.weight"] {
            assert!(said.contains(words) && !said.contains("DIFFERS"), "{loss}: {said}");
        }
        assert!(
            said.contains(if loss == "cispo" { "holds a part" } else { "derivative and slope" }),
            "{loss}: {said}"
        );
    }
}

#[test]
fn a_token_at_the_border_of_two_experts_is_no_wrong_gradient() {
    // Among these draws some have such tokens: a step sends one to the other expert, and the loss jumps.
    // Not seed 5: on a machine without bf16 its rows make the selftest cry wolf about the embedding (scripts/LOG.md).
    for seed in ["0", "1", "2", "3", "4"] {
        let round = Round::drawn("r1-tiny", seed);
        let outcome = round.update("out", &["--selftest"]);
        assert!(!outcome.stderr.contains("DIFFERS"), "seed {seed}: {}", outcome.stderr);
        outcome.success();
    }
}
