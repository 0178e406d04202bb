//! `--show N`: the first completion of a few prompts, file beside file, so that a number has a face.

use r1_records::{Group, RecordError};

/// What one file says to the prompts that are shown.
pub struct Shown {
    /// the file
    pub file: String,
    /// prompt, completion and total reward, in the order of the file
    pub rows: Vec<(String, String, Option<f64>)>,
}

/// Takes the first completion of a group.
pub fn take(shown: &mut Shown, group: &Group) -> Result<(), RecordError> {
    let row = &group.rows[0];
    let prompt = row.prompt()?.question().to_string();
    shown.rows.push((prompt, row.outline()?.completion, row.reward()?.total));
    Ok(())
}

/// The prompts of the first file with every file's completion under each.
pub fn render(shown: &[Shown]) -> String {
    let mut text = String::new();
    let Some(first) = shown.first() else { return text };
    let width = shown.iter().map(|s| s.file.chars().count()).max().unwrap_or(0);
    for (i, (prompt, _, _)) in first.rows.iter().enumerate() {
        text.push_str(&format!("\n{}\n", one_line(prompt)));
        for s in shown {
            // Files may hold other prompts: only what answers the same question stands under it.
            let Some((_, completion, total)) = s.rows.get(i).filter(|r| r.0 == *prompt) else { continue };
            let total = total.map_or_else(|| "     -".to_string(), |t| format!("{t:6.2}"));
            text.push_str(&format!("  {:width$} {total}  {}\n", s.file, one_line(completion)));
        }
    }
    text
}

/// Line breaks as a visible sign.
fn one_line(text: &str) -> String {
    text.trim().replace("\r\n", "\n").replace('\n', " ⏎ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_stand_under_their_prompt() {
        let shown = |file: &str, completion: &str, total| Shown {
            file: file.into(),
            rows: vec![("What is 2 + 3 * 4?".into(), completion.into(), total)],
        };
        let text = render(&[shown("base", "20\n", Some(0.0)), shown("zero", "a\nb", None)]);
        assert_eq!(text, "\nWhat is 2 + 3 * 4?\n  base   0.00  20\n  zero      -  a ⏎ b\n");
    }
}
