#!/bin/bash
# Sampling side by side in one run: ours, transformers' generate, llama.cpp. One table: new tokens a second (prefill: prompt
# tokens), prompts included, loading not; the median of REPEAT.
#
#   scripts/bench/rollout.sh POLICY TINY PYTHON [GGUF]
#
# POLICY and TINY: policy directories (SmolLM2-135M from its GGUF file; r1-tiny). PYTHON: with torch and transformers; with
# llama_cpp and gguf too where GGUF, POLICY's file, is given. REPEAT=3, CASES="many one prefill groups tiny", PEERS="transformers transformers-bf16 llama",
# PEER_CASES="many one prefill tiny" (groups take them minutes each). About a quarter of an hour; PEERS= times ours alone.
#
# many: 64 prompts of about 40 tokens, 64 new ones each. one: one of them. prefill: 8 prompts of about 512 tokens, one new token.
# groups: the same prompts, 16 completions of 64 tokens each. tiny: 256 prompts of about 16 tokens, 64 new ones each, of TINY.
# After the table: groups against prefill plus the same decoding behind short prompts.
set -euo pipefail
policy=$1 tiny=$2 python=$3 gguf=${4-}
repeat=${REPEAT-3} cases=${CASES-many one prefill groups tiny} peers=${PEERS-transformers transformers-bf16 llama}
peer_cases=${PEER_CASES-many one prefill tiny}
here=$(dirname "$0")
bin=${BIN-$here/../../target/release}
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
write("prefill", 8, 510)
write("groups", 8, 510)
write("short", 8, 3)
write("tiny", 256, 8)
PY
cp "$work/prefill.jsonl" "$work/groups.jsonl"

number() { tail -n 1 "$work/metrics" | sed "s/.*\"$1\":\([0-9.]*\).*/\1/"; }
seconds() { # dtype case samples tokens: the median time; the last run's metrics stay
  local from=$policy
  [ "$2" = tiny ] && from=$tiny
  for _ in $(seq "$repeat"); do
    "$bin/r1-rollout" "$from" "$work/$2.jsonl" -q --template raw --samples "$3" --max-tokens "$4" --min-tokens "$4" \
      --dtype "$1" --metrics "$work/metrics" -o "$work/out.jsonl"
    number seconds
  done | sort -n | sed -n "$(((repeat + 1) / 2))p"
}
for dtype in bf16 f32; do
  for case in $cases; do
    samples=1 tokens=64 what=tokens
    [ "$case" = groups ] && samples=16
    [ "$case" = prefill ] && tokens=1 what=prefilled_tokens
    time=$(seconds $dtype "$case" $samples $tokens)
    echo "$case,ours $dtype,$time,$(number $what)"
    if [ "$case" = groups ]; then
      echo "$case,$time,$(seconds $dtype prefill 1 1),$(seconds $dtype short 16 64),$dtype" >> "$work/groups"
    fi
  done
done >> "$work/times"
"$python" "$here/rollout_peers.py" "$policy" "$tiny" "$work" "$gguf" "$repeat" "$peer_cases" "$peers" >> "$work/times"

awk -F, '
  { if (!($1 in row)) { row[$1]; rows[++m] = $1 } if (!($2 in column)) { column[$2]; columns[++n] = $2 } rate[$1, $2] = $4 / $3 }
  END {
    line = "| |"; rule = "|---|"
    for (j = 1; j <= n; j++) { line = line " " columns[j] " |"; rule = rule "---|" }
    print line; print rule
    for (i = 1; i <= m; i++) {
      line = "| " rows[i] " |"
      for (j = 1; j <= n; j++) line = line " " ((rows[i], columns[j]) in rate ? sprintf("%.0f", rate[rows[i], columns[j]]) : "") " |"
      print line
    }
  }' "$work/times"
[ ! -f "$work/groups" ] || awk -F, '
  { printf "groups, %s: %.2f s, prefill %.2f s + decoding %.2f s: %.2f times the two\n", $5, $2, $3, $4, $2 / ($3 + $4) }' "$work/groups"
