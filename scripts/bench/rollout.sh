#!/bin/sh
# Sampling side by side in one run: ours, transformers' generate, and llama.cpp where its Python package is there.
#
#   scripts/bench/rollout.sh POLICY PYTHON [GGUF]        POLICY: a policy directory, PYTHON: with torch and transformers
#
# 64 different prompts of about 40 tokens, 64 new tokens each; then one sequence alone; then 8 prompts of 512 tokens with 16
# completions each. Medians of three; tokens per second are new tokens over the whole time, prompts included.
set -eu
policy=$1 python=$2 gguf=${3-}
here=$(dirname "$0")
bin=$here/../../target/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" - "$work" <<'PY'
import json, random, sys
random.seed(0)
words = "the a of and number total many apples boxes each day week cost price buys sells then gives away left how".split()
def text(n): return " ".join(random.choice(words) for _ in range(n))
def write(name, count, length):
    with open(f"{sys.argv[1]}/{name}.jsonl", "w") as out:
        for i in range(count):
            out.write(json.dumps({"id": f"{name}-{i}", "prompt": f"{i} " + text(length)}) + "\n")
write("many", 64, 38)
write("one", 1, 38)
write("long", 8, 510)
PY
median() { sort -n | sed -n 2p; }
ours() { # dtype rows samples
  for _ in 1 2 3; do
    "$bin/r1-rollout" "$policy" "$work/$2.jsonl" -q --template raw --samples "$3" --max-tokens 64 --min-tokens 64 \
      --dtype "$1" --metrics "$work/metrics" -o "$work/out.jsonl"
    tail -n 1 "$work/metrics" | sed 's/.*"tokens_per_second":\([0-9.]*\).*/\1/'
  done | median
}
for dtype in f32 bf16; do
  for case in "many 1" "one 1" "long 16"; do
    set -- $case
    echo "ours $dtype $1 x $2: $(ours $dtype "$1" "$2") tokens/s"
  done
done
"$python" "$here/rollout_peers.py" "$policy" "$work" "$gguf"
