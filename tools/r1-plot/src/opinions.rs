//! General requests, which no rule judges: what the reward models think of the replies, policy by policy.

use crate::markup::escape;
use r1_cli::Input;
use r1_measure::interval::bootstrap;
use r1_records::{Groups, Reader};
use std::fmt::Write;
use std::path::PathBuf;

/// As in the stage table.
const RESAMPLES: u32 = 2000;
const SEED: u64 = 0;

/// Rewarded replies of one policy to general requests.
#[derive(Clone, Debug)]
pub struct Replies {
    /// What the policy is called.
    pub title: String,
    /// The file.
    pub file: PathBuf,
}

/// One part of the reward: each prompt's sum and number of values.
struct Part {
    name: String,
    prompts: Vec<(f64, f64)>,
}

impl Part {
    fn values(&self) -> f64 {
        self.prompts.iter().map(|(_, count)| count).sum()
    }

    fn mean(&self) -> f64 {
        self.prompts.iter().map(|(sum, _)| sum).sum::<f64>() / self.values()
    }
}

/// The parts of one file's rewards, in the order in which they first come.
fn parts(replies: &Replies) -> anyhow::Result<Vec<Part>> {
    let input = Input::of(&replies.file);
    let mut parts: Vec<Part> = Vec::new();
    for (at, group) in Groups::new(Reader::new(input.open()?)).enumerate() {
        let group = group.map_err(|error| input.blame(error))?;
        for row in &group.rows {
            for (name, value) in row.reward().map_err(|error| input.blame(error))?.parts {
                let known = parts.iter().position(|part| part.name == name).unwrap_or_else(|| {
                    parts.push(Part { name, prompts: Vec::new() });
                    parts.len() - 1
                });
                let prompts = &mut parts[known].prompts;
                prompts.resize(at + 1, (0.0, 0.0));
                prompts[at].0 += value;
                prompts[at].1 += 1.0;
            }
        }
    }
    Ok(parts)
}

/// A table, one line a policy; nothing where no general request was asked.
pub fn html(all: &[Replies]) -> anyhow::Result<String> {
    let read: Vec<(&Replies, Vec<Part>)> =
        all.iter().map(|replies| Ok((replies, parts(replies)?))).collect::<anyhow::Result<_>>()?;
    let mut names: Vec<&str> = Vec::new();
    for part in read.iter().flat_map(|(_, parts)| parts) {
        if !names.contains(&&*part.name) {
            names.push(&part.name);
        }
    }
    if names.is_empty() {
        return Ok(String::new());
    }
    let heads: String = names.iter().map(|name| format!("<th>{}</th>", escape(name))).collect();
    let mut html = format!(
        "<h2 id=\"general\">General requests</h2><div class=\"wide\"><table><thead><tr><th>policy</th>{heads}</tr></thead><tbody>"
    );
    for (replies, parts) in &read {
        let _ = write!(html, "<tr><th>{}</th>", escape(&replies.title));
        for name in &names {
            match parts.iter().find(|part| part.name == *name) {
                Some(part) => {
                    let [low, high] = bootstrap(&part.prompts, RESAMPLES, SEED);
                    let _ = write!(
                        html,
                        "<td title=\"{} completions\">{:.2} <small>[{low:.2}, {high:.2}]</small></td>",
                        part.values(),
                        part.mean()
                    );
                }
                None => html.push_str("<td class=\"absent\">–</td>"),
            }
        }
        html.push_str("</tr>");
    }
    html.push_str(
        "</tbody></table></div><p class=\"note\">Means of the rewards’ raw parts on held-out general requests, with 95 % intervals over \
         prompts. Scores of reward models (<code>helpful</code>, <code>harmless</code>) are logits of the models that the last stage was \
         trained on: they say that it did what it was told, not that a person would agree.</p>",
    );
    Ok(html)
}
