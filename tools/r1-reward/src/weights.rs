//! What each part counts in the total, for every task.

use crate::part::Part;
use crate::program::Program;
use std::path::Path;

/// One `--reward [TASK:]NAME=WEIGHT`.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Only for rows of this task.
    pub task: Option<String>,
    pub name: String,
    pub weight: f64,
}

/// Parts and weights, in the order in which they are written.
type Parts = Vec<(Part, f64)>;

/// The weights of all tasks.
#[derive(Clone, Debug)]
pub struct Weights {
    all: Parts,
    by_task: Vec<(String, Parts)>,
}

impl Weights {
    /// Settles the flags: a weight for a task stands before the one for all rows; a program without a weight counts 1.
    /// Errors (exit 2): a part weighed twice, a program named like another or like a part of ours.
    pub fn new(given: &[Weight], programs: &[Program]) -> anyhow::Result<Weights> {
        for (i, weight) in given.iter().enumerate() {
            if given[..i].iter().any(|earlier| (&earlier.task, &earlier.name) == (&weight.task, &weight.name))
            {
                let task = weight.task.as_ref().map(|task| format!("{task}:")).unwrap_or_default();
                return Err(r1_cli::misuse(
                    format!("--reward {task}{} is given twice", weight.name),
                    "give each part one weight",
                ));
            }
        }
        for (i, program) in programs.iter().enumerate() {
            let known = !matches!(Part::from_name(&program.name), Part::Judged(_));
            if known || programs[..i].iter().any(|earlier| earlier.name == program.name) {
                return Err(r1_cli::misuse(
                    format!("--exec {}: the name `{}` is taken", program.path.display(), program.name),
                    "name its part: --exec NAME=PROGRAM",
                ));
            }
        }
        let part = |name: &str| match programs.iter().any(|program| program.name == name) {
            true => Part::Program(name.to_string()),
            false => Part::from_name(name),
        };
        let mut weights = Weights { all: Vec::new(), by_task: Vec::new() };
        for weight in given.iter().filter(|weight| weight.task.is_none()) {
            weights.all.push((part(&weight.name), weight.weight));
        }
        for program in programs {
            if !given.iter().any(|weight| weight.name == program.name) {
                weights.all.push((part(&program.name), 1.0));
            }
        }
        for weight in given {
            let Some(task) = &weight.task else { continue };
            let at = match weights.by_task.iter().position(|(known, _)| known == task) {
                Some(at) => at,
                None => {
                    weights.by_task.push((task.clone(), weights.all.clone()));
                    weights.by_task.len() - 1
                }
            };
            let (parts, part) = (&mut weights.by_task[at].1, part(&weight.name));
            match parts.iter_mut().find(|(known, _)| *known == part) {
                Some((_, general)) => *general = weight.weight,
                None => parts.push((part, weight.weight)),
            }
        }
        Ok(weights)
    }

    /// Those for rows of a task.
    pub fn of(&self, task: &str) -> &[(Part, f64)] {
        self.by_task.iter().find(|(known, _)| known == task).map_or(&self.all, |(_, parts)| parts)
    }

    /// Whether any row is judged by this part.
    pub fn names(&self, part: &Part) -> bool {
        let mut parts = self.all.iter().chain(self.by_task.iter().flat_map(|(_, parts)| parts));
        parts.any(|(known, _)| known == part)
    }
}

/// The tasks that rows may have.
const TASKS: [&str; 9] =
    ["math", "choice", "exact", "regex", "countdown", "reasoning_gym", "json", "code", "general"];

/// `[TASK:]NAME=WEIGHT`; a name alone weighs 1.
pub fn weight(text: &str) -> Result<Weight, String> {
    let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
    let (task, name) = match name.split_once(':') {
        Some((task, name)) => (Some(task.to_string()), name),
        None => (None, name),
    };
    if task.as_ref().is_some_and(String::is_empty) {
        return Err(format!("no task before the colon; such as {}", TASKS.join(", ")));
    }
    if !is_name(name) {
        return Err(format!("{name:?} is no name of a reward: small letters, digits and _ only"));
    }
    if matches!(name, "total" | "answer") {
        return Err(format!("`{name}` is a key of the reward itself and cannot be a part"));
    }
    let weight: f64 = weight.parse().map_err(|_| format!("{weight:?} is no number"))?;
    if !weight.is_finite() {
        return Err("a weight must be finite".to_string());
    }
    Ok(Weight { task, name: name.to_string(), weight })
}

/// `[NAME=]PROGRAM`; without a name, that of the file, in small letters and without its ending.
pub fn program(text: &str) -> Result<Program, String> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if is_name(name) => (name.to_string(), Path::new(path)),
        _ => {
            let path = Path::new(text);
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
            (stem.replace(['-', '.', ' '], "_"), path)
        }
    };
    if !is_name(&name) || matches!(name.as_str(), "total" | "answer") {
        return Err(format!("{name:?} is no name of a reward; write NAME={}", path.display()));
    }
    if path.as_os_str().is_empty() {
        return Err("no program behind the name".to_string());
    }
    Ok(Program { name, path: path.to_path_buf() })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_names_and_finite_numbers() {
        let plain = |text: &str| weight(text).map(|w| (w.task, w.name, w.weight)).unwrap();
        assert_eq!(plain("accuracy=1"), (None, "accuracy".into(), 1.0));
        assert_eq!(plain("format"), (None, "format".into(), 1.0));
        assert_eq!(plain("cosine_length=-0.5"), (None, "cosine_length".into(), -0.5));
        assert_eq!(plain("math:accuracy=2"), (Some("math".into()), "accuracy".into(), 2.0));
        for bad in [
            "=1",
            "accuracy=",
            "accuracy=nan",
            "accuracy=inf",
            "total=1",
            "answer=1",
            "Accuracy=1",
            "a b=1",
            ":accuracy=1",
            "math:=1",
            "math:total=1",
        ] {
            assert!(weight(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_task_has_its_own_weights() {
        let given =
            ["accuracy=1", "format=0.5", "math:accuracy=2", "code:helpful=3"].map(|w| weight(w).unwrap());
        let mine = program("scripts/My-judge.py").unwrap();
        assert_eq!(mine.name, "my_judge");
        let weights = Weights::new(&given, &[mine]).unwrap();
        let of = |task: &str| weights.of(task).iter().map(|(p, w)| (p.name(), *w)).collect::<Vec<_>>();
        assert_eq!(of("general"), [("accuracy", 1.0), ("format", 0.5), ("my_judge", 1.0)]);
        assert_eq!(of("math"), [("accuracy", 2.0), ("format", 0.5), ("my_judge", 1.0)]);
        assert_eq!(of("code"), [("accuracy", 1.0), ("format", 0.5), ("my_judge", 1.0), ("helpful", 3.0)]);
        assert!(weights.names(&Part::Judged("helpful".into())) && !weights.names(&Part::Language));
        let taken = [program("format=/bin/true").unwrap()];
        assert!(Weights::new(&given, &taken).is_err());
        assert!(program("=x").is_err() && program("a=").is_err() && program("total=x").is_err());
    }
}
