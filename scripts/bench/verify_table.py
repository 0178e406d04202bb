"""Joins pairs, our verdicts and Math-Verify's into a table by form, and lists every disagreement and every error of ours.

    python3 scripts/bench/verify_table.py pairs.tsv ours.tsv theirs.tsv disagreements.tsv
"""

import sys
from collections import defaultdict

pairs, ours, theirs = ([line.rstrip("\n").split("\t") for line in open(path)] for path in sys.argv[1:4])
assert len(pairs) == len(ours) == len(theirs), "the three files must have one line a pair"
table = defaultdict(lambda: [0] * 5)
with open(sys.argv[4], "w") as out:
    print("form", "expected", "answer", "truth", "ours", "rule", "Math-Verify", sep="\t", file=out)
    for (form, expected, answer, equal), (verdict, rule), (other,) in zip(pairs, ours, theirs):
        truth = "Equal" if equal == "1" else "Unequal"
        right, agreed = verdict == truth, (verdict == "Equal") == (other == "Equal")
        for counts in (table[form], table["all"]):
            counts[0] += 1
            counts[1] += right
            counts[2] += (other == "Equal") == (truth == "Equal")
            counts[3] += agreed
            counts[4] += verdict == "Undecided"
        if not right or not agreed:
            print(form, expected, answer, truth, verdict, rule, other, sep="\t", file=out)
total = table.pop("all")
print(f"{'form':24} {'pairs':>6} {'ours right':>11} {'M-V right':>10} {'agree':>7} {'undecided':>10}")
for form, (count, right, other, agreed, undecided) in [*table.items(), ("all", total)]:
    share = lambda part: f"{100 * part / count:.1f}%"
    print(f"{form:24} {count:6} {share(right):>11} {share(other):>10} {share(agreed):>7} {undecided:10}")
agreements = [agreed / count for count, _, _, agreed, _ in table.values()]
print(f"agreement: {100 * sum(agreements) / len(agreements):.1f}% over {len(agreements)} forms, {100 * total[3] / total[0]:.1f}% over {total[0]} pairs")
