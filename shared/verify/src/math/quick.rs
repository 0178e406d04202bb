//! The commonest answers, small numbers in plain form, without allocation. What is read here the parser reads the same.

/// A small rational number: numerator, positive denominator; not reduced.
pub(super) type Small = (i128, i128);

/// Most digits of one numeral, so that cross products fit.
const MAX_DIGITS: usize = 15;

/// Reads `-12`, `0.75`, `3/4`, `\frac{3}{4}`.
pub(super) fn read(text: &str, decimal_comma: bool) -> Option<Small> {
    let bytes = text.as_bytes();
    let (negative, rest) = match bytes.first()? {
        b'-' => (true, &bytes[1..]),
        b'+' => (false, &bytes[1..]),
        _ => (false, bytes),
    };
    let (numerator, denominator) = match rest.first()? {
        b'\\' => fraction(rest)?,
        _ => {
            let (whole, rest) = digits(rest)?;
            match rest.first() {
                None => (whole, 1),
                Some(b'.') if !decimal_comma => {
                    let (decimals, end) = digits(&rest[1..])?;
                    if !end.is_empty() {
                        return None;
                    }
                    let scale = 10i128.pow(u32::try_from(rest.len() - 1).ok()?);
                    (whole * scale + decimals, scale)
                }
                Some(b'/') => {
                    let (below, end) = digits(&rest[1..])?;
                    if !end.is_empty() {
                        return None;
                    }
                    (whole, below)
                }
                _ => return None,
            }
        }
    };
    (denominator != 0).then_some((if negative { -numerator } else { numerator }, denominator))
}

/// Whether two small numbers are the same.
pub(super) fn same(a: Small, b: Small) -> bool {
    a.0 * b.1 == b.0 * a.1
}

/// `\frac{3}{4}` and its variants in size, with braces around both.
fn fraction(text: &[u8]) -> Option<(i128, i128)> {
    let rest =
        [&b"\\frac{"[..], b"\\dfrac{", b"\\tfrac{"].iter().find_map(|name| text.strip_prefix(*name))?;
    let (above, rest) = digits(rest)?;
    let (below, rest) = digits(rest.strip_prefix(b"}{")?)?;
    (rest == b"}").then_some((above, below))
}

/// One to fifteen digits, and what follows them.
fn digits(text: &[u8]) -> Option<(i128, &[u8])> {
    let n = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if n == 0 || n > MAX_DIGITS {
        return None;
    }
    let value = text[..n].iter().fold(0i128, |value, b| value * 10 + i128::from(b - b'0'));
    Some((value, &text[n..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_and_nothing_else() {
        assert_eq!(read("-12", false), Some((-12, 1)));
        assert_eq!(read("+0.75", false), Some((75, 100)));
        assert_eq!(read("3/4", false), Some((3, 4)));
        assert_eq!(read("-\\dfrac{3}{4}", false), Some((-3, 4)));
        for text in [
            "",
            "-",
            "1.",
            ".5",
            "1/0",
            "1/2/3",
            "1.5/2",
            "1,000",
            "1e3",
            "x",
            "\\frac12",
            "\\frac{1}{2}x",
            "1 2",
            "--1",
        ] {
            assert_eq!(read(text, false), None, "{text}");
        }
        assert_eq!(read("1.000", true), None);
        assert_eq!(read(&"9".repeat(16), false), None);
        // Found by fuzzing: digits, and a long text behind them.
        assert_eq!(read(&format!("1.2{}", "x".repeat(60)), false), None);
        // The largest products stay far below 2^127.
        let large = read("999999999999999.999999999999999", false).expect("read");
        assert!(same(large, large));
    }

    #[test]
    fn the_parser_agrees() {
        let texts = [
            "0",
            "-0",
            "7",
            "-7",
            "007",
            "0.5",
            "-0.50",
            "1/2",
            "-2/4",
            "\\frac{1}{2}",
            "-\\frac{7}{1}",
            "3.000",
            "12/5",
            "2.4",
        ];
        let policy = super::super::Policy::default();
        for a in texts {
            for b in texts {
                let slow = super::super::expressions(
                    &super::super::read(a, &policy).expect("read"),
                    &super::super::read(b, &policy).expect("read"),
                    &policy,
                );
                let (x, y) = (read(a, false).expect("read"), read(b, false).expect("read"));
                assert_eq!(same(x, y), slow.is_equal(), "{a} {b}");
            }
        }
    }
}
