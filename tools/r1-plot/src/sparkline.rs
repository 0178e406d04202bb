//! Curves in a line of text.

use crate::number::short;
use crate::series::{Metrics, thinned};

/// Cells of a line.
const WIDTH: usize = 40;

/// One line a metric: name, first value, curve, last value, reach.
pub fn lines(metrics: &Metrics, names: &[String]) -> String {
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for name in names {
        let points = metrics.get(name);
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let low = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        text.push_str(&format!(
            "{name:width$}  {:>8} {} {:<8}  {} to {}\n",
            short(first.1),
            curve(points),
            short(last.1),
            short(low),
            short(high)
        ));
    }
    text
}

/// The curve from its smallest value to its largest; a flat one lies at the bottom.
pub fn curve(points: &[(f64, f64)]) -> String {
    let points = thinned(points, WIDTH);
    let low = points.iter().map(|p| p.y).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.y).fold(f64::NEG_INFINITY, f64::max);
    let height = |y: f64| if high > low { ((y - low) / (high - low) * 7.0).round() as usize } else { 0 };
    points.iter().filter_map(|point| "▁▂▃▄▅▆▇█".chars().nth(height(point.y))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_rise() {
        let points: Vec<(f64, f64)> = (0..8).map(|x| (f64::from(x), f64::from(x))).collect();
        assert_eq!(curve(&points), "▁▂▃▄▅▆▇█");
        assert_eq!((curve(&[(0.0, 5.0); 3]), curve(&[])), ("▁▁▁".to_string(), String::new()));
        let many: Vec<(f64, f64)> = (0..999).map(|x| (f64::from(x), 0.5)).collect();
        assert!(curve(&many).chars().count() <= WIDTH);
    }
}
