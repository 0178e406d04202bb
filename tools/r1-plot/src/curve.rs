//! A curve in a frame: the geometry that the small panels of the report and the single charts share.

use crate::markup::escape;
use crate::number::{short, ticks, widened};
use crate::series::{Point, thinned};
use std::fmt::Write;

/// Points of a curve at most; more are averaged.
pub const POINTS: usize = 240;

/// A rectangle of the drawing, in pixels, and the values at its edges.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Left edge, top edge, width, height.
    pub area: [f64; 4],
    /// Values at the left and right edge.
    pub x: (f64, f64),
    /// Values at the lower and upper edge.
    pub y: (f64, f64),
}

impl Frame {
    /// The frame in which all points can be seen, with a little room; from 0 where the values come near it.
    pub fn around<'a>(area: [f64; 4], curves: impl Iterator<Item = &'a [Point]>) -> Frame {
        let (mut x, mut y) = ([f64::INFINITY, f64::NEG_INFINITY], [f64::INFINITY, f64::NEG_INFINITY]);
        for point in curves.flatten() {
            x = [x[0].min(point.x), x[1].max(point.x)];
            y = [y[0].min(point.low), y[1].max(point.high)];
        }
        let (mut low, high) = widened(y[0], y[1]);
        if low > 0.0 && low < 0.4 * high {
            low = 0.0;
        }
        let room = 0.06 * (high - low);
        Frame { area, x: widened(x[0], x[1]), y: (if low == 0.0 { 0.0 } else { low - room }, high + room) }
    }

    /// From the first x to the last, where the middles of averaged points do not reach them.
    pub fn reach<'a>(&mut self, points: impl Iterator<Item = &'a (f64, f64)>) {
        let ends = points.fold(self.x, |(low, high), (x, _)| (low.min(*x), high.max(*x)));
        self.x = ends;
    }

    /// Where a value stands, in pixels.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [left, top, width, height] = self.area;
        let (across, up) = ((x - self.x.0) / (self.x.1 - self.x.0), (y - self.y.0) / (self.y.1 - self.y.0));
        (left + across * width, top + (1.0 - up) * height)
    }

    /// Horizontal lines at round values, with the values before them; the ends of x below.
    pub fn axes(&self, marks: usize) -> String {
        let [left, top, width, height] = self.area;
        let mut svg = String::new();
        for mark in ticks(self.y.0, self.y.1, marks) {
            let y = self.at(self.x.0, mark).1;
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text>",
                left + width,
                left - 6.0,
                y + 3.5,
                short(mark)
            );
        }
        let below = top + height + 14.0;
        let _ = write!(
            svg,
            "<text x=\"{left}\" y=\"{below}\">{}</text><text x=\"{}\" y=\"{below}\" text-anchor=\"end\">{}</text>",
            short(self.x.0),
            left + width,
            short(self.x.1)
        );
        svg
    }

    /// A curve as a path that knows its values (`data-p`), with the reach of averaged points behind it; its points too where they
    /// are few.
    pub fn curve(&self, class: usize, name: &str, points: &[Point]) -> String {
        let mut svg = String::new();
        if points.iter().any(|point| point.high > point.low) {
            let there = points.iter().map(|p| self.at(p.x, p.high));
            let back = points.iter().rev().map(|p| self.at(p.x, p.low));
            let _ = write!(svg, "<path class=\"reach c{class}\" d=\"{}Z\"/>", line(there.chain(back)));
        }
        let values: Vec<String> = points.iter().map(|p| format!("{} {}", short(p.x), short(p.y))).collect();
        let _ = write!(
            svg,
            "<path class=\"curve c{class}\" data-n=\"{}\" data-p=\"{}\" d=\"{}\"/>",
            escape(name),
            values.join(","),
            line(points.iter().map(|p| self.at(p.x, p.y)))
        );
        if points.len() <= 12 {
            for (x, y) in points.iter().map(|p| self.at(p.x, p.y)) {
                let _ = write!(svg, "<circle class=\"dot c{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>");
            }
        }
        svg
    }
}

/// Path commands through these places.
fn line(places: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (at, (x, y)) in places.enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' });
    }
    path
}

/// A small panel of the report: a title, first and last value, the curves. Nothing where there are no points.
pub fn panel(title: &str, curves: &[(&str, &[(f64, f64)])]) -> Option<String> {
    let thin: Vec<(&str, Vec<Point>)> = curves
        .iter()
        .filter(|(_, points)| !points.is_empty())
        .map(|(name, points)| (*name, thinned(points, POINTS)))
        .collect();
    let first = thin.first()?;
    let mut frame = Frame::around([44.0, 8.0, 228.0, 96.0], thin.iter().map(|(_, points)| points.as_slice()));
    frame.reach(curves.iter().flat_map(|(_, points)| *points));
    let mut lines = String::new();
    for (class, (name, points)) in thin.iter().enumerate() {
        lines.push_str(&frame.curve(class, name, points));
    }
    let (from, to) = (first.1.first()?.y, first.1.last()?.y);
    let change = if thin.len() > 1 {
        let names: Vec<String> = thin
            .iter()
            .enumerate()
            .map(|(at, (name, _))| format!("<b class=\"k{at}\">{}</b>", escape(name)))
            .collect();
        names.join(" ")
    } else if first.1.len() == 1 {
        short(to)
    } else {
        format!("{} → {}", short(from), short(to))
    };
    Some(format!(
        "<figure><figcaption>{}<span>{change}</span></figcaption><svg class=\"panel\" viewBox=\"0 0 280 124\" role=\"img\" \
         aria-label=\"{}: {} to {}\">{}{lines}</svg></figure>",
        escape(title),
        escape(title),
        short(from),
        short(to),
        frame.axes(3)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_within_the_frame() {
        let points = thinned(&[(1.0, 0.0), (2.0, 5.0), (3.0, 10.0)], 10);
        let frame = Frame::around([10.0, 20.0, 100.0, 50.0], [points.as_slice()].into_iter());
        assert_eq!(frame.y.0, 0.0);
        assert_eq!(frame.at(1.0, 0.0), (10.0, 70.0));
        let (x, y) = frame.at(3.0, 10.0);
        assert!(x == 110.0 && y > 20.0 && y < 30.0, "{x} {y}");
        let flat = panel("clip", &[("clip", &[(1.0, 0.0), (2.0, 0.0)])]).unwrap();
        assert!(!flat.contains("NaN") && !flat.contains("inf"), "{flat}");
        let one = panel("a<b", &[("x", &[(1.0, 3.0)])]).unwrap();
        assert!(one.contains("a&lt;b") && one.contains("<circle") && !one.contains("NaN"), "{one}");
        assert!(panel("none", &[("x", &[])]).is_none());
    }
}
