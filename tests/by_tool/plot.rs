//! r1-plot as a process, and its report in a real browser where one is installed.

use crate::harness::*;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What a policy might write to break out of the page.
const HOSTILE: &str =
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u{202e}&amp;";

fn metrics(steps: usize) -> String {
    (1..=steps)
        .map(|step| {
            let reward = 1.0 - 1.0 / step as f64;
            format!(
                "{{\"step\":{step},\"loss\":{},\"reward\":{reward},\"entropy\":0.5,\"grad_norm\":{},\"clip_ratio/low_mean\":0.0,\
                 \"clip_ratio/high_mean\":0.01,\"completions/mean_length\":20,\"tokens\":1000,\"step_time\":0.5}}\n",
                -0.1 / step as f64,
                if step == 7 { 30 } else { 1 }
            )
        })
        .collect()
}

fn judged(prompts: usize, correct: usize, completion: &str) -> String {
    let row = |at: usize, sample: u32| {
        let accuracy = u8::from(at < correct);
        format!(
            "{}\n",
            serde_json::json!({"id": format!("p{at}"), "prompt": format!("What is {at}? <b>"), "answer": "14",
                "rollout": {"sample": sample, "completion": completion, "finish_reason": "stop"},
                "reward": {"total": accuracy, "accuracy": accuracy, "format": 1, "answer": "14"}, "advantage": f64::from(sample) - 0.5})
        )
    };
    (0..prompts).flat_map(|at| [row(at, 0), row(at, 1)]).collect()
}

/// A run with something of everything.
fn run_directory(run: &Path) {
    let write = |name: &str, text: &str| {
        let path = run.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("settings", "SEED=0 <i>\n");
    write(
        "0-base/metrics.jsonl",
        "{\"step\":1,\"loss\":6.2,\"tokens\":10,\"tokens_per_second\":100}\n{\"step\":2,\"loss\":3,\"tokens\":10,\"tokens_per_second\":100}\n",
    );
    write("1-zero/metrics.jsonl", &metrics(1000));
    let advantaged = judged(2, 1, HOSTILE).replacen("script>doc", "script> doc", 1);
    write("1-zero/round-1/advantaged.jsonl", &advantaged);
    write("1-zero/round-10/advantaged.jsonl", &advantaged);
    write("1-zero/round-2/advantaged.jsonl", "this is never read\n");
    write(
        "1-zero/sampling-metrics.jsonl",
        "{\"tokens\":10,\"seconds\":61.5}\n{\"tokens\":10,\"seconds\":61.5}\n",
    );
    write("1-zero/judging-metrics.jsonl", "{\"name\":\"helpful\",\"seconds\":42}\n");
    write("judges/helpful/metrics.jsonl", &metrics(3));
    let reply = |id: &str, helpful: f64| {
        let reward = serde_json::json!({"total": helpful, "helpful": helpful, "format": 1.0});
        serde_json::json!({"id": id, "prompt": id, "rollout": {"completion": "hello"}, "reward": reward})
            .to_string()
            + "\n"
    };
    write("general/sft-again.jsonl", &[reply("a", -1.0), reply("b", -2.0)].concat());
    write("general/r1.jsonl", &[reply("a", 2.0), reply("b", 0.5)].concat());
    write("8-distill/small/metrics.jsonl", &metrics(3));
    write(
        "5-reject/refused.json",
        &serde_json::json!({"rows": 10, "kept": 4, "groups": 5, "groups_kept": 3, "refused": {"wrong": {"count": 6, "examples":
            [{"id": "a", "line": 1, "found": "accuracy 0", "completion": HOSTILE}]}}})
        .to_string(),
    );
    write("eval/tasks.jsonl", "{\"prompt\":\"x\"}\n");
    write("eval/base.jsonl", &judged(20, 4, HOSTILE));
    write("eval/zero.jsonl", &judged(20, 15, "<think>so</think> <answer>14</answer>"));
    write("eval/small.jsonl", &judged(20, 8, "14"));
}

fn report(run: &Path) -> String {
    run_tool(&[run.to_str().unwrap()])
}

fn run_tool(arguments: &[&str]) -> String {
    run("r1-plot", arguments, "").success()
}

#[test]
fn a_report_holds_the_run_and_nothing_else() {
    let directory = scratch();
    let at = directory.path().join("demo");
    run_directory(&at);
    let html = report(&at);
    assert_eq!(report(&at), html, "the same bytes each time");
    // The same run elsewhere is the same report: no path and no clock gets in.
    let elsewhere = scratch();
    run_directory(&elsewhere.path().join("demo"));
    assert_eq!(report(&elsewhere.path().join("demo")), html);
    for words in [
        ">Base</th>",
        ">R1-Zero</th>",
        ">small</th>",
        "20.0</b>",
        "75.0</b>",
        "+55.0",
        "gradient norm",
        "round 1<",
        "round 10<",
        "4 of 10 completions kept",
        "2-cold-start (Cold start)",
        "Not recorded: accuracy",
        "SEED=0 &lt;i&gt;",
        "8 min 20 s",
        "<td>2 min 03 s</td><td>42.0 s</td>",
        "Judge helpful",
        "<tr><th>Dev3</th><td title=\"2 completions\">-1.50 <small>[-2.00, -1.00]</small></td>",
        "<tr><th>R1</th><td title=\"2 completions\">1.25 <small>[0.50, 2.00]</small></td>",
    ] {
        assert!(html.contains(words), "{words:?} is not there");
    }
    // What a policy wrote is text, and nothing is fetched.
    assert!(html.contains("&lt;script&gt;document.title"));
    assert_eq!(html.matches("<script").count(), 1);
    for forbidden in ["<img", "http://", "https://", "src=", "url(", "@import", "\u{202e}"] {
        let outside = html.replace("&lt;img src=x", "");
        assert!(!outside.contains(forbidden), "{forbidden:?} is there");
    }
    // A thousand steps are thinned, and the spike is still to be seen.
    let curve = html.split("data-n=\"grad_norm\"").nth(1).unwrap().split('"').nth(1).unwrap();
    assert!(curve.split(',').count() <= 240 && html.contains("class=\"reach"), "{}", curve.len());
    assert!(html.len() < 400_000, "{}", html.len());
}

#[test]
fn a_partial_run_says_what_is_missing() {
    let directory = scratch();
    fs::create_dir_all(directory.path().join("0-base")).unwrap();
    fs::write(directory.path().join("0-base/metrics.jsonl"), "").unwrap();
    let html = report(directory.path());
    for words in [
        "Nothing was evaluated yet",
        "1-zero (R1-Zero)",
        "eval/base.jsonl (Base)",
        "No stage has recorded",
        "No report of r1-reject",
    ] {
        assert!(html.contains(words), "{words:?} is not there");
    }
    let text = run_tool(&["--text", directory.path().to_str().unwrap()]);
    assert!(text.contains("not there: 1-zero"), "{text}");
    let empty = scratch();
    run("r1-plot", &[empty.path().to_str().unwrap()], "").refused(2, &["holds no stage", "metrics"]);
    fs::create_dir_all(directory.path().join("eval")).unwrap();
    fs::write(directory.path().join("eval/base.jsonl"), "{\"prompt\":\"x\"}\n").unwrap();
    run("r1-plot", &[directory.path().to_str().unwrap()], "").refused(2, &["base.jsonl:1", "reward"]);
}

#[test]
fn single_curves() {
    let directory = scratch();
    let path = directory.path().join("metrics.jsonl");
    fs::write(&path, metrics(30)).unwrap();
    let path = path.to_str().unwrap();
    let svg = run_tool(&[path, "--y", "reward,grad_norm"]);
    assert_eq!(run_tool(&[path, "--y", "reward", "--y", "grad_norm"]), svg);
    assert!(svg.starts_with("<svg xmlns") && svg.matches("class=\"curve").count() == 2, "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    assert_eq!(
        run("r1-plot", &["--y", "reward", "-"], &metrics(30)).success(),
        run_tool(&[path, "--y", "reward"])
    );
    let text = run_tool(&[path, "--text", "--y", "reward"]);
    assert!(text.contains("reward") && text.contains('█') && text.contains("0.967"), "{text}");
    assert!(run_tool(&[path, "--text"]).lines().count() >= 6);
    run("r1-plot", &[path, "--y", "kl"], "").refused(2, &["metrics.jsonl", "`kl`", "entropy"]);
    run("r1-plot", &[path], "").refused(2, &["--y"]);
    run("r1-plot", &[path, "--y", "reward", "-o", "x.png"], "").refused(2, &["x.png", "rsvg-convert"]);
    run("r1-plot", &["no/such"], "").refused(2, &["--y"]);
    run("r1-plot", &["no/such", "--text"], "").refused(2, &["no/such"]);
    refuses_bad_rows("r1-plot", &["--y", "loss"], &metrics(3));
    reports_a_full_disk("r1-plot", &["--y", "loss"], &metrics(3));
}

/// The page in headless Chromium: its script runs under its own policy, and nothing that a policy wrote does.
#[test]
fn a_browser_opens_it() {
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|version| version.status.success())
    });
    let Some(browser) = found else {
        println!("skipped: no Chromium is installed");
        return;
    };
    let directory = scratch();
    let run = directory.path().join("demo");
    run_directory(&run);
    let page = directory.path().join("report.html");
    run_tool(&[run.to_str().unwrap(), "-o", page.to_str().unwrap()]);
    let profile = format!("--user-data-dir={}", directory.path().join("profile").display());
    let mut command = Command::new(browser);
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args(["--disable-sync", &profile, "--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let outcome = wait(command.spawn().unwrap(), b"");
    let dom = outcome.success();
    // The script counts the panels it has made ready.
    let panels = fs::read_to_string(&page).unwrap().matches("class=\"panel\"").count();
    assert!(panels > 5 && dom.contains(&format!("data-hover=\"{panels}\"")), "the page's script did not run");
    assert!(dom.contains("<title>demo</title>"), "a completion has run as a script");
    assert!(!dom.contains("<img"), "a completion has become markup");
}
