use std::io::BufReader;

use serde_json::json;

use super::*;

fn state(command: Value, inputs: Value) -> State {
    let map = |v: Value| v.as_object().cloned().unwrap();
    State::planned("r1-sft", map(command), map(inputs))
}

#[test]
fn the_same_run_goes_on_and_another_one_is_told_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let planned = state(json!({"lr": 0.1, "seed": 0}), json!({"policy": "sha256:a", "examples": "sha256:b"}));
    assert_eq!(settle(&out, &planned).unwrap(), Start::Fresh);
    fs::create_dir(&out).unwrap();
    assert_eq!(settle(&out, &planned).unwrap(), Start::Fresh);

    let mut on_the_way = State { step: 7, cursor: 7, tokens: 99, ..planned.clone() };
    let write = |s: &State| write_json(&out.join(FILE), &serde_json::to_value(s).unwrap()).unwrap();
    write(&on_the_way);
    assert_eq!(settle(&out, &planned).unwrap(), Start::Resume(on_the_way.clone()));
    on_the_way.status = Status::Done;
    write(&on_the_way);
    assert_eq!(settle(&out, &planned).unwrap(), Start::Finished(on_the_way));

    let error = |planned: &State| settle(&out, planned).unwrap_err().to_string();
    let other = state(json!({"lr": 0.2, "epochs": 2}), json!({"policy": "sha256:a", "examples": "sha256:c"}));
    let text = error(&other);
    for part in [
        "--lr was 0.1, now 0.2",
        "--epochs was not given, now 2",
        "--seed was 0, now not given",
        "another examples",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("to start over") && !text.contains("policy"), "{text}");
    let tool = State { tool: "r1-distill".into(), ..planned.clone() };
    assert!(error(&tool).contains("written by r1-sft"));

    fs::write(out.join(FILE), "{\"tool\":3}").unwrap();
    assert!(error(&planned).contains("no training state"));
    fs::remove_file(out.join(FILE)).unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    assert!(error(&planned).contains("holds no training state"));
    assert!(check_replaceable(&out).unwrap_err().to_string().contains("would lose notes.txt"));
}

#[test]
fn a_hash_is_of_what_was_read_however_it_was_read() {
    let text = b"one line\nand another\n".repeat(9000);
    let mut by_lines = Hashing::new(BufReader::with_capacity(64, &text[..]));
    let mut line = String::new();
    while by_lines.read_line(&mut line).unwrap() > 0 {
        line.clear();
    }
    let mut at_once = Hashing::new(&text[..]);
    at_once.read_to_end(&mut Vec::new()).unwrap();
    let expected: String = Sha256::digest(&text).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(by_lines.finish(), format!("sha256:{expected}"));
    assert_eq!(at_once.finish(), format!("sha256:{expected}"));
}

#[test]
fn config_says_what_the_weights_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let text =
        r#"{"a": 1, "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"}, "z": 2}"#;
    fs::write(&file, text).unwrap();
    settle_config(&file).unwrap();
    let value: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(value, json!({"a": 1, "torch_dtype": "float32", "z": 2}));
    // Nothing to mend: the bytes stay.
    fs::write(&file, "{ \"a\":1}").unwrap();
    settle_config(&file).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "{ \"a\":1}");
}
