//! The results: as a table for a person, as one line, as JSON for a program.

use r1_measure::{Measure, Measured};
use serde_json::{Map, Value, json};

/// One row of the table.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Which file.
    pub file: String,
    /// Which value of the column `--by`, where this is not the row for all.
    pub by: Option<String>,
    /// Prompts with at least one judged completion.
    pub prompts: usize,
    /// Judged completions.
    pub samples: usize,
    /// Completions without an accuracy.
    pub unjudged: usize,
    /// pass@k and cons@k.
    pub shares: Vec<Measured>,
    /// For each k of cons@k, the prompts whose majority was tied.
    pub ties: Vec<(usize, usize)>,
    /// Means over all completions.
    pub means: Vec<Measured>,
    /// The distinct (temperature, top-p) of the completions, where they say.
    pub drawn: Vec<(f32, f32)>,
    /// The values of k.
    pub ks: Vec<usize>,
}

impl Entry {
    /// One JSON object: the shares as objects with their intervals, the means as numbers with their intervals under `intervals`.
    pub fn json(&self, column: Option<&str>) -> Value {
        let mut object = Map::new();
        object.insert("file".to_string(), json!(self.file));
        if let (Some(column), Some(value)) = (column, &self.by) {
            object.insert("by".to_string(), json!({ column: value }));
        }
        object.insert("prompts".to_string(), json!(self.prompts));
        object.insert("samples".to_string(), json!(self.samples));
        object.insert("unjudged".to_string(), json!(self.unjudged));
        for measured in &self.shares {
            let mut value = json!({"value": measured.value, "bootstrap": measured.bootstrap});
            if let Some(wilson) = measured.wilson {
                value["wilson"] = json!(wilson);
            }
            if let Some((_, ties)) =
                self.ties.iter().find(|(k, _)| measured.measure == Measure::Consensus(*k))
            {
                value["ties"] = json!(ties);
            }
            object.insert(measured.measure.name(), value);
        }
        for measured in &self.means {
            object.insert(measured.measure.name(), json!(measured.value));
        }
        let intervals: Map<String, Value> =
            self.means.iter().map(|m| (m.measure.name(), json!(m.bootstrap))).collect();
        object.insert("intervals".to_string(), Value::Object(intervals));
        if let [(temperature, top_p)] = self.drawn[..] {
            object.insert("temperature".to_string(), as_written(temperature));
            object.insert("top_p".to_string(), as_written(top_p));
        }
        Value::Object(object)
    }

    /// One line: where, what of how many, how drawn.
    pub fn line(&self) -> String {
        let mut words = vec![match &self.by {
            Some(value) => format!("{} ({value}):", self.file),
            None => format!("{}:", self.file),
        }];
        for (name, text) in self.measures() {
            words.push(format!("{name} {text},"));
        }
        words.push(format!("{} prompts, {} samples", self.prompts, self.samples));
        if let [(temperature, top_p)] = self.drawn[..] {
            words.push(format!("at temperature {temperature}, top-p {top_p}"));
        } else if self.drawn.len() > 1 {
            words.push(format!("drawn in {} ways", self.drawn.len()));
        }
        words.join(" ")
    }

    /// Names and values, shares in percent.
    fn measures(&self) -> Vec<(String, String)> {
        let mut cells = Vec::new();
        for measured in &self.shares {
            // One sample a prompt: the tries are independent, and Wilson holds also at 0 and 1, where resampling sees nothing.
            let interval = match measured.wilson {
                Some(wilson) if self.samples == self.prompts => wilson,
                _ => measured.bootstrap,
            };
            let [low, high] = interval.map(|bound| 100.0 * bound);
            cells.push((
                measured.measure.name(),
                format!("{:.1} [{low:.1}, {high:.1}]", 100.0 * measured.value),
            ));
        }
        for Measured { measure, value, .. } in &self.means {
            cells.push((measure.name(), number(*measure, *value)));
        }
        cells
    }

    /// The cells of the table row, with their column's name.
    fn cells(&self, column: Option<&str>, many_files: bool) -> Vec<(String, String)> {
        let mut cells = Vec::new();
        if many_files {
            cells.push(("file".to_string(), self.file.clone()));
        }
        if let Some(column) = column {
            cells.push((column.to_string(), self.by.clone().unwrap_or_else(|| "(all)".to_string())));
        }
        cells.push(("prompts".to_string(), self.prompts.to_string()));
        cells.push(("samples".to_string(), self.samples.to_string()));
        cells.extend(self.measures());
        cells
    }
}

/// An f32 in its own shortest digits: 0.6, not the f64 next to it.
fn as_written(value: f32) -> Value {
    json!(value.to_string().parse::<f64>().unwrap_or(f64::from(value)))
}

/// A value for a person: shares in percent, rewards with three digits.
pub fn number(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Reward => format!("{value:.3}"),
        _ if measure.is_share() => format!("{:.1}", 100.0 * value),
        _ => format!("{value:.1}"),
    }
}

/// A table with aligned columns; shares in percent. Entries may lack columns that others have.
pub fn render(entries: &[Entry], column: Option<&str>, many_files: bool) -> String {
    let rows: Vec<Vec<(String, String)>> =
        entries.iter().map(|entry| entry.cells(column, many_files)).collect();
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let cell = |row: &[(String, String)], name: &str| {
        row.iter().find(|(known, _)| known == name).map_or_else(|| "-".to_string(), |(_, text)| text.clone())
    };
    let mut lines: Vec<Vec<String>> = vec![names.iter().map(|name| (*name).to_string()).collect()];
    lines.extend(rows.iter().map(|row| names.iter().map(|name| cell(row, name)).collect()));
    aligned(&lines, usize::from(many_files) + usize::from(column.is_some()))
}

/// Lines of cells with aligned columns, of which the first `labels` stand to the left and the others, numbers, to the right.
pub fn aligned(lines: &[Vec<String>], labels: usize) -> String {
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        for (at, cell) in line.iter().enumerate() {
            let padding = " ".repeat(widths[at] - cell.chars().count());
            let gap = if at == 0 { "" } else { "  " };
            text.push_str(&if at < labels {
                format!("{gap}{cell}{padding}")
            } else {
                format!("{gap}{padding}{cell}")
            });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let measured = |measure, value| Measured { measure, value, bootstrap: [0.25, 0.75], wilson: None };
        let entry = |by: Option<&str>, value| Entry {
            file: "a".into(),
            by: by.map(str::to_string),
            prompts: 2,
            samples: 8,
            shares: vec![measured(Measure::Pass(1), value)],
            means: if by.is_none() { vec![measured(Measure::Format, 1.0)] } else { vec![] },
            drawn: vec![(0.6, 0.95)],
            ..Entry::default()
        };
        let entries = [entry(None, 0.5), entry(Some("b"), 1.0)];
        assert_eq!(
            render(&entries, Some("task"), false),
            "task   prompts  samples              pass@1  format\n\
             (all)        2        8   50.0 [25.0, 75.0]   100.0\n\
             b            2        8  100.0 [25.0, 75.0]       -\n"
        );
        assert_eq!(
            entries[0].line(),
            "a: pass@1 50.0 [25.0, 75.0], format 100.0, 2 prompts, 8 samples at temperature 0.6, top-p 0.95"
        );
    }
}
