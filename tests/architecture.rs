//! The plan of the house, held by a test: which crate may know which, how long a page may be, what an op's folder holds, what
//! stands where, and which words name nothing.

use crate::harness::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may depend on among ours. Tools are listed where their abilities are part of the promise; any other tool may
/// know everything in `shared/` and `kernels/`.
const ARROWS: &[(&str, &[&str])] = &[
    ("kernels", &[]),
    ("shared/cli", &[]),
    ("shared/records", &[]),
    ("shared/verify", &[]),
    ("shared/sandbox", &[]),
    // Talks to servers: no rows, no model.
    ("shared/endpoint", &["r1-cli"]),
    // Statistics of judged rows: no files, no model.
    ("shared/measure", &["r1-records", "r1-verify"]),
    // A template renders the prompt of a record.
    ("shared/model", &["r1-kernels", "r1-records"]),
    ("shared/train", &["r1-model", "r1-kernels", "r1-cli", "r1-records"]),
    // Cannot change weights: no r1-train.
    ("tools/r1-rollout", &["r1-cli", "r1-endpoint", "r1-records", "r1-model", "r1-kernels"]),
    ("tools/r1-judge", &["r1-cli", "r1-endpoint", "r1-records", "r1-verify", "r1-model", "r1-kernels"]),
    // Need no model.
    ("tools/r1-tasks", &["r1-cli", "r1-records", "r1-verify"]),
    ("tools/r1-reward", &["r1-cli", "r1-records", "r1-verify", "r1-sandbox"]),
    ("tools/r1-advantage", &["r1-cli", "r1-records"]),
    ("tools/r1-reject", &["r1-cli", "r1-records", "r1-verify"]),
    ("tools/r1-eval", &["r1-cli", "r1-records", "r1-verify", "r1-measure"]),
    // Reads a tokenizer, to show completions token by token; computes nothing with a model.
    ("tools/r1-plot", &["r1-cli", "r1-records", "r1-measure", "r1-model"]),
    ("tests", &[]),
];

/// What may stand at the top beside dotfiles and what git ignores.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "Makefile",
    "tools",
    "shared",
    "kernels",
    "scripts",
    "tests",
    "README.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
];

/// Words that say nothing about what a file holds.
const WORDS: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "misc", "data", "info", "manager", "handler", "process",
    "base", "core", "new", "v2",
];

/// Folders of the kernels crate that are no ops but what ops are made of.
const NO_OPS: &[&str] = &["threads", "lanes", "pages", "cuda"];

/// Lines a tool's `main.rs` may have.
const PAGE: usize = 80;

/// Lines any source file may have; one of 400 wants to be two already.
const BOOK: usize = 600;

/// The crates of the workspace, as paths from the root.
fn crates() -> Vec<String> {
    let mut found = vec!["kernels".to_string(), "tests".to_string()];
    for group in ["shared", "tools"] {
        found.extend(children(&root().join(group)).iter().map(|path| format!("{group}/{}", name(path))));
    }
    found.sort();
    found
}

/// Names of a manifest's dependencies of every kind, with the rest of their line.
fn dependencies(member: &str) -> Vec<(String, String)> {
    let path = root().join(member).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
            assert!(
                !line.contains("dependencies."),
                "{member}: write dependencies one a line, not as {line}"
            );
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            found.push((line[..end].to_string(), line[end..].to_string()));
        }
    }
    found
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a directory can be listed").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().expect("a listed path has a name").to_string_lossy().into_owned()
}

/// Every file under these folders of the repository.
fn files(folders: &[&str]) -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if name(&path) == "target" || name(&path) == "__pycache__" {
            continue;
        } else if path.is_dir() {
            open.extend(children(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).lines().count()
}

#[test]
fn arrows_point_one_way() {
    let tools: BTreeSet<String> =
        crates().iter().filter_map(|member| member.strip_prefix("tools/").map(str::to_string)).collect();
    for member in crates() {
        let ours: Vec<String> = dependencies(&member)
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| name.starts_with("r1-"))
            .collect();
        if let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == member) {
            let wrong: Vec<&String> = ours.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
            assert!(wrong.is_empty(), "{member} must not depend on {wrong:?}");
        } else {
            assert!(member.starts_with("tools/"), "{member} has no place in the plan: add its arrows here");
        }
        let wrong: Vec<&String> = ours.iter().filter(|name| tools.contains(*name)).collect();
        assert!(wrong.is_empty(), "{member} depends on a tool: {wrong:?}");
    }
}

#[test]
fn each_dependency_has_one_version() {
    for member in crates() {
        for (name, rest) in dependencies(&member) {
            assert!(
                rest.contains("workspace = true") || rest.contains("workspace=true"),
                "{member}: the version of {name} belongs into the root's [workspace.dependencies]"
            );
        }
    }
}

#[test]
fn a_tool_is_a_page() {
    for member in crates().iter().filter(|member| member.starts_with("tools/")) {
        let main = root().join(member).join("src/main.rs");
        let count = lines(&main);
        assert!(
            count <= PAGE,
            "{} has {count} lines, {PAGE} are allowed: the idea belongs beside it",
            main.display()
        );
        let text = fs::read_to_string(&main).expect("read before");
        assert!(text.starts_with("//! "), "{} does not begin by saying what the tool is for", main.display());
    }
}

#[test]
fn no_file_is_a_book() {
    for path in files(&["kernels", "shared", "tools", "tests"]) {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let count = lines(&path);
            assert!(count <= BOOK, "{} has {count} lines: make it two", path.display());
        }
    }
}

#[test]
fn every_op_has_its_versions() {
    let mut ops = 0;
    for folder in children(&root().join("kernels/src")).iter().filter(|path| path.is_dir()) {
        if NO_OPS.contains(&name(folder).as_str()) {
            continue;
        }
        ops += 1;
        for file in ["mod.rs", "reference.rs", "cpu.rs", "tests.rs"] {
            assert!(folder.join(file).is_file(), "{} has no {file}", folder.display());
        }
        let own = folder.join("tests.rs");
        let text = fs::read_to_string(&own).expect("just seen");
        assert!(text.contains("reference"), "{} does not compare with the reference", own.display());
    }
    assert!(ops >= 8, "only {ops} ops were found: has the layout changed?");
}

#[test]
fn names_say_something() {
    for path in files(&["kernels", "shared", "tools", "scripts", "tests"]) {
        let inside = path.strip_prefix(root()).expect("found under the root");
        for part in inside.components() {
            let part = part.as_os_str().to_string_lossy();
            let stem = part.split('.').next().unwrap_or("");
            assert!(!WORDS.contains(&stem), "`{stem}` in {} says nothing", inside.display());
        }
    }
}

#[test]
fn the_top_holds_what_the_plan_says() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let ignored: BTreeSet<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    for path in children(&root()) {
        let name = name(&path);
        let known = name.starts_with('.') || TOP.contains(&name.as_str()) || ignored.contains(name.as_str());
        assert!(known, "`{name}` does not belong at the top");
    }
    for name in TOP {
        assert!(root().join(name).exists(), "`{name}` is missing at the top");
    }
}
