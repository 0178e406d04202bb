//! Programs in completions: which part of the text is the program, and whether two outputs are the same. Nothing is run
//! here.

use crate::extract::{Missing, Prefill, split};

/// The program of a completion: the last fenced block without a language or with Python's name in what stands outside of
/// the reasoning, within `<answer>` where there is one; without any fence, all of it. Leading spaces of the first line
/// stay: a completion may go on inside a function.
///
/// ```
/// use r1_verify::{code::program, extract::Prefill};
/// let text = "<think>easy</think>\nHere:\n```python\nprint(1)\n```\nDone.";
/// assert_eq!(program(text, Prefill::No), Ok("print(1)\n"));
/// ```
///
/// # Errors
/// [`Missing`] says why there is none.
pub fn program(text: &str, prefill: Prefill) -> Result<&str, Missing> {
    let visible = split(text, prefill).visible.ok_or(Missing::UnclosedThink)?;
    let mut view = &text[visible];
    if let Some(close) = view.rfind("</answer>")
        && let Some(open) = view[..close].rfind("<answer>")
    {
        view = &view[open + "<answer>".len()..close];
    }
    if view.trim().is_empty() {
        return Err(Missing::Empty);
    }
    Ok(last_block(view).unwrap_or_else(|| view.trim_start_matches(['\r', '\n'])))
}

/// The content of the last fenced block that may be Python. A fence that never closes runs to the end.
fn last_block(text: &str) -> Option<&str> {
    let (mut found, mut open, mut at) = (None, None, 0);
    for line in text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        let Some(mark) = line.trim_start().strip_prefix("```") else { continue };
        open = match open {
            None => Some((at, mark.trim().to_ascii_lowercase())),
            Some((from, language)) => {
                if is_python(&language) {
                    found = Some(&text[from..start]);
                }
                None
            }
        };
    }
    match open {
        Some((from, language)) if is_python(&language) && !text[from..].trim().is_empty() => {
            Some(&text[from..])
        }
        _ => found,
    }
}

fn is_python(language: &str) -> bool {
    matches!(language, "" | "python" | "python3" | "py")
}

/// Whether a program has printed what is expected: the same lines in the same number, but for spaces at their ends and
/// empty lines at the end.
pub fn same_output(printed: &str, expected: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        text.trim_end().lines().map(|line| line.trim_end().to_string()).collect()
    };
    lines(printed) == lines(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_the_program() {
        let of = |text| program(text, Prefill::No);
        assert_eq!(of("    return 1\n"), Ok("    return 1\n"));
        assert_eq!(of("\n\ndef f(): pass"), Ok("def f(): pass"));
        assert_eq!(of("```py\na\n```\nor\n```\nb\nc\n```\n"), Ok("b\nc\n"));
        assert_eq!(of("```python\na\n```\nprints\n```text\nb\n```\n"), Ok("a\n"));
        assert_eq!(of("```python\na\nb"), Ok("a\nb"));
        assert_eq!(of("<think>```\nno\n```</think><answer>```python\nyes\n```</answer> x"), Ok("yes\n"));
        assert_eq!(of("<think>```\nno\n```"), Err(Missing::UnclosedThink));
        assert_eq!(of("<think>a</think> \n"), Err(Missing::Empty));
        assert_eq!(program("a</think>b", Prefill::Yes), Ok("b"));
    }

    #[test]
    fn outputs_have_all_lines_and_no_more() {
        assert!(same_output("1 \n2\n\n", "1\n2"));
        assert!(same_output("", "\n"));
        for other in ["1", "1\n2\n3", "1\n\n2", " 1\n2", "12"] {
            assert!(!same_output(other, "1\n2"), "{other:?}");
        }
    }
}
