"""Math-Verify's opinion of pairs: reads pairs.tsv on stdin, writes Equal, Unequal or Unread a line, and on stderr the pairs
a second of processor time."""

import logging
import sys
import time

from math_verify import parse, verify

logging.disable(logging.CRITICAL)
pairs = [line.rstrip("\n").split("\t")[1:3] for line in sys.stdin]
parse("$1$")
begun = time.process_time()
opinions = []
for expected, answer in pairs:
    try:
        gold, said = parse(f"${expected}$"), parse(f"${answer}$")
        opinions.append("Unread" if not gold or not said else "Equal" if verify(gold, said) else "Unequal")
    except Exception:
        opinions.append("Unread")
print(f"{len(pairs) / (time.process_time() - begun):.0f}", file=sys.stderr)
print("\n".join(opinions))
