"""Writes pairs of answers whose equality is known by how they are made: form, expected, answer, 1 or 0, one a line.

    python3 scripts/bench/verify_pairs.py 100 > pairs.tsv        # at most 100 equal and 100 unequal pairs a form
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
    add("equation", f"x={a}", [str(a), f"{a}=x", f"x = {a}"], [f"x={a + 1}", str(a + 1)])
    add("equation", f"y={c}x+{a}", [f"y={a}+{c}x", f"y-{c}x={a}"], [f"y={c}x-{a}", f"y={c + 1}x+{a}"])
    low, high = R.randint(-50, 0), R.randint(1, 50)
    add("interval", f"[{low},{high})", [f"[{low}, {high})", rf"\left[{low},{high}\right)", rf"x\in[{low},{high})"], [f"({low},{high})", f"[{low},{high}]", f"[{low},{high + 1})"])
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
    letter = R.choice("ABCDE")
    add("choice", letter, [f"({letter})", rf"\text{{{letter}}}", rf"\text{{({letter})}}"], [chr(ord(letter) % 5 + 65 + (ord(letter) % 5 + 65 == ord(letter)))])
    name = R.choice(["Alice", "Evelyn", "even", "yes", "no", "Tuesday", "isosceles"])
    add("text", rf"\text{{{name}}}", [name, name.lower(), rf"\mathrm{{{name}}}"], ["Bob", rf"\text{{odd}}"])
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
    add("trigonometric identity", r"\sin^2 x", [r"1-\cos^2 x", r"\sin(x)^2"], [r"\cos^2 x", r"\sin x^2", rf"{c}\sin^2 x"])
    add("inverse trigonometry", r"\arctan 1", [r"\frac{\pi}{4}", r"\arcsin\frac{\sqrt{2}}{2}"], [r"\frac{\pi}{3}", r"\arctan 2"])
    add("complex product", f"({c}+i)({d}-i)", [f"{c * d + 1}+{d - c}i" if d > c else f"{c * d + 1}-{c - d}i" if d < c else str(c * d + 1)], [f"{c * d - 1}+{d + c}i", str(c * d)])
    add("three fractions", rf"\frac{{{a}}}{{{c}}},\frac{{{b}}}{{{d}}}", [rf"\frac{{{b}}}{{{d}}},\frac{{{a}}}{{{c}}}", f"{a}/{c},{b}/{d}"], [rf"\frac{{{a}}}{{{c}}},\frac{{{b + 1}}}{{{d}}}"])
    add("point", rf"\left(\frac{{{a}}}{{{c}}},{b}\right)", [f"({a}/{c},{b})", rf"(\frac{{{2 * a}}}{{{2 * c}}}, {b})"], [rf"\left({b},\frac{{{a}}}{{{c}}}\right)" if a != b * c else "(0,1)", f"({a}/{c},{b + 1})"])
    add("vector", rf"\begin{{pmatrix}}{xs[0]}\\{xs[1]}\\{xs[2]}\end{{pmatrix}}", [rf"\begin{{bmatrix}}{xs[0]}\\{xs[1]}\\{xs[2]}\end{{bmatrix}}"], [rf"\begin{{pmatrix}}{xs[1]}\\{xs[0]}\\{xs[2]}\end{{pmatrix}}"])
    add("half line", rf"(-\infty,{low}]", [rf"x\le {low}", rf"(-\infty, {low}]"], [rf"(-\infty,{low})", rf"[{low},\infty)"])
    add("two half lines", rf"(-\infty,{low})\cup({high},\infty)", [rf"({high},\infty)\cup(-\infty,{low})"], [rf"(-\infty,{low}]\cup({high},\infty)", rf"({low},{high})"])
    add("empty set", r"\emptyset", [r"\varnothing", r"\{\}"], ["0", r"\{0\}"])
    add("leading name", f"f(x)={c}x+{a}", [f"{c}x+{a}", f"f(x) = {a}+{c}x"], [f"f(x)={c}x-{a}", f"{c + 1}x+{a}"])
    add("unit in words", rf"{a}\text{{ square feet}}", [str(a), rf"{a} \text{{ square feet}}"], [str(a + 1), rf"{a + 1}\text{{ square feet}}"])
    add("money in thousands", rf"\${big:,}", [str(big), f"{big:,}"], [str(big + 1), rf"\${big + 10:,}"])
    add("negative", f"-{a}", [f"-{a}.0", rf"-\frac{{{2 * a}}}{{2}}", f"{a}-{2 * a}"], [str(a), f"-{a + 1}"])
    add("repeating decimal", tex(Fraction(c - 1, 9)), [rf"0.\overline{{{c - 1}}}"], [f"0.{c - 1}", rf"0.\overline{{{c % 9 + 1 if c % 9 + 1 != c - 1 else 9}}}"])


def main():
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for _ in range(4 * most):
        make()
    for form, sides in PAIRS.items():
        for equal, pairs in zip((1, 0), sides):
            distinct = list(dict.fromkeys(pairs))
            for expected, answer in R.sample(distinct, min(most, len(distinct))):
                print(form, expected, answer, equal, sep="\t")


main()
