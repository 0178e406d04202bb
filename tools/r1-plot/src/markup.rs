//! Text into HTML and SVG: whatever a policy has written stays text.

/// The text with everything escaped that markup could be made of, in content and in quoted attributes. Control characters and
/// those that turn the direction of writing are replaced by U+FFFD, so that a text can neither hide nor reorder what is shown.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                escaped.push('\u{fffd}')
            }
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The text, its middle left out where it is longer than `most` characters, escaped.
pub fn excerpt(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return escape(text);
    }
    let (head, tail) = (most * 2 / 3, most / 3);
    let first: String = text.chars().take(head).collect();
    let last: String = text.chars().skip(length - tail).collect();
    format!("{}<em> … {} characters left out … </em>{}", escape(&first), length - head - tail, escape(&last))
}

/// Standard base64 (RFC 4648), for the hash of the page's own script.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * at)) as usize & 63] as char;
            text.push(if at <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup() {
        assert_eq!(
            escape("<script>\"a\" & 'b'</script>\n"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;\n"
        );
        assert_eq!(escape("a\0b\u{202e}c\r"), "a\u{fffd}b\u{fffd}c\u{fffd}");
        let long = excerpt(&"<".repeat(100), 30);
        assert_eq!((long.matches("&lt;").count(), long.contains("70 characters")), (30, true));
        assert_eq!(excerpt("数<", 2), "数&lt;");
    }

    #[test]
    fn base64_gives_the_published_values() {
        // RFC 4648, section 10.
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
