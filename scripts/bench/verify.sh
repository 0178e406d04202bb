#!/usr/bin/env bash
# The answer checker beside Math-Verify, and the rows a second of r1-reward. One process each, in the same run.
#
#   scripts/bench/verify.sh PYTHON [OUT]      PYTHON has math-verify; OUT is a directory for the pairs and opinions
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:?usage: scripts/bench/verify.sh PYTHON [OUT]: a Python that has math-verify}
out=${2:-$(mktemp -d)}
each=${EACH:-60}
natural=${NATURAL:-6000}
threads=${THREADS:-2}
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$out"

cargo build --release --quiet -p r1-reward
cargo build --release --quiet -p r1-verify --example pairs
# All forms alike, then as often as MATH and GSM8K have them.
"$python" scripts/bench/verify_pairs.py "$each" > "$out/forms.tsv"
"$python" scripts/bench/verify_pairs.py --natural "$natural" > "$out/natural.tsv"
for pairs in forms natural; do
    ours=$("$target/release/examples/pairs" < "$out/$pairs.tsv" 2>&1 > "$out/$pairs-ours.tsv")
    theirs=$("$python" scripts/bench/verify_peer.py < "$out/$pairs.tsv" 2>&1 > "$out/$pairs-theirs.tsv" | tail -1)
    "$python" scripts/bench/verify_table.py "$out/$pairs".tsv "$out/$pairs"-{ours,theirs,disagreements}.tsv
    echo "$pairs: pairs a second of processor time, one thread: r1-verify $ours, Math-Verify $theirs: $((ours / theirs)) times"
    echo
done

rows=${ROWS:-400000}
"$python" - "$rows" > "$out/rows.jsonl" <<'PYTHON'
import json, sys
for n in range(int(sys.argv[1])):
    completion = f"<think>We add {n} and {n + 1} step by step and check the sum once more.</think> <answer>{2 * n + 1}</answer>"
    print(json.dumps({"id": f"sum-{n // 8}", "prompt": f"What is {n} + {n + 1}?", "answer": str(2 * n + 1),
                      "rollout": {"sample": n % 8, "completion": completion}}))
PYTHON
for preset in r1-zero r1; do
    seconds=$({ TIMEFORMAT=%R; time "$target/release/r1-reward" --quiet --preset $preset --threads "$threads" "$out/rows.jsonl" > /dev/null; } 2>&1)
    echo "r1-reward --preset $preset, $threads threads: $(awk "BEGIN { printf \"%.0f\", $rows / $seconds }") rows a second"
done
# GIB=5 streams that much through the tool; 0 leaves it out.
if [ "${GIB:-0}" != 0 ]; then
    "$python" scripts/bench/verify_stream.py "$GIB" "$target/release/r1-reward" --quiet --preset r1-zero --threads "$threads"
fi
echo "pairs, opinions and disagreements: $out"
