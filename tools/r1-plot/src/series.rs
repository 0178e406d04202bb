//! Metrics: JSON lines of numbers, each name a column over the steps.

use r1_cli::Input;
use r1_records::Reader;
use serde_json::Value;

/// A file of metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Lines.
    pub lines: u64,
    names: Vec<String>,
    columns: Vec<Vec<(f64, f64)>>,
}

impl Metrics {
    /// Reads the file: each number of a line is a point over the line's `x`; a line without it stands at its own number. What is no
    /// number is passed over.
    pub fn read(input: &Input, reader: impl std::io::BufRead, x: &str) -> anyhow::Result<Metrics> {
        let mut metrics = Metrics::default();
        for row in Reader::new(reader) {
            let row = row.map_err(|error| input.blame(error))?;
            metrics.lines += 1;
            let values: Vec<(&str, Value)> = row
                .names()
                .filter_map(|name| Some((name, serde_json::from_str(row.raw(name)?).ok()?)))
                .collect();
            let at = values.iter().find(|(name, _)| *name == x).and_then(|(_, value)| value.as_f64());
            let at = at.unwrap_or(metrics.lines as f64);
            for (name, value) in values {
                if let Some(value) = value.as_f64() {
                    metrics.add(name, at, value);
                }
            }
        }
        Ok(metrics)
    }

    fn add(&mut self, name: &str, x: f64, y: f64) {
        let at = match self.names.iter().position(|known| known == name) {
            Some(at) => at,
            None => {
                self.names.push(name.to_string());
                self.columns.push(Vec::new());
                self.names.len() - 1
            }
        };
        self.columns[at].push((x, y));
    }

    /// The names, in the order in which they first came.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The points of a name; none where it is not there.
    pub fn get(&self, name: &str) -> &[(f64, f64)] {
        self.names.iter().position(|known| known == name).map_or(&[], |at| &self.columns[at])
    }

    /// The sum of a column.
    pub fn sum(&self, name: &str) -> f64 {
        self.get(name).iter().map(|(_, y)| y).sum()
    }
}

/// Some neighbouring points as one: their middle and mean, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Mean of x.
    pub x: f64,
    /// Mean of y.
    pub y: f64,
    /// Smallest y.
    pub low: f64,
    /// Largest y.
    pub high: f64,
}

/// At most `most` points: neighbours are averaged in equal numbers, and their reach is kept, so that a spike stays to be seen.
pub fn thinned(points: &[(f64, f64)], most: usize) -> Vec<Point> {
    let each = points.len().div_ceil(most.max(1)).max(1);
    let join = |some: &[(f64, f64)]| Point {
        x: some.iter().map(|p| p.0).sum::<f64>() / some.len() as f64,
        y: some.iter().map(|p| p.1).sum::<f64>() / some.len() as f64,
        low: some.iter().map(|p| p.1).fold(f64::INFINITY, f64::min),
        high: some.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max),
    };
    points.chunks(each).map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_a_point() {
        let text =
            "{\"step\":2,\"loss\":0.5,\"name\":\"x\"}\n{\"loss\":1}\n{\"step\":4,\"kl\":0,\"list\":[1]}\n";
        let metrics = Metrics::read(&Input::default(), text.as_bytes(), "step").unwrap();
        assert_eq!(metrics.names(), ["step", "loss", "kl"]);
        assert_eq!(
            (metrics.get("loss"), metrics.get("kl")),
            (&[(2.0, 0.5), (2.0, 1.0)][..], &[(4.0, 0.0)][..])
        );
        assert!(metrics.get("none").is_empty());
        assert_eq!((metrics.lines, metrics.sum("loss")), (3, 1.5));
    }

    #[test]
    fn spikes_stay() {
        let points: Vec<(f64, f64)> =
            (0..1000).map(|x| (f64::from(x), if x == 333 { 9.0 } else { 1.0 })).collect();
        let thin = thinned(&points, 300);
        assert!(thin.len() <= 300 && thin.iter().any(|point| point.high == 9.0 && point.low == 1.0));
        assert_eq!(thinned(&points[..3], 300).len(), 3);
        assert!(thinned(&[], 300).is_empty());
    }
}
