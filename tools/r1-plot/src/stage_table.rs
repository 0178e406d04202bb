//! The stage table, like the paper's: one line a policy.

use crate::evaluation::Evaluated;
use crate::markup::escape;
use r1_measure::{Measure, Measured};
use std::fmt::Write;

/// What the columns mean, in one sentence each.
const NOTE: &str = "pass@1 is the share of correct completions; brackets and bars are 95 % intervals (bootstrap over prompts). \
The change is against the stage above, on the same prompts (paired; students against the last stage), with the exact sign test’s p.";

/// The table as HTML; nothing where nothing was evaluated.
pub fn html(rows: &[Evaluated]) -> String {
    if rows.is_empty() {
        return "<p class=\"absent\">Nothing was evaluated yet: eval/ has no judged completions.</p>"
            .to_string();
    }
    let consensus = rows.iter().find_map(|row| row.consensus.as_ref()).map(|c| c.measure.name());
    let language = rows.iter().any(|row| row.mean(Measure::Language).is_some());
    let mut html = String::from(
        "<div class=\"wide\"><table class=\"stages\"><thead><tr><th>policy</th><th class=\"plot\">pass@1</th><th></th><th>change</th>",
    );
    if let Some(name) = &consensus {
        let _ = write!(html, "<th>{name}</th>");
    }
    html.push_str("<th>format</th>");
    if language {
        html.push_str("<th>language</th>");
    }
    html.push_str("<th>tokens</th><th>ended</th><th>prompts × samples</th></tr></thead><tbody>");
    for row in rows {
        let class = if row.of.student { " class=\"student\"" } else { "" };
        let file =
            row.of.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let _ =
            write!(html, "<tr{class}><th title=\"eval/{}\">{}</th>", escape(&file), escape(&row.of.title));
        match &row.pass {
            Some(pass) => {
                let [low, high] = interval(row, pass);
                let _ = write!(
                    html,
                    "<td class=\"plot\">{}</td><td><b>{:.1}</b> <small>[{:.1}, {:.1}]</small></td>",
                    whisker(pass.value, low, high),
                    100.0 * pass.value,
                    100.0 * low,
                    100.0 * high
                );
            }
            None => html.push_str("<td class=\"plot\"></td><td class=\"absent\">not judged</td>"),
        }
        match &row.against {
            Some((title, found)) => {
                let [low, high] = found.bootstrap.map(|bound| 100.0 * bound);
                let sure = if low > 0.0 {
                    "up"
                } else if high < 0.0 {
                    "down"
                } else {
                    "level"
                };
                let _ = write!(
                    html,
                    "<td class=\"{sure}\" title=\"against {}: better on {}, worse on {}, equal on {}; sign test p {}\">{} \
                     <small>[{}, {}]</small></td>",
                    escape(title),
                    found.better,
                    found.worse,
                    found.equal,
                    p_value(found.p),
                    signed(100.0 * found.difference),
                    signed(low),
                    signed(high)
                );
            }
            None => html.push_str("<td></td>"),
        }
        let percent = |value: Option<f64>| match value {
            Some(value) => format!("<td>{:.1}</td>", 100.0 * value),
            None => "<td class=\"absent\">–</td>".to_string(),
        };
        if consensus.is_some() {
            html.push_str(&percent(row.consensus.as_ref().map(|found| found.value)));
        }
        html.push_str(&percent(row.mean(Measure::Format)));
        if language {
            html.push_str(&percent(row.mean(Measure::Language)));
        }
        match row.mean(Measure::Tokens) {
            Some(tokens) => {
                let _ = write!(html, "<td>{tokens:.1}</td>");
            }
            None => html.push_str("<td class=\"absent\">–</td>"),
        }
        html.push_str(&percent(row.mean(Measure::Finished)));
        let _ = write!(html, "<td>{}</td></tr>", amount(row));
    }
    let _ = write!(html, "</tbody></table></div><p class=\"note\">{NOTE}</p>");
    html
}

/// The table as text.
pub fn text(rows: &[Evaluated]) -> String {
    let width = rows.iter().map(|row| row.of.title.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let _ = write!(text, "{:width$}", row.of.title);
        if let Some(pass) = &row.pass {
            let [low, high] = interval(row, pass).map(|bound| 100.0 * bound);
            let filled = (20.0 * pass.value).round() as usize;
            let bar = "█".repeat(filled) + &"░".repeat(20 - filled.min(20));
            let _ = write!(text, "  pass@1 {:>5.1} {bar} [{low:.1}, {high:.1}]", 100.0 * pass.value);
        }
        for (measure, name) in [(Measure::Format, "format"), (Measure::Language, "language")] {
            if let Some(value) = row.mean(measure) {
                let _ = write!(text, "  {name} {:.1}", 100.0 * value);
            }
        }
        if let Some(tokens) = row.mean(Measure::Tokens) {
            let _ = write!(text, "  tokens {tokens:.1}");
        }
        text.push('\n');
    }
    text
}

/// Wilson where each prompt has one sample, else the bootstrap, as r1-eval shows them.
fn interval(row: &Evaluated, pass: &Measured) -> [f64; 2] {
    let judged = row.prompts.iter().filter(|prompt| !prompt.samples.is_empty()).count();
    match pass.wilson {
        Some(wilson) if row.samples() == judged => wilson,
        _ => pass.bootstrap,
    }
}

/// A value between 0 and 1 with its interval, on a line.
fn whisker(value: f64, low: f64, high: f64) -> String {
    let x = |share: f64| 4.0 + 152.0 * share;
    format!(
        "<svg class=\"whisker\" viewBox=\"0 0 160 16\" aria-hidden=\"true\"><line class=\"grid\" x1=\"4\" x2=\"156\" y1=\"8\" y2=\"8\"/>\
         <line class=\"span\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"8\" y2=\"8\"/><circle cx=\"{:.1}\" cy=\"8\" r=\"4\"/></svg>",
        x(low),
        x(high),
        x(value)
    )
}

fn amount(row: &Evaluated) -> String {
    let (prompts, samples) = (row.prompts.len(), row.samples());
    match prompts {
        0 => "0".to_string(),
        _ if samples.is_multiple_of(prompts) => format!("{prompts} × {}", samples / prompts),
        _ => format!("{prompts}, {samples} in all"),
    }
}

fn signed(value: f64) -> String {
    format!("{value:+.1}").replace('-', "\u{2212}")
}

fn p_value(p: f64) -> String {
    if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.0e}") }
}
