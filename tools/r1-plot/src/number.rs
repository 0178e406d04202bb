//! Numbers for a reader, and the round ones that axes are marked with.

/// Three significant digits, without a tail of zeros; powers of ten where it is very large or small.
pub fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_string();
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.1e}").replace("e-", "e\u{2212}").replace('-', "\u{2212}");
    }
    let decimals = (2 - size.log10().floor() as i32).clamp(0, 5) as usize;
    let mut text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text.replace('-', "\u{2212}")
}

/// A count with thin spaces between thousands.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Seconds as a person says them.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Bytes as a person says them.
pub fn bytes(value: f64) -> String {
    let (unit, scale) = match value {
        v if v >= 1e9 => ("GB", 1e9),
        v if v >= 1e6 => ("MB", 1e6),
        _ => ("kB", 1e3),
    };
    format!("{} {unit}", short(value / scale))
}

/// From two to about `most` round numbers (1, 2 or 5 times a power of ten) in equal steps within `low..=high`; the range is widened
/// where it is a point.
pub fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let (low, high) = widened(low, high);
    let power = 10f64.powf(((high - low) / most.max(1) as f64).log10().floor());
    // The coarsest steps first: the first that gives as many marks as wanted, or the last that gives two.
    let mut marks = Vec::new();
    for step in [20.0, 10.0, 5.0, 2.0, 1.0].map(|m| m * power) {
        let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
        let finer: Vec<f64> = (first..=last).map(|n| n as f64 * step).collect();
        if finer.len() > most.max(2) {
            if marks.len() < 2 {
                marks = finer;
            }
            break;
        }
        marks = finer;
    }
    marks
}

/// The range, with room around a single value.
pub fn widened(low: f64, high: f64) -> (f64, f64) {
    if high > low {
        return (low, high);
    }
    let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
    (low - if low == 0.0 { 0.0 } else { room }, high + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 1.0, 0.5, 0.123456, 12.3456, 1234.5, -0.25, 3e-7, 2.5e9].map(short);
        assert_eq!(texts, ["0", "1", "0.5", "0.123", "12.3", "1234", "−0.25", "3.0e−7", "2.5e9"]);
        assert_eq!((count(7), count(1234567)), ("7".into(), "1\u{202f}234\u{202f}567".into()));
        assert_eq!([3.24, 75.0, 7384.0].map(duration), ["3.2 s", "1 min 15 s", "2 h 03 min"]);
        assert_eq!(bytes(2.5e9), "2.5 GB");
    }

    #[test]
    fn axes_have_round_marks() {
        assert_eq!(ticks(0.0, 1.0, 4), [0.0, 0.5, 1.0]);
        assert_eq!(ticks(0.37, 1.03, 4), [0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(0.107, 0.168, 3).len(), 3);
        assert_eq!(ticks(0.0, 0.0, 2), [0.0, 1.0]);
        for (low, high) in [(1e-9, 2e-9), (-5.0, 7e6), (3.0, 3.0), (-2.0, -1.0)] {
            let marks = ticks(low, high, 3);
            assert!((2..=8).contains(&marks.len()), "{low} {high}: {marks:?}");
        }
    }
}
