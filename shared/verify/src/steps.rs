//! A reward for reasoning in visible steps.

/// The share of three steps that the text shows: `min(1, steps / 3)`.
///
/// A step is `Step 1:`, `First,`, `Second,`, `Next,` or `Finally,` anywhere, or a line that begins with `1.`, `- ` or
/// `* `. open-r1 counts a numbered line only at the very start of the text and takes `-3` at a line's start for a
/// bullet; here every line may be numbered, and a bullet has a space after it.
pub fn reasoning_steps(text: &str) -> f64 {
    (count(text) as f64 / 3.0).min(1.0)
}

/// The number of steps in a text.
pub fn count(text: &str) -> usize {
    let words: usize =
        ["First,", "Second,", "Next,", "Finally,"].iter().map(|word| text.matches(word).count()).sum();
    let numbered = text
        .match_indices("Step ")
        .filter(|(at, _)| {
            let rest = &text[at + "Step ".len()..];
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            digits > 0 && rest[digits..].starts_with(':')
        })
        .count();
    let lines = text.lines().filter(|line| starts_item(line.trim_start_matches([' ', '\t']))).count();
    words + numbered + lines
}

fn starts_item(line: &str) -> bool {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        // "1." and not "1.5".
        return line[digits..].starts_with('.')
            && !line[digits + 1..].starts_with(|c: char| c.is_ascii_digit());
    }
    line.starts_with("- ") || line.starts_with("* ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_kind() {
        assert_eq!(count("Step 1: a. Step 2: b. Step x: c"), 2);
        assert_eq!(count("First, a. Next, b. Finally, c."), 3);
        assert_eq!(count("1. a\n2. b\n- c\n* d"), 4);
        assert_eq!(count("-3 is less\n1.5 is more\n"), 0);
        assert_eq!(reasoning_steps("Step 1: a"), 1.0 / 3.0);
        assert_eq!(reasoning_steps("1. a\n2. b\n3. c\n4. d"), 1.0);
        assert_eq!(reasoning_steps(""), 0.0);
    }
}
