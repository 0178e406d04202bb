//! What must hold for any text: no panic, a verdict within a bounded time, the same verdict from either side, and every
//! text equal to itself. The texts are drawn from a seeded generator: pieces of notation put together at random, and
//! known answers with bytes changed.

use r1_verify::extract::{DEFAULT_ORDER, Prefill, Source, extract, split};
use r1_verify::{Verdict, choice, countdown, exact, format, language, math, repetition, steps};
use std::time::{Duration, Instant};

/// xorshift64*
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const PIECES: &[&str] = &[
    "0",
    "1",
    "2",
    "7",
    "14",
    "1,000",
    "1 000",
    "0.5",
    ".",
    "3.25",
    "1e3",
    "1e-9",
    "-",
    "+",
    "*",
    "/",
    "^",
    "_",
    "!",
    "%",
    "°",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\\{",
    "\\}",
    "|",
    "<",
    ">",
    "=",
    "\\le",
    "\\neq ",
    "\\in ",
    ",",
    ";",
    ":",
    " ",
    "\n",
    "$",
    "\\$",
    "x",
    "y",
    "n",
    "e",
    "i",
    "\\pi",
    "π",
    "ab",
    "\\frac",
    "\\frac{",
    "\\dfrac12",
    "\\sqrt",
    "\\sqrt[3]{",
    "\\binom{4}{2}",
    "\\sin ",
    "\\cos(",
    "\\ln ",
    "\\log_2",
    "\\left(",
    "\\right)",
    "\\text{",
    "\\text{ and }",
    " or ",
    "\\cup ",
    "\\cap ",
    "\\infty",
    "\\emptyset",
    "\\pm ",
    "±",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "&",
    "\\\\",
    " cm",
    " m/s",
    "€",
    "dollars",
    "½",
    "²",
    "⁻¹",
    "\\overline{3}",
    "0.\\overline{12}",
    "\\mathbb{R}",
    "\\setminus ",
    "\\circ",
    "^\\circ",
    "12_8",
    "\\boxed{",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "####",
    "The answer is ",
    "答案是",
    "，",
    "。",
    "１２",
    "٣",
    "√",
    "∞",
    "\u{0}",
    "\u{202f}",
    "é",
    "yes",
    "A",
    "(B)",
    "\\",
    "`",
    "**",
    "'",
    "\"",
    "\u{1F600}",
    "\\lfloor ",
    "\\rfloor ",
    "5!",
    "9^9^9",
    "million",
];

const ANSWERS: &[&str] = &[
    "14",
    "\\frac{3}{4}",
    "1,234.50",
    "x^2 + 2x + 1",
    "\\sqrt{3+2\\sqrt{2}}",
    "(1, 2]",
    "\\{1, 2, 3\\}",
    "x > 2",
    "18\\text{ cm}",
    "\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}",
    "2\\frac{1}{3}",
    "50\\%",
    "\\frac{1 \\pm \\sqrt{5}}{2}",
    "60^\\circ",
    "(-\\infty, 1) \\cup (2, \\infty)",
    "e^{i\\pi} + 1",
    "\\log_2 8",
    "y = 2x + 1",
    "1010_2",
    "3:4",
    "$18.00",
    "\\sin^2 x + \\cos^2 x",
    "<think>2 + 3</think> <answer>\\boxed{5}</answer>",
    "10*72 - 98 + 95",
    "x \\in \\mathbb{R}",
    "0.1\\overline{6}",
];

fn composed(draw: &mut Draw) -> String {
    let n = 1 + draw.below(12);
    (0..n).map(|_| *draw.pick(PIECES)).collect()
}

fn mutated(draw: &mut Draw) -> String {
    let answer = *draw.pick(ANSWERS);
    changed(answer, draw)
}

fn changed(answer: &str, draw: &mut Draw) -> String {
    let mut bytes = answer.as_bytes().to_vec();
    for _ in 0..1 + draw.below(4) {
        let at = draw.below(bytes.len() + 1);
        match draw.below(4) {
            0 => bytes.insert(at, draw.next() as u8),
            1 if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            _ => {
                let piece = draw.pick(PIECES).bytes();
                bytes.splice(at..at, piece);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text(draw: &mut Draw) -> String {
    if draw.below(2) == 0 { composed(draw) } else { mutated(draw) }
}

/// More rounds or another seed, for longer runs.
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The slowest comparison may take this long, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn verdicts_are_symmetric_reflexive_and_quick() {
    let mut draw = Draw(number("R1_SEED", 0x5EED));
    let policies = [
        math::Policy::default(),
        math::Policy { drop_units: false, strict_percent: true, ..math::Policy::default() },
        math::Policy { ignore_case: true, any_order: true, ..math::Policy::default() },
        math::Policy { decimal_comma: true, ..math::Policy::default() },
    ];
    let mut decided = [0usize; 3];
    for round in 0..number("R1_ROUNDS", 60_000) {
        let (mut a, mut b) = (text(&mut draw), text(&mut draw));
        if round % 3 == 0 {
            b = draw.pick(ANSWERS).to_string();
            a = changed(&b, &mut draw);
        }
        let policy = draw.pick(&policies);
        let begun = Instant::now();
        let there = math::judge(&a, &b, policy);
        let back = math::judge(&b, &a, policy);
        assert_eq!(there, back, "not symmetric: {a:?} {b:?}");
        assert_eq!(math::judge(&a, &a, policy).verdict, Verdict::Equal, "{a:?}");
        // Whitespace at the ends never matters.
        assert_eq!(math::judge(&format!(" {a}\n"), &b, policy), there, "{a:?} {b:?}");
        let _ = math::normal_form(&a, policy);
        assert!(begun.elapsed() < PATIENCE, "{a:?} {b:?} took {:?}", begun.elapsed());
        decided[there.verdict as usize] += 1;
    }
    println!("equal, unequal, undecided: {decided:?}");
    let all: usize = decided.iter().sum();
    assert!(decided[0] * 100 > all && decided[2] * 20 < all, "{decided:?}");
}

#[test]
fn every_reader_takes_any_text() {
    let mut draw = Draw(0xFACADE);
    for _ in 0..40_000 {
        let (a, b) = (text(&mut draw), text(&mut draw));
        let prefill = *draw.pick(&[Prefill::No, Prefill::Yes]);
        for order in [DEFAULT_ORDER, Source::ALL, &[Source::Number], &[Source::Line]] {
            if let Ok(found) = extract(&a, order, prefill) {
                assert!(a.is_char_boundary(found.span.start) && a.is_char_boundary(found.span.end));
                assert!(!found.answer.trim().is_empty(), "{a:?}");
                let visible = split(&a, prefill).visible.expect("an answer is visible");
                assert!(visible.start <= found.span.start && found.span.end <= visible.end, "{a:?}");
            }
        }
        let target: &str = draw.pick::<&str>(&["en", "zh", "ja", "ru"]);
        let share = language::consistency(&a, prefill, target).expect("known");
        assert!((0.0..=1.0).contains(&share));
        assert_eq!(choice::judge(&a, &b, &["London", "Paris"]), choice::judge(&b, &a, &["London", "Paris"]));
        assert!(exact::judge(&a, &a, exact::Policy::default()).is_equal());
        let _ = countdown::judge(&a, &[1, 2, 7, 14], 14, countdown::Use::Some);
        for value in [format::r1(&a, prefill), format::think(&a), format::open_r1(&a), format::tag_count(&a)]
        {
            assert!((0.0..=1.0).contains(&value));
        }
        assert!((0.0..=1.0).contains(&steps::reasoning_steps(&a)));
        assert!((-1.0..=0.0).contains(&repetition::penalty(&repetition::words(&a), 2, -1.0)));
    }
}

#[test]
fn rewriting_an_expression_keeps_its_value() {
    // Random trees written in two notations: LaTeX with fractions and braces, and plain with everything in parentheses.
    fn tree(draw: &mut Draw, depth: usize) -> (String, String) {
        if depth == 0 || draw.below(5) == 0 {
            let leaf = *draw.pick(&["1", "2", "3", "5", "7", "12", "x", "y", "0.5", "1.25"]);
            return (leaf.to_string(), leaf.to_string());
        }
        let (a, p) = tree(draw, depth - 1);
        let (b, q) = tree(draw, depth - 1);
        match draw.below(5) {
            0 => (format!("{a} + {b}"), format!("(({q}) + ({p}))")),
            1 => (format!("\\left({a}\\right) \\cdot \\left({b}\\right)"), format!("({q})*({p})")),
            2 => (format!("\\frac{{{a}}}{{{b}}}"), format!("({p})/({q})")),
            3 => (format!("{a} - \\left({b}\\right)"), format!("-({q}) + ({p})")),
            _ => (format!("\\left({a}\\right)^{{2}}"), format!("({p})**2")),
        }
    }
    let mut draw = Draw(77);
    let policy = math::Policy::default();
    let mut equal = 0;
    for _ in 0..3_000 {
        let (latex, plain) = tree(&mut draw, 3);
        let judged = math::judge(&latex, &plain, &policy);
        // A division by zero has no value, and what has none is not shown to be equal.
        if judged.rule == "undefined" {
            continue;
        }
        assert_eq!(judged.verdict, Verdict::Equal, "{latex:?} {plain:?} {judged:?}");
        equal += 1;
        let shifted = format!("({plain}) + 1/1000000007");
        assert_eq!(math::judge(&latex, &shifted, &policy).verdict, Verdict::Unequal, "{latex:?}");
    }
    assert!(equal > 2_500, "{equal}");
}
