//! What LaTeX commands, signs, letters and words mean.

use super::expr::{Constant, Delimiter, Function, Relation};
use super::token::Token;

/// What a LaTeX command does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meaning {
    Token(Token),
    /// Whitespace.
    Space,
    /// Size and style: no meaning.
    Skip,
    /// The braces after it hold text.
    Text,
    /// The braces after it hold the letter of a set of numbers.
    NumberSet,
    /// `\begin` (true) and `\end`.
    Environment(bool),
}

/// The meaning of `\name`.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    if let Some(f) = Function::from_name(name) {
        return Some(Meaning::Token(Token::Function(f)));
    }
    let token = match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" => Token::Frac,
        "sqrt" => Token::Sqrt,
        "binom" | "dbinom" | "tbinom" => Token::Binom,
        "cdot" | "times" | "ast" | "bullet" => Token::Times,
        "div" | "over" => Token::Slash,
        "pm" | "mp" => Token::PlusMinus,
        "le" | "leq" | "leqslant" => Token::Relation(Relation::LessEqual),
        "ge" | "geq" | "geqslant" => Token::Relation(Relation::GreaterEqual),
        "lt" => Token::Relation(Relation::Less),
        "gt" => Token::Relation(Relation::Greater),
        "ne" | "neq" => Token::Relation(Relation::NotEqual),
        "eq" => Token::Relation(Relation::Equal),
        "in" => Token::Relation(Relation::In),
        "cup" | "bigcup" => Token::Union,
        "cap" | "bigcap" => Token::Intersection,
        "setminus" | "backslash" | "smallsetminus" => Token::Difference,
        "infty" | "infin" => Token::Constant(Constant::Infinity),
        "pi" => Token::Constant(Constant::Pi),
        "circ" | "degree" => Token::Degree,
        "prime" => Token::Prime,
        "emptyset" | "varnothing" => Token::EmptySet,
        "vert" | "lvert" | "rvert" | "mid" => Token::Bar,
        "langle" => Token::Open(Delimiter::Angle),
        "rangle" => Token::Close(Delimiter::Angle),
        "lbrace" => Token::Open(Delimiter::Curly),
        "rbrace" => Token::Close(Delimiter::Curly),
        "lparen" => Token::Open(Delimiter::Round),
        "rparen" => Token::Close(Delimiter::Round),
        "lbrack" => Token::Open(Delimiter::Square),
        "rbrack" => Token::Close(Delimiter::Square),
        "lfloor" => Token::Floor(true),
        "rfloor" => Token::Floor(false),
        "lceil" => Token::Ceil(true),
        "rceil" => Token::Ceil(false),
        "land" | "wedge" => Token::And,
        "lor" | "vee" => Token::Or,
        "colon" => Token::Colon,
        "euro" => Token::Currency("EUR"),
        "pounds" => Token::Currency("GBP"),
        "yen" => Token::Currency("JPY"),
        "reals" => Token::NumberSet('R'),
        "alpha" | "beta" | "gamma" | "delta" | "epsilon" | "varepsilon" | "zeta" | "eta" | "theta"
        | "vartheta" | "iota" | "kappa" | "lambda" | "mu" | "nu" | "xi" | "rho" | "varrho" | "sigma"
        | "tau" | "upsilon" | "phi" | "varphi" | "chi" | "psi" | "omega" | "Gamma" | "Delta" | "Theta"
        | "Lambda" | "Xi" | "Pi" | "Sigma" | "Phi" | "Psi" | "Omega" | "ell" => {
            Token::Letter(name.trim_start_matches("var").to_string())
        }
        _ => {
            return Some(match name {
                "quad" | "qquad" | "enspace" | "thinspace" | "space" | "nobreakspace" | "newline" => {
                    Meaning::Space
                }
                "left" | "right" | "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr"
                | "biggl" | "biggr" | "middle" | "displaystyle" | "textstyle" | "scriptstyle" | "limits"
                | "rm" | "bf" | "it" | "boldsymbol" | "vec" | "hat" | "bar" | "overline" | "mathstrut"
                | "large" | "Large" | "normalsize" | "boxed" | "fbox" | "ensuremath" | "bm"
                | "operatorname" | "mathop" | "color" => {
                    return skipped(name);
                }
                "text" | "mathrm" | "textbf" | "mathbf" | "textit" | "mathit" | "textrm" | "mbox"
                | "hbox" | "mathsf" | "texttt" | "mathtt" | "textsf" | "mathnormal" | "textnormal" => {
                    Meaning::Text
                }
                "mathbb" | "Bbb" => Meaning::NumberSet,
                "begin" => Meaning::Environment(true),
                "end" => Meaning::Environment(false),
                _ => return None,
            });
        }
    };
    Some(Meaning::Token(token))
}

/// Commands that only change the look are skipped; a bar or arrow over something changes what it is.
fn skipped(name: &str) -> Option<Meaning> {
    match name {
        "vec" | "hat" | "bar" | "overline" | "color" => None,
        "operatorname" | "mathop" => Some(Meaning::Text),
        _ => Some(Meaning::Skip),
    }
}

/// The meaning of a single character that is no letter, digit or space.
pub(super) fn sign(c: char) -> Option<Token> {
    Some(match c {
        '+' => Token::Plus,
        '-' => Token::Minus,
        '±' | '∓' => Token::PlusMinus,
        '*' | '×' | '·' | '⋅' | '∙' | '∗' | '•' => Token::Times,
        '/' | '÷' | '∕' | '⁄' => Token::Slash,
        '^' => Token::Caret,
        '_' => Token::Underscore,
        '!' => Token::Bang,
        '%' | '٪' => Token::Percent,
        '°' | 'º' | '˚' => Token::Degree,
        '\'' | '′' | '’' => Token::Prime,
        ',' | '،' => Token::Comma,
        ';' => Token::Semicolon,
        ':' | '∶' => Token::Colon,
        '=' => Token::Relation(Relation::Equal),
        '<' => Token::Relation(Relation::Less),
        '>' => Token::Relation(Relation::Greater),
        '≤' | '⩽' => Token::Relation(Relation::LessEqual),
        '≥' | '⩾' => Token::Relation(Relation::GreaterEqual),
        '≠' => Token::Relation(Relation::NotEqual),
        '∈' => Token::Relation(Relation::In),
        '∪' => Token::Union,
        '∩' => Token::Intersection,
        '∖' => Token::Difference,
        '∅' => Token::EmptySet,
        '∞' => Token::Constant(Constant::Infinity),
        '√' => Token::Sqrt,
        '|' | '∣' => Token::Bar,
        '(' => Token::Open(Delimiter::Round),
        ')' => Token::Close(Delimiter::Round),
        '[' => Token::Open(Delimiter::Square),
        ']' => Token::Close(Delimiter::Square),
        '⟨' => Token::Open(Delimiter::Angle),
        '⟩' => Token::Close(Delimiter::Angle),
        '{' => Token::GroupOpen,
        '}' => Token::GroupClose,
        '⌊' => Token::Floor(true),
        '⌋' => Token::Floor(false),
        '⌈' => Token::Ceil(true),
        '⌉' => Token::Ceil(false),
        '&' => Token::Ampersand,
        '$' => Token::Currency("USD"),
        '€' => Token::Currency("EUR"),
        '£' => Token::Currency("GBP"),
        '¥' | '￥' => Token::Currency("JPY"),
        '₹' => Token::Currency("INR"),
        '₽' => Token::Currency("RUB"),
        'ℝ' => Token::NumberSet('R'),
        _ => return None,
    })
}

/// The meaning of a run of letters, where it has one of its own.
pub(super) fn word(run: &str) -> Option<Token> {
    if let Some(f) = Function::from_name(run) {
        return Some(Token::Function(f));
    }
    Some(match run {
        "sqrt" => Token::Sqrt,
        "pi" | "Pi" => Token::Constant(Constant::Pi),
        "inf" | "infinity" | "Infinity" | "oo" | "infty" => Token::Constant(Constant::Infinity),
        "and" => Token::And,
        "or" | "和" | "或" => Token::Or,
        "union" => Token::Union,
        "percent" => Token::Percent,
        "degrees" | "degree" | "deg" => Token::Degree,
        "ℝ" => Token::NumberSet('R'),
        "ℤ" => Token::NumberSet('Z'),
        "ℚ" => Token::NumberSet('Q'),
        "ℕ" => Token::NumberSet('N'),
        "ℂ" => Token::NumberSet('C'),
        _ => return None,
    })
}

/// Short words that are answers or part of sentences, and no products of variables.
pub(super) fn is_english(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "yes", "no", "not", "odd", "all", "any", "one", "two", "six", "ten", "the", "for", "is", "are",
        "was", "it", "so", "to", "of", "on", "at", "by", "as", "an", "we", "he", "she", "dne", "red", "sun",
        "mon", "tue", "wed", "thu", "fri", "sat", "may", "jan", "feb", "mar", "apr", "jun", "jul", "aug",
        "sep", "oct", "nov", "dec", "am", "pm",
    ];
    WORDS.contains(&word.to_ascii_lowercase().as_str())
}

/// The token of a single letter or letter name: `e` and `i` are the constants.
pub(super) fn named(name: &str) -> Token {
    match name {
        "e" => Token::Constant(Constant::E),
        "i" => Token::Constant(Constant::I),
        "pi" => Token::Constant(Constant::Pi),
        _ => Token::Letter(name.to_string()),
    }
}

/// The name of a Greek letter.
pub(super) fn greek(c: char) -> Option<&'static str> {
    Some(match c {
        'α' => "alpha",
        'β' => "beta",
        'γ' => "gamma",
        'δ' => "delta",
        'ε' | 'ϵ' => "epsilon",
        'ζ' => "zeta",
        'η' => "eta",
        'θ' | 'ϑ' => "theta",
        'κ' => "kappa",
        'λ' => "lambda",
        'μ' | 'µ' => "mu",
        'ν' => "nu",
        'ξ' => "xi",
        'π' => "pi",
        'ρ' => "rho",
        'σ' | 'ς' => "sigma",
        'τ' => "tau",
        'φ' | 'ϕ' => "phi",
        'χ' => "chi",
        'ψ' => "psi",
        'ω' => "omega",
        'Δ' => "Delta",
        'Γ' => "Gamma",
        'Θ' => "Theta",
        'Λ' => "Lambda",
        'Σ' => "Sigma",
        'Φ' => "Phi",
        'Ψ' => "Psi",
        'Ω' => "Omega",
        _ => return None,
    })
}

/// The ordinary character a superscript stands for.
pub(super) fn superscript(c: char) -> Option<char> {
    Some(match c {
        '⁰' => '0',
        '¹' => '1',
        '²' => '2',
        '³' => '3',
        '⁴' => '4',
        '⁵' => '5',
        '⁶' => '6',
        '⁷' => '7',
        '⁸' => '8',
        '⁹' => '9',
        '⁻' => '-',
        '⁺' => '+',
        'ⁿ' => 'n',
        _ => return None,
    })
}

/// Full-width forms, dashes and other doubles as the ASCII character they stand for.
pub(super) fn ascii_of(c: char) -> char {
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0).unwrap_or(c),
        '−' | '–' | '—' | '‒' | '﹣' => '-',
        '、' => ',',
        '。' => '.',
        '\u{3000}' => ' ',
        '【' => '[',
        '】' => ']',
        c => c,
    }
}

/// Where the group that opens at `open` closes.
pub(super) fn closing(chars: &[char], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = open;
    while let Some(&c) = chars.get(at) {
        match c {
            '\\' => at += 1,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}
