"""Streams GiB of rows into a command and says rows a second and the most memory it held: nothing of the input is on the disk.

    python3 scripts/bench/verify_stream.py 5 target/release/r1-reward --quiet --preset r1-zero
"""

import json
import subprocess
import sys
import time


def row(n):
    completion = f"<think>We add {n} and {n + 1} step by step and check the sum once more.</think> <answer>{2 * n + 1}</answer>"
    return json.dumps({"id": f"sum-{n // 8}", "prompt": f"What is {n} + {n + 1}?", "answer": str(2 * n + 1),
                       "rollout": {"sample": n % 8, "completion": completion}}) + "\n"


rows = [row(n) for n in range(200_000)]
block = "".join(rows).encode()
rounds = max(1, round(float(sys.argv[1]) * 2**30 / len(block)))
begun = time.perf_counter()
tool = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
for _ in range(rounds):
    tool.stdin.write(block)
# Of the program itself: what a parent is told of its children counts its own memory at the fork too.
most = next(int(line.split()[1]) for line in open(f"/proc/{tool.pid}/status") if line.startswith("VmHWM")) / 1024
tool.stdin.close()
assert tool.wait() == 0, "the command failed"
seconds = time.perf_counter() - begun
print(f"{rounds * len(block) / 2**30:.2f} GiB, {rounds * len(rows)} rows: {rounds * len(rows) / seconds:.0f} rows a second, at most {most:.0f} MiB of memory")
