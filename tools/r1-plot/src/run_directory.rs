//! What a run directory holds: the recipe's folders, each as far as it has come.
//!
//! ```text
//! RUN/settings                        what the run was begun with
//! RUN/STAGE/metrics.jsonl             curves of a stage that trains
//! RUN/STAGE/round-N/advantaged.jsonl  completions with their advantages
//! RUN/STAGE/*.json                    reports of r1-reject
//! RUN/STAGE/policy                    a tokenizer, to show completions token by token
//! RUN/8-distill/STUDENT/…             the same for each student
//! RUN/STAGE/{sampling,judging}-metrics.jsonl   what r1-rollout and r1-judge say of their rounds
//! RUN/judges/NAME/metrics.jsonl       curves of a preference model
//! RUN/eval/NAME.jsonl                 judged completions of the held-out tasks
//! RUN/general/NAME.jsonl              judged replies to general requests
//! ```

use crate::opinions::Replies;
use std::fs;
use std::path::{Path, PathBuf};

/// Folder, the paper's name for what comes out of it, what happens in it.
const STAGES: [(&str, &str, &str); 9] = [
    ("0-base", "Base", "a policy that has only imitated"),
    ("1-zero", "R1-Zero", "reinforcement of the base by rule rewards alone"),
    ("2-cold-start", "Cold start", "examples: R1-Zero’s readable completions, and written ones"),
    ("3-sft", "Dev1", "the base, fine-tuned on the cold-start examples"),
    ("4-rl", "Dev2", "reasoning reinforcement with the language-consistency reward"),
    ("5-reject", "Rejection sampling", "examples: the best of Dev2’s completions, and other requests"),
    ("6-sft", "Dev3", "the base, fine-tuned on the rejection-sampled examples"),
    ("7-rl", "R1", "reinforcement for all scenarios"),
    ("8-distill", "Students", "other networks, fine-tuned on R1’s completions"),
];

/// File names of evaluations, the paper's names, and the folder of the policy.
const EVALUATIONS: [(&str, &str, &str); 9] = [
    ("base", "Base", "0-base"),
    ("zero", "R1-Zero", "1-zero"),
    ("sft", "Dev1", "3-sft"),
    ("dev1", "Dev1", "3-sft"),
    ("rl", "Dev2", "4-rl"),
    ("dev2", "Dev2", "4-rl"),
    ("sft-again", "Dev3", "6-sft"),
    ("dev3", "Dev3", "6-sft"),
    ("r1", "R1", "7-rl"),
];

/// A stage's folder.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its path in the run.
    pub folder: String,
    /// What comes out of it.
    pub title: String,
    /// What happens in it.
    pub does: String,
    /// Curves.
    pub metrics: Option<PathBuf>,
    /// Metrics of sampling, and of judging by models.
    pub beside: [Option<PathBuf>; 2],
    /// Rounds with their completions, by number.
    pub rounds: Vec<(u64, PathBuf)>,
    /// JSON files that may be reports of r1-reject.
    pub reports: Vec<PathBuf>,
    /// The policy's directory.
    pub policy: PathBuf,
}

/// Judged completions of one policy.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// What the policy is called.
    pub title: String,
    /// The file.
    pub file: PathBuf,
    /// The policy's directory.
    pub policy: PathBuf,
    /// Whether it is not one of the recipe's own stages.
    pub student: bool,
}

/// A run directory.
#[derive(Clone, Debug, Default)]
pub struct RunDirectory {
    /// Its last name.
    pub name: String,
    /// The folders that are there, in the recipe's order.
    pub stages: Vec<Stage>,
    /// The evaluations that are there, in the recipe's order.
    pub evaluations: Vec<Evaluation>,
    /// Replies to general requests, in the recipe's order.
    pub general: Vec<Replies>,
    /// What the recipe would have written and is not there.
    pub missing: Vec<String>,
    /// The run's settings, as they stand there.
    pub settings: Option<String>,
}

impl RunDirectory {
    /// Looks into the directory. Errors: it holds nothing of a run.
    pub fn open(run: &Path) -> anyhow::Result<RunDirectory> {
        let full = fs::canonicalize(run).unwrap_or_else(|_| run.to_path_buf());
        let name = full.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let mut found = RunDirectory { name, ..RunDirectory::default() };
        for (folder, title, does) in STAGES {
            let path = run.join(folder);
            if folder == "8-distill" {
                for student in folders(&path) {
                    let name =
                        student.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                    found.stages.push(stage(
                        &student,
                        format!("{folder}/{name}"),
                        format!("Student {name}"),
                        does,
                    ));
                }
            } else if path.is_dir() {
                found.stages.push(stage(&path, folder.to_string(), title.to_string(), does));
            }
            if !path.is_dir() {
                found.missing.push(format!("{folder} ({title})"));
            }
        }
        for path in folders(&run.join("judges")) {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let does = "a reward model, trained on preferences between replies";
            found.stages.push(stage(&path, format!("judges/{name}"), format!("Judge {name}"), does));
        }
        // Folders that the recipe does not know, with curves in them.
        for path in folders(run) {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let known = STAGES.iter().any(|(folder, _, _)| *folder == name);
            if !known && path.join("metrics.jsonl").is_file() {
                found.stages.push(stage(&path, name.clone(), name, "a folder of its own"));
            }
        }
        for stage in
            found.stages.iter().filter(|stage| !matches!(&*stage.folder, "2-cold-start" | "5-reject"))
        {
            if stage.metrics.is_none() {
                found.missing.push(format!("{}/metrics.jsonl", stage.folder));
            }
        }
        found.evaluations(run);
        for (stem, title, _) in EVALUATIONS {
            let file = run.join("general").join(format!("{stem}.jsonl"));
            if file.is_file() {
                found.general.push(Replies { title: title.to_string(), file });
            }
        }
        found.settings = fs::read_to_string(run.join("settings")).ok();
        if found.stages.is_empty() && found.evaluations.is_empty() {
            return Err(r1_cli::bad_input(
                run.display(),
                "holds no stage of a run (0-base, 1-zero, …, eval/)",
                "name a run directory, or a file of metrics",
            ));
        }
        Ok(found)
    }

    fn evaluations(&mut self, run: &Path) {
        let mut files = files(&run.join("eval"), "jsonl");
        files.retain(|file| file.file_stem().is_some_and(|stem| stem != "tasks"));
        for (stem, title, folder) in EVALUATIONS {
            let at = files.iter().position(|file| file.file_stem().is_some_and(|known| known == stem));
            if let Some(at) = at {
                let policy = run.join(folder).join("policy");
                let file = files.remove(at);
                self.evaluations.push(Evaluation { title: title.to_string(), file, policy, student: false });
            } else if !stem.starts_with("dev") && run.join(folder).is_dir() {
                self.missing.push(format!("eval/{stem}.jsonl ({title})"));
            }
        }
        for file in files {
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let policy = run.join("8-distill").join(&stem).join("policy");
            self.evaluations.push(Evaluation { title: stem, file, policy, student: true });
        }
    }
}

fn stage(path: &Path, folder: String, title: String, does: &str) -> Stage {
    let there = |name: &str| Some(path.join(name)).filter(|file| file.is_file());
    let metrics = there("metrics.jsonl");
    let beside = [there("sampling-metrics.jsonl"), there("judging-metrics.jsonl")];
    let mut rounds: Vec<(u64, PathBuf)> = folders(path)
        .into_iter()
        .filter_map(|round| {
            let number = round.file_name()?.to_str()?.strip_prefix("round-")?.parse().ok()?;
            Some((number, round.join("advantaged.jsonl")))
        })
        .filter(|(_, file)| file.is_file())
        .collect();
    rounds.sort();
    let policy = path.join("policy");
    Stage {
        folder,
        title,
        does: does.to_string(),
        metrics,
        beside,
        rounds,
        reports: files(path, "json"),
        policy,
    }
}

/// The folders in a folder, sorted.
fn folders(path: &Path) -> Vec<PathBuf> {
    entries(path).into_iter().filter(|entry| entry.is_dir()).collect()
}

/// The files in a folder whose names end so, sorted.
fn files(path: &Path, extension: &str) -> Vec<PathBuf> {
    let fits = |entry: &PathBuf| entry.is_file() && entry.extension().is_some_and(|e| e == extension);
    entries(path).into_iter().filter(fits).collect()
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    // What a tool is writing at this moment, or left when it was killed.
    found.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    found
}
