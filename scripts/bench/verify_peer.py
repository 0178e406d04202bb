"""Math-Verify's opinion of pairs: reads pairs.tsv on stdin, writes Equal, Unequal or Unread a line, and pairs/s on stderr."""

import logging
import sys
import time

from math_verify import parse, verify

logging.disable(logging.CRITICAL)
pairs = [line.rstrip("\n").split("\t")[1:3] for line in sys.stdin]
parse("$1$")
begun = time.perf_counter()
opinions = []
for expected, answer in pairs:
    try:
        gold, said = parse(f"${expected}$"), parse(f"${answer}$")
        opinions.append("Unread" if not gold or not said else "Equal" if verify(gold, said) else "Unequal")
    except Exception:
        opinions.append("Unread")
print(f"{len(pairs) / (time.perf_counter() - begun):.0f}", file=sys.stderr)
print("\n".join(opinions))
