//! The report: one HTML file. Its policy (Content-Security-Policy) lets nothing be loaded and no script run but its own.

use crate::curve::panel;
use crate::evaluation::Evaluated;
use crate::markup::{base64, escape};
use crate::number::{bytes, count, duration};
use crate::run_directory::{RunDirectory, Stage};
use crate::series::Metrics;
use crate::{opinions, refusals, samples, stage_table};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The panels: title, and the metrics in it with their names.
type Panel = (&'static str, &'static [(&'static str, &'static str)]);

/// What is drawn of a stage that reinforces, in this order.
const REINFORCED: &[Panel] = &[
    ("reward", &[("reward", "reward")]),
    ("accuracy", &[("accuracy", "rewards/accuracy/mean")]),
    ("format", &[("format", "rewards/format/mean")]),
    ("language", &[("language", "rewards/language/mean")]),
    ("length (tokens)", &[("length", "completions/mean_length")]),
    ("cut at the limit", &[("share", "completions/clipped_ratio")]),
    ("KL to the reference", &[("kl", "kl")]),
    ("entropy (nats)", &[("entropy", "entropy")]),
    ("clip fraction", &[("below", "clip_ratio/low_mean"), ("above", "clip_ratio/high_mean")]),
    ("gradient norm", &[("grad_norm", "grad_norm")]),
    ("groups all alike", &[("share", "frac_reward_zero_std")]),
    ("loss", &[("loss", "loss")]),
];

/// What is drawn of a stage that imitates.
const IMITATED: &[Panel] = &[
    ("loss", &[("training", "loss"), ("held out", "eval_loss")]),
    ("gradient norm", &[("grad_norm", "grad_norm")]),
    ("learning rate", &[("lr", "learning_rate")]),
    ("tokens a second", &[("tokens", "tokens_per_second")]),
];

/// What a run holds, read.
pub struct Material<'a> {
    /// The folders.
    pub run: &'a RunDirectory,
    /// The evaluations.
    pub rows: &'a [Evaluated],
    /// Each stage's curves, in the order of the stages.
    pub metrics: &'a [Option<Metrics>],
    /// Metrics of each stage's sampling, and of its judging by models.
    pub beside: &'a [[Option<Metrics>; 2]],
    /// How many prompts are shown.
    pub samples: usize,
}

/// The whole page.
pub fn page(material: &Material<'_>) -> anyhow::Result<String> {
    let run = material.run;
    let name = escape(&run.name);
    let hash = base64(&Sha256::digest(SCRIPT.as_bytes()));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'\">\
         <style>{STYLE}</style></head><body><header><h1>{name}</h1><p class=\"lead\">{}</p>\
         <nav><a href=\"#stages\">Stages</a><a href=\"#curves\">Curves</a><a href=\"#samples\">Before and after</a>\
         <a href=\"#groups\">Advantages</a><a href=\"#refused\">Refused</a><a href=\"#cost\">Time and memory</a></nav></header>",
        escape(&lead(material))
    );
    let _ = write!(html, "<h2 id=\"stages\">Stages</h2>{}", stage_table::html(material.rows));
    if !run.missing.is_empty() {
        let items: String = run.missing.iter().map(|what| format!("<li>{}</li>", escape(what))).collect();
        let _ = write!(html, "<p class=\"note\">Not there yet:</p><ul>{items}</ul>");
    }
    html.push_str(&opinions::html(&run.general)?);
    let _ = write!(html, "<h2 id=\"curves\">Curves</h2>{}", curves(material));
    let _ = write!(
        html,
        "<h2 id=\"samples\">Before and after</h2><p class=\"note\">The first completion of each policy to the same held-out prompts: \
         those that gained most between the first stage and the last, then those that lost or gained least. Below a policy’s name, the \
         share of its completions that are correct.</p>{}{}",
        key(),
        samples::before_and_after(material.rows, material.samples)?
    );
    let _ = write!(html, "<h2 id=\"groups\">Advantages</h2>{}", groups(run)?);
    let _ = write!(html, "<h2 id=\"refused\">Refused</h2>{}", refused(run));
    let _ = write!(html, "<h2 id=\"cost\">Time and memory</h2>{}", cost(material));
    if let Some(settings) = &run.settings {
        let most: String = settings.chars().take(8000).collect();
        let _ = write!(html, "<h2>Settings</h2><pre>{}</pre>", escape(most.trim()));
    }
    let _ = writeln!(html, "<script>{SCRIPT}</script></body></html>");
    Ok(html)
}

/// One sentence: from where to where.
fn lead(material: &Material<'_>) -> String {
    let judged: Vec<(&Evaluated, f64)> = material
        .rows
        .iter()
        .filter(|r| !r.of.student)
        .filter_map(|r| Some((r, r.pass.as_ref()?.value)))
        .collect();
    match (judged.first(), judged.last()) {
        (Some((first, before)), Some((last, after))) if judged.len() > 1 => format!(
            "Held-out pass@1 went from {:.1} % ({}) to {:.1} % ({}).",
            100.0 * before,
            first.of.title,
            100.0 * after,
            last.of.title
        ),
        (Some((only, value)), _) => format!("Held-out pass@1 is {:.1} % ({}).", 100.0 * value, only.of.title),
        _ => "Nothing was evaluated yet.".to_string(),
    }
}

fn curves(material: &Material<'_>) -> String {
    let mut html = String::new();
    for (stage, metrics) in material.run.stages.iter().zip(material.metrics) {
        let Some(metrics) = metrics else { continue };
        let reinforced = !metrics.get("reward").is_empty() || !metrics.get("entropy").is_empty();
        let wanted = if reinforced { REINFORCED } else { IMITATED };
        let mut panels = String::new();
        let mut absent = Vec::new();
        for (title, names) in wanted {
            let curves: Vec<(&str, &[(f64, f64)])> =
                names.iter().map(|(label, metric)| (*label, metrics.get(metric))).collect();
            match panel(title, &curves) {
                Some(panel) => panels.push_str(&panel),
                None => absent.push(*title),
            }
        }
        let _ = write!(
            html,
            "<section><h3>{} <small>{}</small></h3><p>{}</p><div class=\"panels\">{panels}</div>",
            escape(&stage.title),
            escape(&stage.folder),
            escape(&stage.does)
        );
        if !absent.is_empty() {
            let _ = write!(html, "<p class=\"note\">Not recorded: {}.</p>", absent.join(", "));
        }
        html.push_str("</section>");
    }
    if html.is_empty() {
        html.push_str("<p class=\"absent\">No stage has recorded metrics.</p>");
    }
    html
}

/// What the colours of tokens mean.
fn key() -> &'static str {
    "<p class=\"key\">Probability that the policy gave the token it drew: <span>0.99 and more</span><i class=p1>0.9</i><i class=p2>0.5</i>\
     <i class=p3>0.2</i><i class=p4>0.05</i><i class=p5>less</i></p>"
}

fn groups(run: &RunDirectory) -> anyhow::Result<String> {
    let mut html = String::new();
    for stage in &run.stages {
        let rounds = samples::rounds(stage)?;
        if !rounds.is_empty() {
            let _ = write!(
                html,
                "<h3>{} <small>{}</small></h3>{rounds}",
                escape(&stage.title),
                escape(&stage.folder)
            );
        }
    }
    if html.is_empty() {
        return Ok("<p class=\"absent\">No round with differing advantages is there.</p>".to_string());
    }
    Ok(format!(
        "<p class=\"note\">From the first and the last round of each reinforcement: one group, its best and worst completions with \
         their advantages. All tokens of a completion have the same one.</p>\
         <input class=\"tint\" type=\"radio\" name=\"tint\" id=\"by-advantage\" checked><label for=\"by-advantage\">by advantage</label>\
         <input class=\"tint\" type=\"radio\" name=\"tint\" id=\"by-logprob\"><label for=\"by-logprob\">by probability</label>\
         <div class=\"groups\">{html}</div>"
    ))
}

fn refused(run: &RunDirectory) -> String {
    let mut html = String::new();
    for stage in &run.stages {
        for report in stage.reports.iter().filter_map(|file| refusals::html(file)) {
            let _ = write!(
                html,
                "<h3>{} <small>{}</small></h3>{report}",
                escape(&stage.title),
                escape(&stage.folder)
            );
        }
    }
    if html.is_empty() {
        "<p class=\"absent\">No report of r1-reject is there.</p>".to_string()
    } else {
        html
    }
}

/// Seconds of the updates, where the metrics tell.
fn seconds(metrics: &Metrics) -> Option<f64> {
    if !metrics.get("step_time").is_empty() {
        return Some(metrics.sum("step_time"));
    }
    let (tokens, rates) = (metrics.get("tokens"), metrics.get("tokens_per_second"));
    let all = tokens.iter().zip(rates).map(|((_, tokens), (_, rate))| tokens / rate.max(1e-9)).sum();
    (!rates.is_empty() && tokens.len() == rates.len()).then_some(all)
}

/// The most memory of any metric that counts bytes.
fn memory(metrics: &Metrics) -> Option<f64> {
    let counts = |name: &&String| name.contains("memory") || name.ends_with("_bytes");
    let names = metrics.names().iter().filter(counts);
    names
        .flat_map(|name| metrics.get(name))
        .map(|(_, value)| *value)
        .fold(None, |most: Option<f64>, value| Some(most.map_or(value, |most| most.max(value))))
}

/// Seconds of whole rounds of sampling or judging.
fn spent(metrics: &Option<Metrics>) -> Option<f64> {
    metrics.as_ref().filter(|m| !m.get("seconds").is_empty()).map(|m| m.sum("seconds"))
}

fn cost(material: &Material<'_>) -> String {
    let all = material.run.stages.iter().zip(material.metrics).zip(material.beside);
    let recorded: Vec<(&Stage, &Metrics, &[Option<Metrics>; 2])> =
        all.filter_map(|((stage, metrics), beside)| Some((stage, metrics.as_ref()?, beside))).collect();
    if recorded.is_empty() {
        return "<p class=\"absent\">No stage has recorded metrics.</p>".to_string();
    }
    let time = |time: Option<f64>| time.map_or("–".to_string(), duration);
    let remembered = recorded.iter().any(|(_, metrics, _)| memory(metrics).is_some());
    let heading = if remembered { "<th>memory</th>" } else { "" };
    let mut html = format!(
        "<div class=\"wide\"><table><thead><tr><th>stage</th><th>updates</th><th>tokens trained on</th><th>time of the updates</th>\
         <th>tokens a second</th><th>of sampling</th><th>of judging by models</th>{heading}</tr></thead><tbody>"
    );
    let mut sums = [0.0; 3];
    for (stage, metrics, [sampling, judging]) in recorded {
        let updates = metrics.get("loss").len() as u64;
        let tokens = metrics.sum("tokens");
        let times = [seconds(metrics), spent(sampling), spent(judging)];
        let rate = times[0].filter(|time| *time > 0.0).map(|time| count((tokens / time).round() as u64));
        let _ = write!(
            html,
            "<tr><th>{} <small>{}</small></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            escape(&stage.title),
            escape(&stage.folder),
            count(updates),
            count(tokens as u64),
            time(times[0]),
            rate.unwrap_or_else(|| "–".to_string()),
            time(times[1]),
            time(times[2])
        );
        if remembered {
            let _ = write!(html, "<td>{}</td>", memory(metrics).map_or("–".to_string(), bytes));
        }
        html.push_str("</tr>");
        sums.iter_mut().zip(times).for_each(|(sum, time)| *sum += time.unwrap_or(0.0));
    }
    let _ = write!(
        html,
        "<tr><th>all</th><td></td><td></td><td>{}</td><td></td><td>{}</td><td>{}</td>{}</tr></tbody></table></div>",
        duration(sums[0]),
        duration(sums[1]),
        duration(sums[2]),
        if remembered { "<td></td>" } else { "" }
    );
    html + "<p class=\"note\">As the metrics tell: without starting, loading and saving, and without evaluation and rule rewards.</p>"
}
