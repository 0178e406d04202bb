//! The results: as a table for a person, as JSON for a program.

use serde_json::{Map, Value, json};

/// A share of prompts with its intervals.
#[derive(Clone, Debug)]
pub struct Measured {
    /// `pass@1`, `cons@8` …
    pub name: String,
    /// The mean over prompts.
    pub value: f64,
    /// Cluster bootstrap, 95 %.
    pub bootstrap: [f64; 2],
    /// Wilson, 95 %, over all samples; only for pass@1.
    pub wilson: Option<[f64; 2]>,
}

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
    /// Shares with intervals.
    pub measured: Vec<Measured>,
    /// Plain means: names and values.
    pub means: Vec<(&'static str, f64)>,
}

impl Entry {
    /// One JSON object.
    pub fn json(&self, column: Option<&str>) -> Value {
        let mut object = Map::new();
        object.insert("file".to_string(), json!(self.file));
        if let (Some(column), Some(value)) = (column, &self.by) {
            object.insert("by".to_string(), json!({ column: value }));
        }
        object.insert("prompts".to_string(), json!(self.prompts));
        object.insert("samples".to_string(), json!(self.samples));
        object.insert("unjudged".to_string(), json!(self.unjudged));
        for measured in &self.measured {
            let mut value = Map::new();
            value.insert("value".to_string(), json!(measured.value));
            value.insert("bootstrap".to_string(), json!(measured.bootstrap));
            if let Some(wilson) = measured.wilson {
                value.insert("wilson".to_string(), json!(wilson));
            }
            object.insert(measured.name.clone(), Value::Object(value));
        }
        for (name, value) in &self.means {
            object.insert((*name).to_string(), json!(value));
        }
        Value::Object(object)
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
        for measured in &self.measured {
            // One sample a prompt: the tries are independent, and Wilson holds also at 0 and 1, where resampling sees nothing.
            let interval = match measured.wilson {
                Some(wilson) if self.samples == self.prompts => wilson,
                _ => measured.bootstrap,
            };
            let [low, high] = interval.map(|bound| 100.0 * bound);
            cells.push((
                measured.name.clone(),
                format!("{:.1} [{low:.1}, {high:.1}]", 100.0 * measured.value),
            ));
        }
        for (name, value) in &self.means {
            let text = match *name {
                "finished" | "format" => format!("{:.1}", 100.0 * value),
                "reward" => format!("{value:.3}"),
                _ => format!("{value:.1}"),
            };
            cells.push(((*name).to_string(), text));
        }
        cells
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
    let labels = usize::from(many_files) + usize::from(column.is_some());
    let widths: Vec<usize> = (0..names.len())
        .map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in &lines {
        for (at, cell) in line.iter().enumerate() {
            let padding = " ".repeat(widths[at] - cell.chars().count());
            let gap = if at == 0 { "" } else { "  " };
            // Labels stand to the left, numbers to the right.
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
        let measured =
            |value| Measured { name: "pass@1".into(), value, bootstrap: [0.25, 0.75], wilson: None };
        let entry = |by: Option<&str>, value| Entry {
            file: "a".into(),
            by: by.map(str::to_string),
            prompts: 2,
            samples: 8,
            measured: vec![measured(value)],
            means: if by.is_none() { vec![("format", 1.0)] } else { vec![] },
            ..Entry::default()
        };
        let text = render(&[entry(None, 0.5), entry(Some("b"), 1.0)], Some("task"), false);
        assert_eq!(
            text,
            "task   prompts  samples              pass@1  format\n\
             (all)        2        8   50.0 [25.0, 75.0]   100.0\n\
             b            2        8  100.0 [25.0, 75.0]       -\n"
        );
    }
}
