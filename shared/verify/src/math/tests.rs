mod objects;

use super::*;
use crate::Verdict;

fn verdict(a: &str, b: &str) -> Judgement {
    let p = Policy::default();
    let judged = judge(a, b, &p);
    assert_eq!(judged, judge(b, a, &p), "not symmetric: {a:?} {b:?}");
    judged
}

#[track_caller]
fn equal(a: &str, b: &str) {
    let judged = verdict(a, b);
    let forms = (normal_form(a, &Policy::default()), normal_form(b, &Policy::default()));
    assert_eq!(judged.verdict, Verdict::Equal, "{a:?} {b:?}: {judged:?} {forms:?}");
}

#[track_caller]
fn differ(a: &str, b: &str) {
    let judged = verdict(a, b);
    let forms = (normal_form(a, &Policy::default()), normal_form(b, &Policy::default()));
    assert_eq!(judged.verdict, Verdict::Unequal, "{a:?} {b:?}: {judged:?} {forms:?}");
}

#[test]
fn integers_and_decimals_are_exact() {
    for same in [
        "14",
        "+14",
        "14.",
        "14.0",
        " 14 ",
        "$14$",
        "\\(14\\)",
        "**14**",
        "\\text{14}",
        "1.4e1",
        "28/2",
        "014",
        "１４",
        "١٤",
        "\\boxed{14}",
        "1.4 \\times 10^{1}",
        "14.00000",
        "{14}",
        "(14)",
        "\\mathbf{14}",
        "`14`",
        "\"14\"",
    ] {
        equal(same, "14");
        differ(same, "15");
        differ(same, "14.000001");
    }
    equal("-7", "−7");
    equal("- 7", "-7");
    differ("-7", "7");
    equal(".5", "0.5");
    equal("0.50", "\\frac12");
    differ("0.333333", "1/3");
    differ("1e-7", "2e-7");
    equal("1e-7", "0.0000001");
    equal("1.5E3", "1500");
    differ("1/2004!", "1/2006!");
    equal("2006!", "2006 \\cdot 2005!");
}

#[test]
fn thousands_have_separators() {
    for same in [
        "1,000",
        "1\\,000",
        "1{,}000",
        "1 000",
        "1\u{202f}000",
        "1'000",
        "1_000",
        "1\\ 000",
        "$1,000",
        "1,000.00",
        "1,\\!000",
    ] {
        equal(same, "1000");
    }
    equal("12,345,678.9", "12345678.9");
    differ("1,00", "100");
    differ("(1,000)", "1000");
    equal("(1,000)", "(1, 0)");
    differ("1,2", "12");
}

#[test]
fn fractions_and_mixed_numbers() {
    for same in [
        "\\frac{3}{4}",
        "3/4",
        "\\dfrac34",
        "\\tfrac{3}{4}",
        "0.75",
        "75%",
        "75\\%",
        "75 percent",
        "¾",
        "\\frac{6}{8}",
        "\\frac3{4}",
        "3 \\div 4",
        "{3 \\over 4}",
        "-\\frac{-3}{4}",
        "1 - 1/4",
        "1.5/2",
    ] {
        equal(same, "\\frac{3}{4}");
    }
    equal("1\\frac{1}{2}", "1.5");
    equal("1 1/2", "3/2");
    equal("-1 1/2", "-3/2");
    equal("-2\\frac{1}{3}", "-7/3");
    equal("2½", "2.5");
    differ("11/2", "1 1/2");
    differ("2 * 3/4", "2 3/4");
    equal("2 * 3/4", "1.5");
    differ("1 2", "3");
}

#[test]
fn repeating_decimals() {
    equal("0.\\overline{3}", "1/3");
    equal("0.1\\overline{6}", "1/6");
    equal("0.\\overline{142857}", "\\frac{1}{7}");
    equal("0.(3)", "1/3");
    equal("0.\\bar{9}", "1");
    differ("0.\\overline{3}", "0.3");
}

#[test]
fn percent_degrees_and_bases() {
    equal("50%", "1/2");
    equal("50%", "50");
    differ("50%", "5");
    differ("0.5%", "50%");
    equal("7\\frac{1}{2}\\%", "7.5\\%");
    equal("7 1/2 %", "7.5%");
    equal("1/2%", "0.005");
    equal("22\\frac12^\\circ", "22.5°");
    equal("60^\\circ", "60");
    equal("60°", "60 degrees");
    equal("60^{\\circ}", "\\frac{\\pi}{3}");
    differ("60°", "61");
    equal("1010_2", "10");
    equal("1010_{2}", "1010");
    equal("1010_2", "12_8");
    differ("1010_2", "11");
    let strict = Policy { strict_percent: true, ..Policy::default() };
    assert!(!judge("50%", "50", &strict).is_equal() && judge("50%", "0.5", &strict).is_equal());
}

#[test]
fn units_agree_or_are_dropped() {
    for same in
        ["18 cm", "18\\text{ cm}", "18 \\mathrm{cm}", "18cm", "0.18 m", "180 mm", "18 centimeters", "18"]
    {
        equal(same, "18 cm");
    }
    equal("8\\,\\text{m}", "8\\text{ m}");
    differ("18 cm", "18 m");
    differ("18 cm", "18 s");
    equal("18 dollars", "$18");
    equal("€18", "18");
    equal("18 €", "€18");
    differ("€18", "$18");
    equal("1800 cents", "$18");
    equal("\\$18.00", "18");
    equal("-$5", "-5");
    equal("18 eggs", "18");
    equal("18 eggs per day", "18");
    equal("18个", "18");
    equal("5 m^2", "50000 \\text{ cm}^2");
    equal("5 square meters", "5 m^2");
    differ("5 m^2", "5 m");
    equal("36 km/h", "10 m/s");
    equal("36 \\text{ km/h}", "10 \\frac{m}{s}".replace("\\frac{m}{s}", "m/s").as_str());
    equal("60 mph", "60 miles per hour");
    equal("2 million", "2,000,000");
    equal("-1.8 billion", "-1800000000");
    equal("$1.5 million", "1500000");
    let strict = Policy { drop_units: false, ..Policy::default() };
    assert!(!judge("18 cm", "18", &strict).is_equal());
}

#[test]
fn case_and_order_are_settable() {
    let loose = Policy { ignore_case: true, any_order: true, ..Policy::default() };
    for (a, b) in [("3X+1", "1+3x"), ("(1, 2)", "(2, 1)"), ("Y = 2", "y=2"), ("2E", "2e"), ("A_1", "a_1")] {
        assert!(judge(a, b, &loose).is_equal(), "{a} {b}");
        differ(a, b);
    }
    for (a, b) in [("(1, 2)", "(1, 3)"), ("(1, 1)", "(1, 2)"), ("(1, 2)", "(1, 2, 2)"), ("(1, 2)", "[2, 1]")]
    {
        assert!(!judge(a, b, &loose).is_equal(), "{a} {b}");
    }
}

#[test]
fn what_fuzzing_found_stays_found() {
    let begun = std::time::Instant::now();
    // The thousandth root of a number at 1,536 bits.
    judge("1.-19^93^110.011c", "1!!", &Policy::default());
    judge("9^82,9^082,9199^82,9^082,999", "1", &Policy { decimal_comma: true, ..Policy::default() });
    assert!(begun.elapsed() < std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn arithmetic_is_evaluated() {
    equal("2 + 3 * 4", "14");
    equal("(2 + 3) * 4", "20");
    equal("2^{10}", "1024");
    equal("2^10", "2**10");
    equal("-2^2", "-4");
    equal("2^3^2", "512");
    equal("5!", "120");
    equal("\\binom{5}{2}", "10");
    equal("|{-3}|", "3");
    equal("\\lfloor 3.7 \\rfloor", "3");
    equal("10 - 4 - 3", "3");
    equal("8/4/2", "1");
    equal("\\gcd(12, 18)", "6");
    equal("2^{-1}", "0.5");
    equal("6 × 7", "42");
    equal("3²", "9");
    equal("10⁻²", "0.01");
    differ("1/0", "5");
}

#[test]
fn roots_are_exact() {
    equal("\\sqrt{8}", "2\\sqrt{2}");
    equal("\\sqrt2", "2^{0.5}");
    equal("√2", "sqrt(2)");
    equal("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}");
    equal("\\sqrt{\\frac{1}{2}}", "\\sqrt{2}/2");
    equal("\\sqrt[3]{16}", "2\\sqrt[3]{2}");
    equal("\\sqrt{2}\\sqrt{3}", "\\sqrt{6}");
    equal("\\frac{1}{1+\\sqrt{2}}", "\\sqrt{2} - 1");
    equal("\\sqrt[3]{-8}", "-2");
    equal("(\\sqrt{2} + 1)^2", "3 + 2\\sqrt2");
    differ("\\sqrt{2}", "1.41421356237");
    differ("\\sqrt{2} + \\sqrt{3}", "\\sqrt{5}");
    equal("\\sqrt{16}", "4");
    equal("\\sqrt{-4}", "2i");
    equal("\\sqrt{1000003} \\cdot \\sqrt{1000003}", "1000003");
}

#[test]
fn complex_numbers_and_constants() {
    equal("i^2", "-1");
    equal("(3+4i)(3-4i)", "25");
    equal("\\frac{1}{i}", "-i");
    equal("8.0 + 2.0i", "8 + 2i");
    equal("2i + 8", "8+2i");
    differ("8 + 2i", "8 - 2i");
    equal("2\\pi", "π*2");
    equal("\\frac{\\pi}{2}", "0.5\\pi");
    differ("\\pi", "3.14159265358979");
    differ("\\pi", "22/7");
    equal("e^2 e^{-2}", "1");
}

#[test]
fn polynomials_up_to_identity() {
    equal("3x+2", "2+3x");
    equal("(x+1)^2", "x^2 + 2x + 1");
    equal("x^2-1", "(x-1)(x+1)");
    equal("\\frac{x^2-1}{x-1}", "x+1");
    equal("\\frac{1}{x} + \\frac{1}{y}", "\\frac{x+y}{xy}");
    equal("2(x+1)", "2x+2");
    equal("x_1 + x_2", "x_{2} + x_{1}");
    equal("xy", "yx");
    equal("x\\cdot y", "xy");
    equal(
        "-4*X**8 + 10*X**6/7 + 3*X**4/4 - 11*X**3/6 + C",
        "C - \\frac{11}{6}X^3 + \\frac34 X^4 + \\frac{10}{7}X^6 - 4X^8",
    );
    differ("3x", "3X");
    differ("x+1", "x-1");
    differ("x", "y");
    differ("x+z=1", "1");
    equal("\\alpha + 1", "1 + α");
    equal("\\frac{1}{2}x", "x/2");
    // An exponent is the last letter's.
    equal("2ab^2", "2a\\cdot b^2");
    equal("\\frac{7}{5}ab^{-2}", "\\frac{7a}{5b^2}");
    equal("xyz!", "x y \\cdot z!");
    differ("ab^2", "(ab)^2");
    // A whole number in an exponent is a factor.
    equal("2^{n+1}-2^n", "2^n");
    equal("3\\cdot 3^{n-1}", "3^n");
    differ("2^{n+1}", "2^n+1");
    differ("4^{n+1}-4^n", "4^n");
}

#[test]
fn what_is_no_mathematics_is_text() {
    equal("Yes", "yes.");
    equal("\\text{blue whale}", "Blue Whale");
    differ("yes", "no");
    differ("14", "fourteen");
    differ("Sofia is a villain, and Joseph is a hero.", "Sofia is a hero, and Joseph is a hero.");
    differ("", "14");
    equal("", "");
    equal("57 days, 14:09:00", "57 days, 14:09:00 ");
}

#[test]
fn hard_bounds() {
    let start = std::time::Instant::now();
    for bomb in [
        "9^9^9^9",
        "9^{9^{9^9}}",
        "1000000!",
        "10^{10^{10}}",
        "(1+x)^{100000}",
        "2^{99999999}",
        "1e999999",
        "(((9^999)^999)^999)",
        "((x+y+z+w)^{40})^{40}",
        "\\binom{10^{9}}{5\\cdot 10^8}",
        "5!!!!!!!!!!",
        "(3/7)^{10000000}",
        "\\sqrt[999999]{2^{77777}+1}",
        "\\ln(10^{4000}+1)",
    ] {
        let judged = verdict(bomb, "14");
        assert_ne!(judged.verdict, Verdict::Equal, "{bomb} {judged:?}");
        assert_eq!(verdict(bomb, bomb).verdict, Verdict::Equal);
    }
    let nested =
        ["{", "(", "\\frac{", "\\sqrt{", "-", "2^", "|", "\\{", "[", "x_{", "\\left(", "1+(", "sin "];
    for piece in nested {
        for n in [100, 1_000, 100_000] {
            let text = piece.repeat(n) + "1";
            let judged = verdict(&text, "14");
            assert_ne!(judged.verdict, Verdict::Equal, "{piece} {judged:?}");
            let _ = normal_form(&text, &Policy::default());
        }
    }
    let long = "7".repeat(10_000_000);
    assert_eq!(verdict(&long, "14").verdict, Verdict::Undecided);
    assert_eq!(verdict(&long, &long).verdict, Verdict::Equal);
    for piece in [
        "1+",
        "x+",
        "x*",
        "1/",
        "(x+1)",
        "\\pm ",
        "1,",
        "x^2+y*",
        "!",
        "\\sin x +",
        "a b c d ",
        "\\frac12",
        "1 ",
    ] {
        for n in [50, 500, 4_000] {
            let text = piece.repeat(n) + "1";
            let _ = verdict(&text, "x^2 + 14");
            let _ = normal_form(&text, &Policy::default());
        }
    }
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}
