"""Writes pairs of answers whose equality is known by how they are made: form, expected, answer, 1 or 0, one a line.

    python3 scripts/bench/verify_pairs.py 100 > pairs.tsv            # at most 100 equal and 100 unequal pairs a form
    python3 scripts/bench/verify_pairs.py --natural 6000 > mix.tsv   # so many pairs, forms as often as MATH and GSM8K have them
"""

import math
import random
import sys
from fractions import Fraction

R = random.Random(20)
PAIRS = {}


def add(form, expected, same, others):
    """`same` are other notations of `expected`; `others` are other values."""
    equal, unequal = PAIRS.setdefault(form, ([], []))
    equal += [(expected, text) for text in same]
    unequal += [(expected, text) for text in others]


def n(low=1, high=99):
    return R.randint(low, high)


def tex(value):
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def poly(coefficients, variable="x"):
    """Coefficients from the highest power on."""
    terms = []
    for power, c in zip(range(len(coefficients) - 1, -1, -1), coefficients):
        if c == 0:
            continue
        body = {0: "", 1: variable}.get(power, f"{variable}^{{{power}}}")
        size = "" if abs(c) == 1 and body else str(abs(c))
        terms.append(("-" if c < 0 else "+") + size + body)
    return "".join(terms).lstrip("+") or "0"


def more(a, b, c, d, s, k, whole, big, xs_of):
    """Forms beside the plain ones: what answers in MATH look like when they are not numbers, and odd ways to write those that are."""
    sign = lambda v: f"+{v}" if v >= 0 else str(v)
    # Radicals, logarithms, trigonometric values.
    add("rationalized denominator", rf"\frac{{{a}}}{{\sqrt{{{c + d}}}+\sqrt{{{c}}}}}", [rf"\frac{{{a}(\sqrt{{{c + d}}}-\sqrt{{{c}}})}}{{{d}}}", rf"\frac{{{a}\sqrt{{{c + d}}}-{a}\sqrt{{{c}}}}}{{{d}}}"],
        [rf"\frac{{{a}(\sqrt{{{c + d}}}-\sqrt{{{c}}})}}{{{d + 1}}}", rf"\frac{{{a}(\sqrt{{{c + d}}}+\sqrt{{{c}}})}}{{{d}}}"])
    add("sum with a radical", rf"\frac{{{a}+{c}\sqrt{{{s}}}}}{{{d}}}", [rf"\frac{{{a}}}{{{d}}}+\frac{{{c}\sqrt{{{s}}}}}{{{d}}}", rf"\frac{{{c}\sqrt{s}+{a}}}{{{d}}}", rf"({a}+{c}\sqrt{{{s}}})/{d}"],
        [rf"\frac{{{a}-{c}\sqrt{{{s}}}}}{{{d}}}", rf"\frac{{{a}+{c}\sqrt{{{s + 10}}}}}{{{d}}}", rf"{a}+\frac{{{c}\sqrt{{{s}}}}}{{{d}}}"])
    add("product of radicals", rf"\sqrt{{{c * s}}}", [rf"\sqrt{{{c}}}\cdot\sqrt{{{s}}}", rf"\sqrt{c}\sqrt{s}", rf"{c * s}^{{1/2}}", rf"({c * s})^{{0.5}}"], [rf"\sqrt{{{c}}}+\sqrt{{{s}}}", rf"\sqrt{{{c * s + 1}}}", rf"{c}\sqrt{{{s}}}"])
    add("logarithm of a product", rf"\ln {c}+\ln {d}", [rf"\ln {c * d}", rf"\ln({d}\cdot {c})", rf"2\ln\sqrt{{{c * d}}}"], [rf"\ln {c + d}", rf"\ln {c}\cdot\ln {d}", rf"\ln {c}-\ln {d + 1}"] if c + d != c * d else [])
    add("change of base", rf"\log_{{{c}}} {a + 1}", [rf"\frac{{\ln {a + 1}}}{{\ln {c}}}", rf"\frac{{\log {a + 1}}}{{\log {c}}}", rf"\log_{{{c * c}}} {(a + 1) ** 2}"], [rf"\frac{{\ln {c}}}{{\ln {a + 1}}}" if a + 1 != c else "7", rf"\log_{{{c}}} {a + 2}"])
    angle, sine, cosine, tangent = R.choice([(30, r"\frac{1}{2}", r"\frac{\sqrt{3}}{2}", r"\frac{\sqrt{3}}{3}"), (45, r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", "1"),
                                             (60, r"\frac{\sqrt{3}}{2}", "0.5", r"\sqrt{3}"), (120, r"\frac{\sqrt3}{2}", r"-\frac{1}{2}", r"-\sqrt{3}")])
    add("trigonometry in degrees", rf"{a}\cos {angle}^\circ", [rf"{a}\cdot {cosine}" if cosine[0] != "-" else rf"-{a}\cdot {cosine[1:]}", rf"{a}\cos({angle}^{{\circ}})"], [rf"{a + 1}\cos {angle}^\circ", rf"{a}\cos {angle + 1}^\circ"])
    add("trigonometry in degrees", rf"{c}+\tan {angle}^\circ", [f"{c}+{tangent}".replace("+-", "-")], [f"{c + 1}+{tangent}".replace("+-", "-"), rf"{c}+{sine}"])
    # Polynomials and formulas in several letters.
    x, y = R.choice([("x", "y"), ("a", "b"), ("m", "n"), ("p", "q"), ("r", "s")])
    add("difference of squares", f"{c * c}{x}^2-{d * d}{y}^2", [f"({c}{x}-{d}{y})({c}{x}+{d}{y})", f"-({d}{y}-{c}{x})({d}{y}+{c}{x})"], [f"({c}{x}-{d}{y})^2", f"({c}{x}-{d}{y})({c}{x}+{d + 1}{y})"])
    add("square of a sum", f"({c}{x}+{d}{y})^2", [f"{c * c}{x}^2+{2 * c * d}{x}{y}+{d * d}{y}^2", f"({d}{y}+{c}{x})^{{2}}"], [f"{c * c}{x}^2+{d * d}{y}^2", f"{c * c}{x}^2+{c * d}{x}{y}+{d * d}{y}^2"])
    add("cubic", poly([1, k % 9, -c, a]), [f"{a}-{c}x+{k % 9}x^2+x^3", f"x(x^2+{k % 9}x-{c})+{a}"], [poly([1, k % 9, c, a]), poly([1, k % 9 + 1, -c, a]), poly([1, k % 9, -c, a + 1])])
    add("formula", rf"\frac{{{c}{x}}}{{{d}{y}^2}}", [rf"\frac{{{c}}}{{{d}}}{x}{y}^{{-2}}", rf"{c}{x}/({d}{y}^2)"], [rf"\frac{{{c}{x}}}{{{d}{y}}}", rf"\frac{{{d}{x}}}{{{c + 10}{y}^2}}", rf"\frac{{{c}{y}}}{{{d}{x}^2}}"])
    add("exponential formula", rf"{c}^{{n+1}}-{c}^n", [rf"{c - 1}\cdot {c}^n", rf"{c}^n({c}-1)"], [rf"{c}\cdot {c}^n", rf"{c + 1}^n", rf"{c}^n({c}+1)"])
    # Equations.
    add("line in standard form", f"{c}x-{d}y+{a}=0", [f"{c}x+{a}={d}y", f"{2 * c}x-{2 * d}y+{2 * a}=0", f"{d}y-{c}x-{a}=0", rf"y=\frac{{{c}x+{a}}}{{{d}}}"], [f"{c}x+{d}y+{a}=0", f"{c}x-{d}y+{a + 1}=0", f"{c}x-{d}y={a}"])
    add("circle", f"(x-{c})^2+(y+{d})^2={a}", [f"(y+{d})^2+(x-{c})^2={a}", f"x^2-{2 * c}x+y^2+{2 * d}y+{c * c + d * d - a}=0".replace("+-", "-")], [f"(x+{c})^2+(y+{d})^2={a}", f"(x-{c})^2+(y+{d})^2={a + 1}"])
    add("solutions of an equation", f"x={c},x={c + d}", [f"x={c + d}\\text{{ or }}x={c}", f"{c},{c + d}", f"x={c},{c + d}", rf"\{{{c},{c + d}\}}"], [f"x={c},x={c + d + 1}", f"x={c}", f"x=-{c},x=-{c + d}"])
    # Numbers.
    add("minus and fractions", rf"-\frac{{{a}}}{{{c * d + 100}}}", [rf"\frac{{-{a}}}{{{c * d + 100}}}", rf"\frac{{{a}}}{{-{c * d + 100}}}", f"-{a}/{c * d + 100}"], [rf"\frac{{{a}}}{{{c * d + 100}}}", rf"-\frac{{{c * d + 100}}}{{{a}}}"])
    cents = n(101, 9999)
    add("dollars and cents", rf"\${cents // 100}.{cents % 100:02}", [f"{cents // 100}.{cents % 100:02}", rf"{cents // 100}.{cents % 100:02}\text{{ dollars}}"], [rf"\${cents // 100 + 1}.{cents % 100:02}", rf"\${cents // 100}.{(cents + 1) % 100:02}"])
    add("small decimal", f"0.{a:02}", [f".{a:02}", f"0.{a:02}0", rf"\frac{{{a}}}{{100}}"], [f"0.0{a:02}", f"{a:02}.0", f"0.{a + 1:02}"])
    add("percent with decimals", rf"{a}.5\%", [f"{a}.5%", rf"{a}.50\%", f"{a}.5"], [rf"{a}.6\%", rf"{a + 1}.5\%", f"{a}.51"])
    add("scientific, small", rf"{c}.{d}\times 10^{{-{d}}}", [rf"{c}.{d} \times 10^{{-{d}}}", "0." + "0" * (d - 1) + f"{c}{d}"], [rf"{c}.{d}\times 10^{{{d}}}", rf"{c}.{d}\times 10^{{-{d + 1}}}"])
    base, value = n(3, 9), n(50, 999)
    digits = ""
    left = value
    while left:
        digits, left = str(left % base) + digits, left // base
    add("number in a base", f"{digits}_{{{base}}}", [f"{digits}_{base}", f"{digits}"], [f"{digits[:-1]}{(int(digits[-1]) + 1) % base}_{{{base}}}", f"{digits}1_{{{base}}}"])
    ratio = math.gcd(c, d)
    add("ratio", f"{c}:{d}", [f"{c} : {d}", f"{c // ratio}:{d // ratio}"], [f"{c}:{d + 1}", f"{c + 1}:{d}"])
    add("multiple of π", rf"\frac{{{a}\pi}}{{{c + 10}}}", [rf"\frac{{{a}}}{{{c + 10}}}\pi", rf"{a}\pi/{c + 10}", rf"\pi\cdot\frac{{{a}}}{{{c + 10}}}"], [rf"\frac{{{a + 1}\pi}}{{{c + 10}}}", rf"\frac{{{a}}}{{{c + 10}}}", rf"\frac{{{a}\pi}}{{{c + 11}}}"])
    add("sum with π", rf"{a}+{c}\pi", [rf"{c}\pi+{a}", rf"{a} + \pi\cdot {c}"], [rf"{a}-{c}\pi", rf"{c}+{a + 10}\pi", rf"{a + c}\pi"])
    add("mixed number, negative", rf"-{whole}\frac{{1}}{{{c}}}", [rf"-\frac{{{whole * c + 1}}}{{{c}}}", rf"-{whole} \frac{{1}}{{{c}}}"], [rf"-\frac{{{whole * c - 1}}}{{{c}}}", rf"{whole}\frac{{1}}{{{c}}}"])
    add("power left standing", rf"{c}^{{{a + 20}}}", [rf"{c}\cdot {c}^{{{a + 19}}}", rf"{c * c}^{{{a + 20}}}/{c}^{{{a + 20}}}"], [rf"{c}^{{{a + 21}}}", rf"{c + 1}^{{{a + 20}}}"])
    # Units.
    unit, power = R.choice([("cm", 2), ("cm", 3), ("m", 2), ("ft", 3), ("in", 2), ("km", 2), ("inches", 2), ("feet", 2)])
    add("unit with a power", rf"{a}\text{{ {unit}}}^{power}", [str(a), rf"{a} \text{{ {unit}}}^{{{power}}}", rf"{a}\,\mathrm{{{unit}}}^{power}"], [rf"{a + 1}\text{{ {unit}}}^{power}", rf"{a}^{power}\text{{ {unit}}}" if a > 1 else "7"])
    thing = R.choice(["apples", "students", "ways", "pages", "marbles", "people", "hours", "days", "eggs", "cookies"])
    add("noun", str(a), [rf"{a}\text{{ {thing}}}", f"{a} {thing}"], [rf"{a + 1}\text{{ {thing}}}", f"{a + 1} {thing}"])
    add("speed", rf"{a}\text{{ km/h}}", [str(a), rf"{a}\ \text{{km/h}}"], [rf"{a + 1}\text{{ km/h}}", str(a + 1)])
    # Complex numbers, sets, intervals, tuples, matrices.
    add("complex with a radical", rf"{a}+{c}i\sqrt{{{s}}}", [rf"{a}+{c}\sqrt{{{s}}}i", rf"{a}+i{c}\sqrt{{{s}}}"], [rf"{a}-{c}i\sqrt{{{s}}}", rf"{a}+{c}\sqrt{{{s}}}", rf"{a}+{c + 1}i\sqrt{{{s}}}"])
    add("complex fraction", rf"\frac{{{a}+{b}i}}{{{c}}}", [rf"\frac{{{a}}}{{{c}}}+\frac{{{b}}}{{{c}}}i", rf"\frac{{{a}}}{{{c}}}+\frac{{{b}i}}{{{c}}}"], [rf"\frac{{{a}-{b}i}}{{{c}}}", rf"\frac{{{a}+{b + 1}i}}{{{c}}}", rf"{a}+\frac{{{b}}}{{{c}}}i"])
    add("conjugates", rf"{a}\pm {c}i", [f"{a}+{c}i,{a}-{c}i", f"{a}-{c}i, {a}+{c}i"], [f"{a}+{c}i", f"{c}+{a + 10}i,{c}-{a + 10}i"])
    add("interval of fractions", rf"\left(\frac{{{c}}}{{{d + 10}}},{c}\right]", [f"({c}/{d + 10},{c}]", rf"x\in(\frac{{{c}}}{{{d + 10}}}, {c}]"], [rf"\left[\frac{{{c}}}{{{d + 10}}},{c}\right]", rf"\left(\frac{{{c}}}{{{d + 11}}},{c}\right]", f"({c}/{d + 10},{c})"])
    add("interval of radicals", rf"[-\sqrt{{{s}}},\sqrt{{{s}}}]", [rf"[-\sqrt{s}, \sqrt{s}]", rf"\left[-\sqrt{{{s}}},\sqrt{{{s}}}\right]"], [rf"(-\sqrt{{{s}}},\sqrt{{{s}}})", rf"[-\sqrt{{{s}}},\sqrt{{{s + 1}}}]", rf"[-{s},{s}]"])
    add("real line", r"(-\infty,\infty)", [r"\mathbb{R}", r"(-\infty, \infty)", r"\left(-\infty,\infty\right)"], [rf"(-\infty,{c})", r"(0,\infty)", rf"({a},\infty)"])
    add("all but one", rf"(-\infty,{a})\cup({a},\infty)", [rf"({a},\infty)\cup(-\infty,{a})", rf"(-\infty, {a}) \cup ({a}, \infty)"], [rf"(-\infty,{a}]\cup({a},\infty)", rf"(-\infty,{a + 1})\cup({a + 1},\infty)"])
    add("polar coordinates", rf"\left({a},\frac{{\pi}}{{{c}}}\right)", [rf"({a},\pi/{c})", rf"\left({a}, \frac{{1}}{{{c}}}\pi\right)"], [rf"\left({a + 1},\frac{{\pi}}{{{c}}}\right)", rf"\left({a},\frac{{\pi}}{{{c + 1}}}\right)", rf"\left(\frac{{\pi}}{{{c}}},{a}\right)"])
    first, second, third = xs_of()
    add("set of fractions", rf"\left\{{\frac{{{c}}}{{{d + 10}}},{first}\right\}}", [rf"\{{{first},\frac{{{c}}}{{{d + 10}}}\}}", rf"\{{{first},{c}/{d + 10}\}}"], [rf"\{{{first},\frac{{{c}}}{{{d + 11}}}\}}", rf"\{{{first}\}}", rf"\{{{-first - 1},\frac{{{c}}}{{{d + 10}}}\}}"])
    add("row vector", rf"\begin{{pmatrix}}{first}&{second}&{third}\end{{pmatrix}}", [rf"\begin{{bmatrix}}{first}&{second}&{third}\end{{bmatrix}}", rf"\begin{{pmatrix}} {first} & {second} & {third} \end{{pmatrix}}"], [rf"\begin{{pmatrix}}{second}&{first}&{third}\end{{pmatrix}}", rf"\begin{{pmatrix}}{first}&{second}\end{{pmatrix}}"])
    add("vector of fractions", rf"\begin{{pmatrix}}-{a}/{c}\\{b}/{d}\end{{pmatrix}}", [rf"\begin{{pmatrix}}-\frac{{{a}}}{{{c}}}\\\frac{{{b}}}{{{d}}}\end{{pmatrix}}", rf"\begin{{pmatrix}} -{a}/{c} \\ {b}/{d} \end{{pmatrix}}"],
        [rf"\begin{{pmatrix}}{a}/{c}\\{b}/{d}\end{{pmatrix}}", rf"\begin{{pmatrix}}-{a}/{c}\\{b + 1}/{d}\end{{pmatrix}}"])
    nine = [R.randint(-9, 9) for _ in range(9)]
    square = lambda v, kind: rf"\begin{{{kind}matrix}}" + r"\\".join(" & ".join(map(str, v[r : r + 3])) for r in (0, 3, 6)) + rf"\end{{{kind}matrix}}"
    add("matrix of nine", square(nine, "p"), [square(nine, "b"), square(nine, "p").replace(" ", "")], [square(nine[:8] + [nine[8] + 1], "p"), square([nine[0] - 1, *nine[1:]], "b")])
    # Odd ways to write.
    wide = str(k).translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)} | {ord("-"): 0x2212})
    add("odd: unicode", rf"{c}\sqrt{{{s}}}+\pi", [f"{c}√{s}+π", f"π + {c}·√{s}"], [f"{c}√{s}-π", f"{c + 1}√{s}+π"])
    add("odd: full-width digits", str(k), [wide, f"${wide}$"], [str(k + 1).translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)} | {ord("-"): 0x2212})])
    add("odd: superscripts", f"{c}x^2+{d}x", [f"{c}x²+{d}x", f"{c}x² + {d}x"], [f"{c}x³+{d}x", f"{c + 1}x²+{d}x"])
    add("odd: style commands", rf"\frac{{{a}}}{{{c + 100}}}", [rf"\displaystyle\frac{{{a}}}{{{c + 100}}}", rf"\cfrac{{{a}}}{{{c + 100}}}", rf"\left(\frac{{{a}}}{{{c + 100}}}\right)", rf"\mathbf{{\frac{{{a}}}{{{c + 100}}}}}"], [rf"\displaystyle\frac{{{a}}}{{{c + 101}}}", rf"\left(\frac{{{a + 1}}}{{{c + 100}}}\right)"])
    add("odd: spaces and stops", rf"{a}\pi", [rf"{a} \pi", rf"{a}\,\pi", rf"{a}\pi.", rf"{a}~\pi"], [rf"{a + 1} \pi", rf"{a}\,\pi^2"])
    add("odd: a chain of equations", str(a * c), [rf"{a}\times {c}={a * c}", f"N={a * c}", rf"{a}\cdot {c}"], [rf"{a}\times {c}={a * c + 1}", f"N={a * c + 1}", rf"{a}+{c + 2000}"])
    add("odd: LaTeX thousands", f"{big:,}".replace(",", r",\!"), [str(big), f"{big:,}", f"{big:,}".replace(",", "{,}")], [str(big + 1), f"{big + 1:,}", str(big * 10)])


def make():
    a, b, c, d = n(), n(), n(2, 9), n(2, 9)
    k = R.randint(-999, 999)
    add("integer", str(k), [f"{k}.0", f"{k}.", f"{2 * k}/2", rf"\boxed{{{k}}}"], [str(k + 1), f"{k}.5", str(-k - 1)])
    big = R.randint(10**4, 10**9)
    add("thousands", str(big), [f"{big:,}", f"{big:,}".replace(",", "{,}"), f"{big:,}".replace(",", r"\,")], [f"{big + 1:,}"])
    f = Fraction(a, c * d)
    add("fraction", tex(f), [f"{a}/{c * d}", rf"\dfrac{{{3 * a}}}{{{3 * c * d}}}", rf"\tfrac{{-{a}}}{{-{c * d}}}"],
        [tex(f + Fraction(1, c * d)), tex(-f), f"{a}/{c * d + 1}"])
    whole = n(1, 20)
    part = Fraction(R.randint(1, d), d + 1)
    add("mixed number", tex(whole + part), [rf"{whole}\frac{{{part.numerator}}}{{{part.denominator}}}"],
        [rf"{whole + 1}\frac{{{part.numerator}}}{{{part.denominator}}}"])
    eighths = Fraction(2 * n(0, 200) + 1, 8)
    add("decimal", tex(eighths), [str(float(eighths)), f"{float(eighths)}00"], [str(float(eighths) + 0.125), str(float(eighths) + 1e-7)])
    digits, power = n(11, 99), n(2, 9)
    add("scientific", rf"{digits / 10}\times 10^{{{power}}}", [str(digits * 10 ** (power - 1)), rf"{digits / 10}\cdot 10^{power}"],
        [rf"{digits / 10}\times 10^{{{power + 1}}}", str(digits * 10**power)])
    add("percent", rf"{a}\%", [f"{a}%", tex(Fraction(a, 100))], [rf"{a + 1}\%", tex(Fraction(a + 1, 100))])
    unit = R.choice(["cm", "m", "kg", "hours", "miles", "dollars"])
    add("unit", rf"{a}\text{{ {unit}}}", [f"{a}", rf"{a}\,\text{{{unit}}}", rf"{a}\ \mathrm{{{unit}}}"], [rf"{a + 1}\text{{ {unit}}}", str(a + 1)])
    add("currency", rf"\${a}", [f"{a}", f"{a}.00", rf"\${a}.00"], [rf"\${a + 1}", f"{a}.01"])
    add("degrees", rf"{a}^\circ", [f"{a}", rf"{a}^{{\circ}}", rf"{a}\text{{ degrees}}"], [rf"{a + 1}^\circ", str(a + 1)])
    s = R.choice([2, 3, 5, 6, 7])
    add("radical", rf"{c}\sqrt{{{s}}}", [rf"\sqrt{{{c * c * s}}}", rf"{c}\cdot\sqrt{s}", rf"\frac{{{c * s}}}{{\sqrt{{{s}}}}}"],
        [rf"\sqrt{{{c * c * s + 1}}}", rf"{c + 1}\sqrt{{{s}}}", rf"-{c}\sqrt{{{s}}}"])
    add("power", rf"{c}^{{{d}}}", [str(c**d), rf"{c}^{{{d - 1}}}\cdot {c}", rf"\left({c}^{{2}}\right)^{{{d}/2}}"], [str(c**d + 1), f"{c}^{{{d + 1}}}"])
    add("logarithm", rf"\log_{{{c}}} {c**d}", [str(d), rf"\frac{{\ln {c**d}}}{{\ln {c}}}"], [str(d + 1), rf"\log_{{{c}}} {c ** (d + 1)}"])
    add("logarithm", rf"{a}\ln {c}", [rf"\ln {c}^{{{a}}}"] if a < 20 else [], [rf"\ln {c * a + 1}", rf"{a}\ln {c + 1}"])
    angle, value = R.choice([("6", r"\frac12"), ("4", r"\frac{\sqrt{2}}{2}"), ("3", r"\frac{\sqrt{3}}{2}"), ("2", "1")])
    add("trigonometry", rf"{c}\sin\frac{{\pi}}{{{angle}}}", [rf"{c}\cdot {value}", rf"\sin\left(\frac{{\pi}}{{{angle}}}\right)\cdot {c}"], [rf"{c}\cos\frac{{\pi}}{{7}}", rf"{c + 1}\cdot {value}"])
    add("constant", rf"{a}\pi", [rf"\pi\cdot {a}", rf"\frac{{{2 * a}\pi}}{{2}}"], [rf"{a + 1}\pi", str(round(a * math.pi, 6)), f"{a}e"])
    add("complex", f"{a}+{c}i", [f"{c}i+{a}", rf"{a} + {c} i"], [f"{a}-{c}i", f"{c}+{a + 100}i", str(a)])
    r, t = R.randint(-9, 9), R.randint(-9, 9)
    signed = lambda v: f"+{v}" if v >= 0 else str(v)
    product = [c, c * (r + t), c * r * t]
    add("polynomial", poly(product), [f"{c}(x{signed(r)})(x{signed(t)})", poly(product).replace("{2}", "2")],
        [poly([c, c * (r + t), c * r * t + 1]), poly([c + 1, c * (r + t), c * r * t]), poly(product, "y")])
    add("rational function", rf"\frac{{x^2-{d * d}}}{{x-{d}}}", [f"x+{d}"], [f"x-{d}", f"x+{d + 1}"])
    add("rational function", rf"\frac{{{a}}}{{x-{c}}}+\frac{{{b}}}{{x+{d}}}",
        [rf"\frac{{{a + b}x+{a * d - b * c}}}{{(x-{c})(x+{d})}}".replace("+-", "-"), rf"\frac{{{b}}}{{x+{d}}}-\frac{{{a}}}{{{c}-x}}"],
        [rf"\frac{{{a + b}x+{a * d - b * c + 1}}}{{(x-{c})(x+{d})}}".replace("+-", "-"), rf"\frac{{{a}}}{{x-{c}}}-\frac{{{b}}}{{x+{d}}}"])
    add("equation", f"x={a}", [str(a), f"{a}=x", f"x = {a}"], [f"x={a + 1}", str(a + 1)])
    add("equation", f"y={c}x+{a}", [f"y={a}+{c}x", f"y-{c}x={a}"], [f"y={c}x-{a}", f"y={c + 1}x+{a}"])
    low, high = R.randint(-50, 0), R.randint(1, 50)
    add("interval", f"[{low},{high})", [f"[{low}, {high})", rf"\left[{low},{high}\right)", rf"x\in[{low},{high})"], [f"({low},{high})", f"[{low},{high}]", f"[{low},{high + 1})"])
    more(a, b, c, d, s, k, whole, big, xs_of=lambda: R.sample(range(-30, 30), 3))
    add("inequality", f"x>{a}", [rf"({a},\infty)", f"{a}<x"], [f"x<{a}", rf"x\ge {a}", rf"({a + 1},\infty)"])
    add("inequality", rf"{low}\le x<{high}", [f"[{low},{high})", rf"{high}>x\geq {low}"], [f"({low},{high})", rf"{low}<x<{high}"])
    xs = R.sample(range(-30, 30), 3)
    ys = R.sample(xs, 3)
    write = lambda v: ",".join(map(str, v))
    add("set", rf"\{{{write(xs)}\}}", [rf"\{{{write(ys)}\}}", rf"\left\{{{write(ys)}\right\}}"], [rf"\{{{write(xs[:2])}\}}", rf"\{{{write([*xs[:2], 99])}\}}"])
    add("several answers", write(xs), [write(ys), rf"{xs[1]},{xs[0]}\text{{ and }}{xs[2]}", "x=" + ", x=".join(map(str, xs))], [write(xs[:2]), write([*xs[:2], 99])])
    add("tuple", f"({write(xs)})", [f"( {', '.join(map(str, xs))} )", rf"\left({write(xs)}\right)"], [f"({write([xs[1], xs[0], xs[2]])})", f"({write(xs[:2])})"])
    add("union", rf"({low},0)\cup({high},{high + 9})", [rf"({high},{high + 9})\cup({low},0)"], [rf"({low},0)\cup({high},{high + 8})", rf"({low},{high + 9})"])
    add("plus or minus", rf"\pm {a}", [f"{a},-{a}", rf"\{{-{a},{a}\}}"], [str(a), f"{a + 1},-{a + 1}"])
    add("plus or minus", rf"{c}\pm\sqrt{{{s}}}", [rf"{c}-\sqrt{{{s}}},{c}+\sqrt{{{s}}}"], [rf"{c}+\sqrt{{{s}}}"])
    m = [R.randint(-9, 9) for _ in range(4)]
    matrix = lambda v, kind="p": rf"\begin{{{kind}matrix}}{v[0]}&{v[1]}\\{v[2]}&{v[3]}\end{{{kind}matrix}}"
    add("matrix", matrix(m), [matrix(m, "b"), matrix([f"{v}.0" for v in m])], [matrix([m[0] + 1, *m[1:]]), matrix([m[0], m[2] + 10, m[1], m[3]])])
    letter, wrong = R.sample("ABCDEFGHJ", 2)
    add("choice", letter, [f"({letter})", rf"\text{{{letter}}}", rf"\text{{({letter})}}", rf"\textbf{{({letter})}}"], [wrong, rf"\text{{({wrong})}}", f"({wrong})"])
    name, other = R.sample(["Alice", "Evelyn", "even", "odd", "yes", "no", "Tuesday", "Thursday", "isosceles", "right", "ellipse", "parabola", "east", "north",
                            "Navin", "red", "obtuse", "neither", "June 20", "10 pm", "Saturday", "hyperbola", "circle", "Kathy", "true", "false"], 2)
    add("text", rf"\text{{{name}}}", [name, name.lower(), rf"\mathrm{{{name}}}", rf"\text{{ {name} }}"], [other, rf"\text{{{other}}}", f"not {name}"])
    add("nested fraction", rf"\frac{{1}}{{1+\frac{{1}}{{{c}}}}}", [rf"\frac{{{c}}}{{{c + 1}}}", f"{c}/{c + 1}"], [rf"\frac{{{c}}}{{{c + 2}}}", rf"\frac{{{c + 1}}}{{{c}}}"])
    add("short fraction", rf"\frac{{{c}}}{{{d}}}", [rf"\frac{c}{d}", rf"\dfrac{c}{{{d}}}", rf"\tfrac{{{c}}}{d}"], [rf"\frac{c}{d + 10}", rf"\frac{{{c + d}}}{{{d}}}"])
    low_k, high_k = sorted(R.sample(range(1, 12), 2))
    add("binomial", rf"\binom{{{high_k}}}{{{low_k}}}", [str(math.comb(high_k, low_k)), rf"\binom{{{high_k}}}{{{high_k - low_k}}}"], [str(math.comb(high_k, low_k) + 1)])
    add("factorial", f"{c}!", [str(math.factorial(c)), rf"{c}\cdot {c - 1}!"], [str(math.factorial(c) + 1), f"{c + 1}!"])
    add("absolute value", rf"|{-a}|", [str(a), rf"\left|{a}\right|"], [str(-a), rf"|{a + 1}|"])
    add("exponential", f"e^{{{c}}}", [rf"e^{{{c - 1}}}\cdot e", rf"\frac{{1}}{{e^{{-{c}}}}}"], [f"e^{{{c + 1}}}", f"{c}e"])
    add("cube root", rf"\sqrt[3]{{{c**3 * s}}}", [rf"{c}\sqrt[3]{{{s}}}", rf"{c}\cdot {s}^{{1/3}}"], [rf"\sqrt[3]{{{c**3 * s + 1}}}", rf"{c}\sqrt{{{s}}}"])
    add("nested radical", rf"\sqrt{{{c + s}+2\sqrt{{{c * s}}}}}", [rf"\sqrt{{{c}}}+\sqrt{{{s}}}"], [rf"\sqrt{{{c}}}-\sqrt{{{s + 20}}}", rf"\sqrt{{{c + 1}}}+\sqrt{{{s}}}"])
    add("symbols", f"{c}ab+{d}b", [f"{d}b+{c}ba", f"b({c}a+{d})"], [f"{c}ab+{d}a", f"{c}ab-{d}b"])
    add("variable power", f"x^{{{c}}}y^{{-1}}", [rf"\frac{{x^{{{c}}}}}{{y}}", rf"x^{{{c - 1}}}\cdot\frac{{x}}{{y}}"], [f"x^{{{c}}}y", rf"\frac{{x^{{{c + 1}}}}}{{y}}"])
    u = R.choice(["x", "y", "t", r"\theta", r"\alpha"])
    add("trigonometric identity", rf"{c}\sin^2 {u}", [rf"{c}-{c}\cos^2 {u}", rf"{c}\sin({u})^2"], [rf"{c}\cos^2 {u}", rf"{c}\sin {u}^2", rf"{c + 1}\sin^2 {u}"])
    add("trigonometric identity", rf"\sin {2 * c}{u}", [rf"2\sin {c}{u}\cos {c}{u}"], [rf"2\sin {c}{u}", rf"2\cos {c}{u}\sin {c + 1}{u}"])
    add("inverse trigonometry", rf"{a}\arctan 1", [rf"\frac{{{a}\pi}}{{4}}", rf"{a}\arcsin\frac{{\sqrt{{2}}}}{{2}}"], [rf"\frac{{{a}\pi}}{{3}}", rf"{a}\arctan 2"])
    add("complex product", f"({c}+i)({d}-i)", [f"{c * d + 1}+{d - c}i" if d > c else f"{c * d + 1}-{c - d}i" if d < c else str(c * d + 1)], [f"{c * d - 1}+{d + c}i", str(c * d)])
    add("three fractions", rf"\frac{{{a}}}{{{c}}},\frac{{{b}}}{{{d}}}", [rf"\frac{{{b}}}{{{d}}},\frac{{{a}}}{{{c}}}", f"{a}/{c},{b}/{d}"], [rf"\frac{{{a}}}{{{c}}},\frac{{{b + 1}}}{{{d}}}"])
    add("point", rf"\left(\frac{{{a}}}{{{c}}},{b}\right)", [f"({a}/{c},{b})", rf"(\frac{{{2 * a}}}{{{2 * c}}}, {b})"], [rf"\left({b},\frac{{{a}}}{{{c}}}\right)" if a != b * c else "(0,1)", f"({a}/{c},{b + 1})"])
    add("vector", rf"\begin{{pmatrix}}{xs[0]}\\{xs[1]}\\{xs[2]}\end{{pmatrix}}", [rf"\begin{{bmatrix}}{xs[0]}\\{xs[1]}\\{xs[2]}\end{{bmatrix}}"], [rf"\begin{{pmatrix}}{xs[1]}\\{xs[0]}\\{xs[2]}\end{{pmatrix}}"])
    add("half line", rf"(-\infty,{low}]", [rf"x\le {low}", rf"(-\infty, {low}]"], [rf"(-\infty,{low})", rf"[{low},\infty)"])
    add("two half lines", rf"(-\infty,{low})\cup({high},\infty)", [rf"({high},\infty)\cup(-\infty,{low})"], [rf"(-\infty,{low}]\cup({high},\infty)", rf"({low},{high})"])
    add("empty set", r"\emptyset", [r"\varnothing", r"\{\}"], ["0", r"\{0\}", rf"\{{{a}\}}", str(a)])
    add("leading name", f"f(x)={c}x+{a}", [f"{c}x+{a}", f"f(x) = {a}+{c}x"], [f"f(x)={c}x-{a}", f"{c + 1}x+{a}"])
    add("unit in words", rf"{a}\text{{ square feet}}", [str(a), rf"{a} \text{{ square feet}}"], [str(a + 1), rf"{a + 1}\text{{ square feet}}"])
    add("money in thousands", rf"\${big:,}", [str(big), f"{big:,}"], [str(big + 1), rf"\${big + 10:,}"])
    add("negative", f"-{a}", [f"-{a}.0", rf"-\frac{{{2 * a}}}{{2}}", f"{a}-{2 * a}"], [str(a), f"-{a + 1}"])
    add("repeating decimal", tex(Fraction(c - 1, 9)), [rf"0.\overline{{{c - 1}}}"], [f"0.{c - 1}", rf"0.\overline{{{c % 9 + 1 if c % 9 + 1 != c - 1 else 9}}}"])


# Of a thousand answers: half as in GSM8K (integers), half as in MATH-500, whose 500 answers were sorted by form: 62 % integers, 11 %
# fractions, 4 % with radicals, 3 % each formulas and degrees, 2 % tuples, and so on. What is rarer than one in 500, and how often an answer
# brings its noun or its chain of equations along, is a guess. A share is spread over its forms evenly.
NATURAL = [
    (750, ["integer"]),
    (20, ["negative"]),
    (10, ["noun", "odd: a chain of equations"]),
    (1, ["odd: full-width digits"]),
    (15, ["thousands", "odd: LaTeX thousands"]),
    (15, ["currency", "money in thousands", "dollars and cents"]),
    (60, ["fraction", "fraction", "fraction", "short fraction", "minus and fractions", "odd: style commands"]),
    (20, ["radical", "radical", "sum with a radical", "product of radicals", "nested radical", "cube root", "rationalized denominator"]),
    (16, ["polynomial", "symbols", "cubic", "formula", "difference of squares", "square of a sum", "rational function", "exponential formula", "leading name", "variable power", "odd: superscripts"]),
    (14, ["degrees"]),
    (11, ["tuple", "point", "polar coordinates"]),
    (8, ["choice", "text"]),
    (8, ["constant", "multiple of π", "sum with π", "odd: spaces and stops", "odd: unicode"]),
    (8, ["decimal", "small decimal", "repeating decimal", "scientific", "scientific, small"]),
    (7, ["matrix", "vector", "vector of fractions", "row vector", "matrix of nine"]),
    (6, ["complex", "complex with a radical", "complex fraction", "complex product"]),
    (5, ["several answers", "three fractions", "solutions of an equation"]),
    (4, ["number in a base"]),
    (4, ["equation", "line in standard form", "circle"]),
    (5, ["unit", "unit with a power", "unit in words", "speed"]),
    (6, ["interval", "interval of fractions", "interval of radicals", "half line", "real line", "inequality"]),
    (4, ["union", "two half lines", "all but one"]),
    (3, ["mixed number", "mixed number, negative"]),
    (2, ["plus or minus", "conjugates"]),
    (2, ["set", "set of fractions", "empty set"]),
    (4, ["percent", "percent with decimals"]),
    (5, ["power", "power left standing", "binomial", "factorial", "exponential", "ratio"]),
    (4, ["logarithm", "logarithm of a product", "change of base", "trigonometry", "trigonometry in degrees", "trigonometric identity", "inverse trigonometry"]),
    (2, ["nested fraction", "absolute value"]),
]


def natural(total):
    """`total` pairs, half of them equal, each form as often as its share says; a form that has run out repeats none."""
    named = [form for _, forms in NATURAL for form in forms]
    assert set(named) == set(PAIRS), f"forms without a share: {set(PAIRS) ^ set(named)}"
    whole = sum(share for share, _ in NATURAL)
    for share, forms in NATURAL:
        for form in dict.fromkeys(forms):
            part = total * share * forms.count(form) / (2 * whole * len(forms))
            for equal, pairs in zip((1, 0), PAIRS[form]):
                distinct = list(dict.fromkeys(pairs))
                for expected, answer in R.sample(distinct, min(max(1, round(part)), len(distinct))):
                    yield form, expected, answer, equal


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--natural"]:
        for _ in range(2000):
            make()
        for pair in natural(int(arguments[1])):
            print(*pair, sep="\t")
        return
    most = int(arguments[0]) if arguments else 100
    for _ in range(4 * most):
        make()
    for form, sides in PAIRS.items():
        for equal, pairs in zip((1, 0), sides):
            distinct = list(dict.fromkeys(pairs))
            for expected, answer in R.sample(distinct, min(most, len(distinct))):
                print(form, expected, answer, equal, sep="\t")


main()
