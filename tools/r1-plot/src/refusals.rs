//! What r1-reject refused, and why: its report as bars with the first of each reason.

use crate::markup::{escape, excerpt};
use crate::number::count;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

/// A report larger than this is not one of r1-reject.
const LARGEST: u64 = 4 << 20;

/// The report as HTML; nothing where the file is none.
pub fn html(file: &Path) -> Option<String> {
    if file.metadata().ok()?.len() > LARGEST {
        return None;
    }
    let report: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    let (rows, kept) = (report["rows"].as_u64()?, report["kept"].as_u64()?);
    let refused = report["refused"].as_object()?;
    let number = |key: &str| report[key].as_u64().map(count).unwrap_or_default();
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut html = format!(
        "<p>{} of {} completions kept, for {} of {} prompts <small>({})</small></p><div class=\"bars\">{}",
        count(kept),
        count(rows),
        number("groups_kept"),
        number("groups"),
        escape(&name),
        bar("kept", kept, rows, "kept", "")
    );
    for (reason, entry) in refused {
        let mut examples = String::new();
        // Reports of one specimen a reason call it `first`.
        let shown = entry["examples"].as_array().cloned().unwrap_or_else(|| vec![entry["first"].clone()]);
        for example in &shown {
            let text = |key: &str| example[key].as_str().unwrap_or_default();
            let _ = write!(
                examples,
                "<div class=\"said\"><span class=\"who\">{}</span><p><em>{}</em>\n{}</p></div>",
                escape(text("id")),
                escape(text("found")),
                excerpt(text("completion"), 400)
            );
        }
        html.push_str(&bar(reason, entry["count"].as_u64().unwrap_or(0), rows, "refused", &examples));
    }
    html.push_str("</div>");
    for mixed in report["mixed"].as_array().into_iter().flatten() {
        let _ = write!(
            html,
            "<p class=\"note\">{} examples of {} mixed in, {} for each kept.</p>",
            count(mixed["written"].as_u64().unwrap_or(0)),
            escape(mixed["file"].as_str().unwrap_or_default()),
            escape(mixed["ratio"].as_str().unwrap_or_default())
        );
    }
    if let Some(pairs) = report["pairs"].as_u64() {
        let _ = write!(html, "<p class=\"note\">{} preference pairs written.</p>", count(pairs));
    }
    if let Some(review) = report["review"].as_object() {
        let part = |key: &str| review.get(key).and_then(Value::as_u64).unwrap_or(0);
        let _ = write!(
            html,
            "<p class=\"note\">A reader kept {} as they were, edited {} and dropped {}.</p>",
            part("kept"),
            part("edited"),
            part("dropped")
        );
    }
    Some(html)
}

fn bar(name: &str, some: u64, all: u64, class: &str, examples: &str) -> String {
    let share = 100.0 * some as f64 / all.max(1) as f64;
    let line = format!(
        "<span class=\"name\">{}</span><span class=\"track\"><span class=\"{class}\" style=\"width:{share:.1}%\"></span></span>\
         <span class=\"amount\">{} <small>{share:.1} %</small></span>",
        escape(name),
        count(some)
    );
    if examples.is_empty() {
        return format!("<div class=\"bar\">{line}</div>");
    }
    format!("<details><summary class=\"bar\">{line}</summary>{examples}</details>")
}
