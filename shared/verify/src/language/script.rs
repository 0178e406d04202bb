//! Writing systems by code point, and the languages written in them.

/// A writing system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the documentation
pub enum Script {
    Latin,
    Greek,
    Cyrillic,
    Armenian,
    Hebrew,
    Arabic,
    Devanagari,
    Bengali,
    Gurmukhi,
    Gujarati,
    Tamil,
    Telugu,
    Kannada,
    Malayalam,
    Sinhala,
    Thai,
    Lao,
    Tibetan,
    Myanmar,
    Georgian,
    Ethiopic,
    Khmer,
    Hangul,
    Kana,
    Han,
}

/// First and last code point of the letters of each script, sorted; from the Unicode block table.
const RANGES: &[(u32, u32, Script)] = &[
    (0x41, 0x5A, Script::Latin),
    (0x61, 0x7A, Script::Latin),
    (0xAA, 0xAA, Script::Latin),
    (0xBA, 0xBA, Script::Latin),
    (0xC0, 0xD6, Script::Latin),
    (0xD8, 0xF6, Script::Latin),
    (0xF8, 0x2AF, Script::Latin),
    (0x370, 0x3FF, Script::Greek),
    (0x400, 0x52F, Script::Cyrillic),
    (0x531, 0x587, Script::Armenian),
    (0x5D0, 0x5EA, Script::Hebrew),
    (0x620, 0x64A, Script::Arabic),
    (0x66E, 0x6D3, Script::Arabic),
    (0x6FA, 0x6FF, Script::Arabic),
    (0x750, 0x77F, Script::Arabic),
    (0x904, 0x963, Script::Devanagari),
    (0x971, 0x97F, Script::Devanagari),
    (0x980, 0x9E3, Script::Bengali),
    (0x9F0, 0x9F1, Script::Bengali),
    (0xA01, 0xA5E, Script::Gurmukhi),
    (0xA81, 0xAE3, Script::Gujarati),
    (0xB82, 0xBD7, Script::Tamil),
    (0xC00, 0xC63, Script::Telugu),
    (0xC80, 0xCE3, Script::Kannada),
    (0xD00, 0xD63, Script::Malayalam),
    (0xD80, 0xDDF, Script::Sinhala),
    (0xE01, 0xE3A, Script::Thai),
    (0xE40, 0xE4E, Script::Thai),
    (0xE81, 0xECD, Script::Lao),
    (0xF40, 0xFBC, Script::Tibetan),
    (0x1000, 0x103F, Script::Myanmar),
    (0x10A0, 0x10FF, Script::Georgian),
    (0x1100, 0x11FF, Script::Hangul),
    (0x1200, 0x135A, Script::Ethiopic),
    (0x1780, 0x17D3, Script::Khmer),
    (0x1E00, 0x1EFF, Script::Latin),
    (0x1F00, 0x1FFF, Script::Greek),
    (0x3041, 0x309F, Script::Kana),
    (0x30A1, 0x30FA, Script::Kana),
    (0x30FC, 0x30FF, Script::Kana),
    (0x3130, 0x318F, Script::Hangul),
    (0x31F0, 0x31FF, Script::Kana),
    (0x3400, 0x4DBF, Script::Han),
    (0x4E00, 0x9FFF, Script::Han),
    (0xAC00, 0xD7A3, Script::Hangul),
    (0xF900, 0xFAFF, Script::Han),
    (0xFF21, 0xFF3A, Script::Latin),
    (0xFF41, 0xFF5A, Script::Latin),
    (0xFF66, 0xFF9D, Script::Kana),
    (0x20000, 0x3FFFF, Script::Han),
];

/// Two-letter language codes and the scripts they are written in; the first language of a script is its typical one.
const LANGUAGES: &[(&str, &[Script])] = &[
    ("en", &[Script::Latin]),
    ("zh", &[Script::Han]),
    ("ja", &[Script::Kana, Script::Han]),
    ("ko", &[Script::Hangul, Script::Han]),
    ("ru", &[Script::Cyrillic]),
    ("uk", &[Script::Cyrillic]),
    ("be", &[Script::Cyrillic]),
    ("bg", &[Script::Cyrillic]),
    ("mk", &[Script::Cyrillic]),
    ("kk", &[Script::Cyrillic]),
    ("sr", &[Script::Cyrillic, Script::Latin]),
    ("el", &[Script::Greek]),
    ("hy", &[Script::Armenian]),
    ("he", &[Script::Hebrew]),
    ("yi", &[Script::Hebrew]),
    ("ar", &[Script::Arabic]),
    ("fa", &[Script::Arabic]),
    ("ur", &[Script::Arabic]),
    ("hi", &[Script::Devanagari]),
    ("mr", &[Script::Devanagari]),
    ("ne", &[Script::Devanagari]),
    ("bn", &[Script::Bengali]),
    ("pa", &[Script::Gurmukhi]),
    ("gu", &[Script::Gujarati]),
    ("ta", &[Script::Tamil]),
    ("te", &[Script::Telugu]),
    ("kn", &[Script::Kannada]),
    ("ml", &[Script::Malayalam]),
    ("si", &[Script::Sinhala]),
    ("th", &[Script::Thai]),
    ("lo", &[Script::Lao]),
    ("bo", &[Script::Tibetan]),
    ("my", &[Script::Myanmar]),
    ("ka", &[Script::Georgian]),
    ("am", &[Script::Ethiopic]),
    ("km", &[Script::Khmer]),
];

/// Other languages written in Latin letters.
const LATIN: &[&str] = &[
    "af", "ca", "cs", "cy", "da", "de", "es", "et", "eu", "fi", "fr", "ga", "gl", "ha", "hr", "hu", "id",
    "ig", "is", "it", "la", "lt", "lv", "ms", "mt", "nb", "nl", "nn", "no", "pl", "pt", "ro", "sk", "sl",
    "so", "sq", "sv", "sw", "tl", "tr", "uz", "vi", "yo", "zu",
];

impl Script {
    /// The script of a letter; absent for digits, marks, punctuation and anything else.
    pub fn of(c: char) -> Option<Script> {
        let point = c as u32;
        if point < 0x80 {
            return c.is_ascii_alphabetic().then_some(Script::Latin);
        }
        let i = RANGES.partition_point(|&(_, last, _)| last < point);
        let &(first, _, script) = RANGES.get(i)?;
        (first <= point && !is_mark(c)).then_some(script)
    }

    /// The scripts of a language tag (`en`, `zh-Hant`, `pt_BR`), in any case.
    pub fn of_language(tag: &str) -> Option<&'static [Script]> {
        let code = tag.split(['-', '_']).next().unwrap_or("").to_ascii_lowercase();
        if LATIN.contains(&code.as_str()) {
            return Some(&[Script::Latin]);
        }
        LANGUAGES.iter().find(|(name, _)| *name == code).map(|&(_, scripts)| scripts)
    }

    /// True where words are not separated by spaces, so that each character counts.
    pub(super) fn is_unspaced(self) -> bool {
        matches!(self, Script::Han | Script::Kana)
    }

    /// The language most text in this script is written in.
    pub(super) fn typical_language(self) -> &'static str {
        LANGUAGES.iter().find(|(_, scripts)| scripts[0] == self).map_or("en", |&(name, _)| name)
    }
}

/// Combining marks and signs that belong to the letter before them.
pub(super) fn is_mark(c: char) -> bool {
    !c.is_ascii()
        && (matches!(c as u32, 0x300..=0x36F | 0x200C..=0x200D | 0x3099..=0x309C | 0x64B..=0x65F | 0x5B0..=0x5C7)
            || (!c.is_alphanumeric() && matches!(c as u32, 0x900..=0x1100 | 0x1780..=0x17FF)))
}
