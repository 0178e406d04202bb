//! Objects that are more than one number: names, lists, sets, intervals, equations; and what certified numbers decide.

use super::{differ, equal, verdict};
use crate::Verdict;

#[test]
fn names_stand_for_their_values() {
    equal("x = 3", "3");
    equal("3 = x", "x=3");
    equal("x=3", "x = \\frac{6}{2}");
    differ("x = 3", "y = 3");
    equal("f(x) = x + 1", "x + 1");
    equal("\\text{Area} = 5", "5");
    equal("the total is 18 dollars", "18");
    equal("x \\in \\{1, 2\\}", "\\{2, 1\\}");
}

#[test]
fn lists_sets_and_tuples() {
    equal("1, 2", "2, 1");
    equal("\\{1, 2\\}", "{2, 1}");
    equal("1 and 2", "\\{1,2\\}");
    equal("x = 1 or x = 2", "1, 2");
    equal("x = \\pm 2", "-2, 2");
    equal("\\pm 2", "2, -2");
    equal("\\frac{1 \\pm \\sqrt{5}}{2}", "\\frac{1+\\sqrt5}{2}, \\frac{1-\\sqrt5}{2}");
    differ("1, 2", "1, 3");
    differ("1, 2", "1");
    equal("-0.875, 0.875", "\\pm 7/8");
    equal("(1, 2)", "( 1,2 )");
    differ("(1, 2)", "(2, 1)");
    equal("(1, 2)", "1, 2");
    differ("(1, 2)", "[1, 2]");
    differ("(0, 1]", "[0, 1)");
    equal("\\emptyset", "\\{\\}");
    equal("\\varnothing", "∅");
    differ("\\emptyset", "0");
    equal("\\langle 1, 2 \\rangle", "(1,2)");
    equal("\\left( \\frac12, 3 \\right)", "(0.5, 3)");
    equal("3:4", "6:8");
    equal("3:4", "3/4");
    equal("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "[[1,2],[3,4]]");
    equal("\\begin{bmatrix} 1/2 \\\\ 3 \\end{bmatrix}", "\\begin{pmatrix} 0.5 \\\\ 3 \\end{pmatrix}");
    differ("\\begin{pmatrix} 1 & 2 \\end{pmatrix}", "\\begin{pmatrix} 1 & 3 \\end{pmatrix}");
    equal("\\infty", "+\\infty");
    differ("\\infty", "-\\infty");
}

#[test]
fn logarithms_and_trigonometry() {
    equal("\\ln 8", "3 \\ln 2");
    equal("\\log_2 8", "3");
    equal("\\log 100", "2");
    equal("\\log 2", "\\ln 2");
    equal("\\frac{\\ln 8}{\\ln 2}", "3");
    equal("\\sin 30^\\circ", "1/2");
    equal("\\sin(\\pi/6)", "0.5");
    equal("\\cos 75°", "\\frac{\\sqrt6-\\sqrt2}{4}");
    equal("\\tan \\frac{\\pi}{4}", "1");
    equal("\\ln e^3", "3");
    equal("\\sin x", "sin(x)");
}

#[test]
fn certified_numbers_decide_what_algebra_cannot() {
    let by = |a: &str, b: &str| verdict(a, b).rule;
    equal("\\sqrt{3+2\\sqrt2}", "1+\\sqrt2");
    assert_eq!(by("\\sqrt{3+2\\sqrt2}", "1+\\sqrt2"), "numeric");
    equal("\\sin^2 x + \\cos^2 x", "1");
    equal("\\sin 2x", "2 \\sin x \\cos x");
    equal("2^{n+1}", "2 \\cdot 2^n");
    equal("e^{x+y}", "e^x e^y");
    equal("e^{i\\pi}", "-1");
    equal("|3+4i|", "5");
    equal("\\cos(\\pi/5)", "\\frac{1+\\sqrt5}{4}");
    equal("\\sin^{-1}(1/2)", "\\frac{\\pi}{6}");
    equal("\\arctan 1", "π/4");
    equal("\\log_2 (x^2)", "2 \\log_2 |x|");
    equal("\\sqrt{x^2}", "|x|");
    equal("\\sqrt[3]{2+\\sqrt5} + \\sqrt[3]{2-\\sqrt5}", "1");
    equal("\\lfloor \\pi \\rfloor", "3");
    equal("\\cosh x", "\\frac{e^x + e^{-x}}{2}");
    differ("|x|", "x");
    differ("\\sqrt{x^2}", "x");
    differ("1 - 1/e", "1 + 1/e");
    differ("\\sin x", "\\cos x");
    differ("e^{\\pi}", "23.1406926327792690");
    differ("e^{\\pi\\sqrt{163}}", "262537412640768744");
    differ("\\sqrt{2}+\\sqrt{3}", "\\sqrt{9.898979485566356}");
    differ("\\ln 2", "0.693147180559945309417232121458");
    differ("2^n", "n^2");
    differ("\\sin(10^{-30})", "10^{-30}");
    differ("e^{-2000}", "e^{-2001}");
    assert_eq!(verdict("\\sin(10^{-2000})", "\\sin(10^{-2001})").verdict, Verdict::Undecided);
}

#[test]
fn inequalities_are_intervals() {
    equal("x > 2", "(2, \\infty)");
    equal("2 < x \\le 5", "(2, 5]");
    equal("2>x>1", "(1,2)");
    equal("x \\in (1, 2)", "1 < x < 2");
    equal("x<1 or x>2", "(-\\infty, 1) \\cup (2, \\infty)");
    equal("x > 1 \\text{ and } x < 2", "(1,2)");
    equal("(-\\infty,1)\\cup(2,\\infty)", "(2, +oo) U (-oo, 1)");
    equal("x \\neq 3", "(-\\infty,3)\\cup(3,\\infty)");
    equal("\\mathbb{R} \\setminus \\{3\\}", "x \\ne 3");
    equal("\\mathbb{R}", "(-\\infty, \\infty)");
    equal("2x > 4", "x > 2");
    equal("-x < 3", "x > -3");
    equal("[1,2] \\cup [2,3]", "[1,3]");
    equal("[1,3] \\cap [2,5]", "[2,3]");
    equal("x \\ge \\sqrt2", "[\\sqrt{2}, \\infty)");
    equal("\\{x \\mid x > 2\\}", "(2,\\infty)");
    equal("\\{x \\in \\mathbb{R} : x > 2\\}", "(2,\\infty)");
    equal("[1, 2) \\cup \\{2\\}", "[1,2]");
    differ("x > 2", "[2, \\infty)");
    differ("x > 2", "x < 2");
    differ("x > 2", "2");
    differ("(1,2) \\cup (2,3)", "(1,3)");
}

#[test]
fn equations_are_equal_up_to_a_factor() {
    equal("y = 2x + 1", "2x - y + 1 = 0");
    equal("x^2 + y^2 = 4", "2x^2 + 2y^2 - 8 = 0");
    equal("x + y < 3", "3 > y + x");
    equal("y = 2x + 1", "x = \\frac{y-1}{2}");
    differ("y = 2x + 1", "y = 2x - 1");
    differ("x + y < 3", "x + y > 3");
    differ("x + z = 1", "1");
    equal("2 + 3 * 4 = 14", "14");
    equal("x = 2 + 3 = 5", "5");
}
