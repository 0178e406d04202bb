//! A single chart as a file of its own: `--y NAME … -o x.svg`.

use crate::curve::{Frame, POINTS};
use crate::markup::escape;
use crate::series::{Point, thinned};
use std::fmt::Write;

/// Follows the reader's choice of a light or dark ground.
const STYLE: &str = "\
svg{font:12px system-ui,sans-serif;background:#fff}text{fill:#5c6370}.title{fill:#1c2024;font-weight:600}\
.grid{stroke:#e6e8eb}.curve{fill:none;stroke-width:1.75;stroke-linejoin:round}.reach{opacity:.15}\
.curve.c0{stroke:#2b6cb0}.curve.c1{stroke:#c05621}.curve.c2{stroke:#2f855a}.curve.c3{stroke:#805ad5}.curve.c4{stroke:#b83280}\
.curve.c5{stroke:#718096}.fill.c0,.dot.c0,.reach.c0{fill:#2b6cb0}.fill.c1,.dot.c1,.reach.c1{fill:#c05621}\
.fill.c2,.dot.c2,.reach.c2{fill:#2f855a}.fill.c3,.dot.c3,.reach.c3{fill:#805ad5}.fill.c4,.dot.c4,.reach.c4{fill:#b83280}\
.fill.c5,.dot.c5,.reach.c5{fill:#718096}\
@media(prefers-color-scheme:dark){svg{background:#15181c}text{fill:#9aa3ad}.title{fill:#e8eaed}.grid{stroke:#2a2f36}}";

/// The number of colours.
const COLOURS: usize = 6;

/// Curves with their names, over `x`. Nothing where no curve has a point.
pub fn chart(title: &str, x: &str, curves: &[(String, &[(f64, f64)])]) -> Option<String> {
    let thin: Vec<(&str, Vec<Point>)> = curves
        .iter()
        .filter(|(_, points)| !points.is_empty())
        .map(|(name, points)| (name.as_str(), thinned(points, 2 * POINTS)))
        .collect();
    if thin.is_empty() {
        return None;
    }
    let (width, rows) = (720.0, thin.len() as f64);
    let top = 36.0 + 18.0 * rows;
    let mut frame =
        Frame::around([64.0, top, width - 84.0, 320.0], thin.iter().map(|(_, points)| points.as_slice()));
    frame.reach(curves.iter().flat_map(|(_, points)| *points));
    let height = top + 320.0 + 36.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\
         <style>{STYLE}</style><text class=\"title\" x=\"20\" y=\"24\">{}</text>",
        escape(title)
    );
    for (at, (name, _)) in thin.iter().enumerate() {
        let y = 44.0 + 18.0 * at as f64;
        let _ = write!(
            svg,
            "<rect class=\"fill c{}\" x=\"20\" y=\"{}\" width=\"14\" height=\"3\"/><text x=\"42\" y=\"{y}\">{}</text>",
            at % COLOURS,
            y - 6.0,
            escape(name)
        );
    }
    svg.push_str(&frame.axes(6));
    for (at, (name, points)) in thin.iter().enumerate() {
        svg.push_str(&frame.curve(at % COLOURS, name, points));
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text></svg>",
        64.0 + (width - 84.0) / 2.0,
        height - 22.0,
        escape(x)
    );
    Some(svg)
}
