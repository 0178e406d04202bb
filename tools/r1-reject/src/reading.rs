//! A text as its reader meets it: paragraphs, words.

use r1_verify::language::Script;

/// The characters of the longest stretch without an empty line.
pub fn longest_paragraph(text: &str) -> usize {
    let (mut longest, mut length) = (0, 0);
    for line in text.lines() {
        let line = line.trim();
        length = if line.is_empty() { 0 } else { length + line.chars().count() + usize::from(length > 0) };
        longest = longest.max(length);
    }
    longest
}

/// What repetition is counted in: words in lower case, and each character of Han and kana by itself.
pub fn units(text: &str) -> Vec<String> {
    let mut units = Vec::new();
    for word in text.split_whitespace() {
        let mut run = String::new();
        for character in word.chars() {
            if matches!(Script::of(character), Some(Script::Han | Script::Kana)) {
                if !run.is_empty() {
                    units.push(std::mem::take(&mut run));
                }
                units.push(character.to_string());
            } else {
                run.extend(character.to_lowercase());
            }
        }
        if !run.is_empty() {
            units.push(run);
        }
    }
    units
}

/// The words of a text for comparing it with another: runs of letters and digits in lower case, each character of Han and kana by
/// itself; punctuation and mark-up part words and are none.
pub fn words(text: &str) -> Vec<String> {
    let bare: String = text.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    units(&bare)
}

/// A 64-bit hash of some words: FNV-1a over their text, each with a separator behind it.
pub fn hash(words: &[String]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in words {
        for byte in word.bytes().chain([0x1f]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted() {
        assert_eq!(longest_paragraph("ab\r\ncd\n \nefg"), 5);
        assert_eq!(units("Ab 三乘x四 c"), ["ab", "三", "乘", "x", "四", "c"]);
        assert_eq!(words("It's 3×4, **so**: 十二!"), ["it", "s", "3", "4", "so", "十", "二"]);
        assert_ne!(hash(&["ab".into(), "c".into()]), hash(&["a".into(), "bc".into()]));
    }
}
