//! The outermost dress of an answer: delimiters of mathematics, markup, quotes, a full stop.

/// The answer without what only wraps it.
pub(super) fn strip(text: &str) -> &str {
    let mut text = text.trim();
    // Every round takes something off, so the number of rounds bounds the cost.
    for _ in 0..24 {
        let shorter = once(text);
        if shorter.len() == text.len() {
            break;
        }
        text = shorter.trim();
    }
    text
}

fn once(text: &str) -> &str {
    let text = text.trim_end_matches(['。', '，', ',', ';', ':', '\u{200b}']);
    if let Some(t) = text.strip_suffix('.').filter(|t| !t.ends_with('.')) {
        return t;
    }
    for (open, close) in [
        ("$$", "$$"),
        ("$", "$"),
        ("\\(", "\\)"),
        ("\\[", "\\]"),
        ("**", "**"),
        ("__", "__"),
        ("`", "`"),
        ("\"", "\""),
        ("“", "”"),
        ("<answer>", "</answer>"),
    ] {
        if let Some(inner) = text.strip_prefix(open).and_then(|t| t.strip_suffix(close))
            && !inner.contains(open)
            && !inner.is_empty()
        {
            return inner;
        }
    }
    for command in
        ["\\boxed{", "\\fbox{", "\\text{", "\\mathrm{", "\\textbf{", "\\mathbf{", "\\displaystyle", "\\ "]
    {
        if let Some(inner) = text.strip_prefix(command) {
            if !command.ends_with('{') {
                return inner;
            }
            if let Some(inner) = inner.strip_suffix('}').filter(|t| closes_only_at_end(t)) {
                return inner;
            }
        }
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'))
        && closes_only_at_end(inner)
        && !inner.contains(',')
        && !inner.ends_with('\\')
    {
        return inner;
    }
    // One half of a pair of marks.
    let text = text.strip_suffix("**").or_else(|| text.strip_prefix("**")).unwrap_or(text);
    text.strip_prefix("= ").unwrap_or(text)
}

/// Whether the braces of `inner` balance without closing the one before it.
fn closes_only_at_end(inner: &str) -> bool {
    let mut depth = 0i64;
    let mut bytes = inner.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'\\' => {
                bytes.next();
            }
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth < 0 {
                    return false;
                }
            }
            _ => {}
        }
    }
    depth == 0
}

/// Dollar signs that delimit mathematics are dropped; an odd one is money and stays.
pub(super) fn without_delimiters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let dollars = text.matches('$').count() - text.matches("\\$").count();
    let drop = dollars.is_multiple_of(2);
    let mut escaped = false;
    for c in text.chars() {
        if c == '$' && !escaped && drop {
            out.push(' ');
        } else {
            out.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    out
}

/// The text as compared where it is no mathematics: no markup, small letters, single spaces.
pub(super) fn plain(text: &str) -> String {
    let mut bare = text.to_string();
    for command in
        ["\\text", "\\mathrm", "\\textbf", "\\mathbf", "\\left", "\\right", "\\displaystyle", "\\!", "\\,"]
    {
        if bare.contains(command) {
            bare = bare.replace(command, if command == "\\," { " " } else { "" });
        }
    }
    bare.retain(|c| !matches!(c, '$' | '*' | '`' | '"' | '“' | '”' | '{' | '}'));
    let lower = bare.to_lowercase();
    let joined = lower.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.trim_end_matches(['.', '。', ',', ';', '!']).trim().to_string()
}
