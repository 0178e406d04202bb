//! Completions to look at: the same prompts before and after, and groups with their advantages.

use crate::evaluation::{Evaluated, rate};
use crate::markup::{escape, excerpt};
use crate::run_directory::Stage;
use crate::tokens::{self, tokenizer};
use r1_cli::Input;
use r1_records::{Groups, Reader, RecordError, Row};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::Path;

/// Characters of a prompt that are shown.
const PROMPT: usize = 600;
/// Completions of a group that are shown.
const GROUP: usize = 4;

/// The prompts to show: those whose rate of correct completions differs most between the first policy and the last one that is no
/// student, both ways, the largest gain first; of equal ones those that come first.
fn chosen(rows: &[Evaluated], most: usize) -> Vec<String> {
    let Some(first) = rows.first() else { return Vec::new() };
    let last = rows.iter().rfind(|row| !row.of.student).unwrap_or(first);
    let later: HashMap<&str, f64> =
        last.prompts.iter().filter_map(|p| Some((p.id.as_str(), rate(p)?))).collect();
    let mut changes: Vec<(f64, usize, &str)> = Vec::new();
    for (at, prompt) in first.prompts.iter().enumerate() {
        if let (Some(before), Some(after)) = (rate(prompt), later.get(prompt.id.as_str())) {
            changes.push((after - before, at, &prompt.id));
        }
    }
    changes.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    // Two thirds gains, one third losses (or what changed least), in that order.
    let gains = most.div_ceil(3) * 2;
    let mut ids: Vec<String> = changes.iter().take(gains.min(most)).map(|c| c.2.to_string()).collect();
    let left = most.saturating_sub(ids.len());
    for change in changes.iter().rev().take(left).rev() {
        if !ids.iter().any(|id| id == change.2) {
            ids.push(change.2.to_string());
        }
    }
    ids
}

/// The first completion of every policy to the same prompts, as HTML.
pub fn before_and_after(rows: &[Evaluated], most: usize) -> anyhow::Result<String> {
    let ids = chosen(rows, most);
    if ids.is_empty() {
        return Ok("<p class=\"absent\">No prompt was answered before and after.</p>".to_string());
    }
    let mut blocks: Vec<(String, String)> = ids.iter().map(|_| Default::default()).collect();
    for evaluated in rows {
        let tokenizer = tokenizer(&evaluated.of.policy);
        let input = Input::of(&evaluated.of.file);
        let mut seen = vec![false; ids.len()];
        for row in Reader::new(input.open()?) {
            if seen.iter().all(|seen| *seen) {
                break;
            }
            let blame = |error: RecordError| input.blame(error);
            let row = row.map_err(blame)?;
            let id = row.group_id().map_err(blame)?;
            let Some(at) = ids.iter().position(|known| *known == id).filter(|at| !seen[*at]) else {
                continue;
            };
            seen[at] = true;
            let (head, body) = &mut blocks[at];
            if head.is_empty() {
                *head = heading(&row).map_err(blame)?;
            }
            let rollout = row.rollout().map_err(blame)?;
            let accuracy = row.reward().map_err(blame)?.part("accuracy");
            let mark = match accuracy {
                Some(1.0) => "<b class=\"right\" title=\"correct\">✓</b>",
                Some(_) => "<b class=\"wrong\" title=\"not correct\">✗</b>",
                None => "<b></b>",
            };
            let share = evaluated.rate(&id).map_or(String::new(), |share| format!("{:.0} %", 100.0 * share));
            let _ = write!(
                body,
                "<div class=\"said\"><span class=\"who\">{}<small>{share}</small></span>{mark}<p>{}</p></div>",
                escape(&evaluated.of.title),
                tokens::html(tokenizer.as_ref(), &rollout)
            );
        }
    }
    let blocks = blocks.into_iter().map(|(head, body)| format!("<article>{head}{body}</article>"));
    Ok(blocks.collect())
}

/// The prompt, and the expected answer.
fn heading(row: &Row) -> Result<String, RecordError> {
    let answer = row
        .answer()?
        .map_or(String::new(), |answer| format!(" <span class=\"answer\">{}</span>", escape(&answer)));
    Ok(format!("<h4>{}{answer}</h4>", excerpt(row.prompt()?.question(), PROMPT)))
}

/// The first and last round of a stage that reinforces: one group of each, its best and worst completions with their advantages.
pub fn rounds(stage: &Stage) -> anyhow::Result<String> {
    let mut html = String::new();
    let mut shown: Vec<&(u64, std::path::PathBuf)> = stage.rounds.first().into_iter().collect();
    shown.extend(stage.rounds.last().filter(|_| stage.rounds.len() > 1));
    for (number, file) in shown {
        if let Some(group) = mixed_group(file, &stage.policy)? {
            let _ = write!(html, "<article><h5>round {number}</h5>{group}</article>");
        }
    }
    Ok(html)
}

/// The first group whose advantages differ.
fn mixed_group(file: &Path, policy: &Path) -> anyhow::Result<Option<String>> {
    let input = Input::of(file);
    let tokenizer = tokenizer(policy);
    for group in Groups::new(Reader::new(input.open()?)) {
        let blame = |error: RecordError| input.blame(error);
        let group = group.map_err(blame)?;
        let mut rows = Vec::with_capacity(group.rows.len());
        for row in &group.rows {
            // A row without a reward has no advantage.
            if row.has("advantage") {
                rows.push((row.advantage().map_err(blame)?, row.rollout().map_err(blame)?));
            }
        }
        let most = rows.iter().map(|(advantage, _)| advantage.abs()).fold(0.0, f64::max);
        rows.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.completion.cmp(&b.1.completion)));
        rows.dedup_by(|a, b| a.1.completion == b.1.completion);
        if rows.len() < 2 || most == 0.0 {
            continue;
        }
        let length = rows.len();
        let mut html = heading(&group.rows[0]).map_err(blame)?;
        for (at, (advantage, rollout)) in rows.iter().enumerate() {
            if at >= GROUP / 2 && at + GROUP / 2 < length {
                continue;
            }
            let level = (advantage.abs() / most * 3.0).ceil().clamp(1.0, 3.0);
            let sign = if *advantage > 0.0 { "plus" } else { "minus" };
            let _ = write!(
                html,
                "<div class=\"said {sign}{level}\"><span class=\"who\">{}</span><p>{}</p></div>",
                format!("{advantage:+.2}").replace('-', "\u{2212}"),
                tokens::html(tokenizer.as_ref(), rollout)
            );
        }
        return Ok(Some(html));
    }
    Ok(None)
}
