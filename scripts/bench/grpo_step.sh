#!/usr/bin/env bash
# One GRPO step of SmolLM2-135M, 4 prompts x 8 completions x up to 64 new tokens, from rollout to written checkpoint: TRL's GRPOTrainer,
# then ours, on this machine, one after the other.
#
#   scripts/bench/grpo_step.sh SmolLM2-135M-Instruct.Q4_1.gguf VENV OUT [STEPS]      # VENV: scripts/golden/requirements.txt; STEPS: 3
#
# Both begin with the policy that r1-init makes of the GGUF file, ask the same kind of sums, reward digits, train with AdamW at 1e-6, and
# write weights and optimizer state after every step. TRL computes in f32 (its bf16 dies on some processors); its first step is left out.
set -euo pipefail
gguf=$1 venv=$2 out=$3 steps=${4:-3}
here=$(cd "$(dirname "$0")" && pwd)
bin=${BIN:-$here/../../target/release}
mkdir -p "$out"
[ -e "$out/policy/model.safetensors" ] || "$bin/r1-init" --from-gguf "$gguf" -o "$out/policy" -q
for a in 1 3 5 7; do
  printf '{"id":"q%d","prompt":"What is %d + 2 * 4?"}\n' "$a" "$a"
done > "$out/tasks.jsonl"
cat > "$out/digits" <<'END'
#!/bin/sh
exec awk '{ s = match($0, /"completion":"([^"\\]|\\.)*"/) ? substr($0, RSTART + 14, RLENGTH - 15) : ""; print gsub(/[0-9]/, "", s); fflush() }'
END
chmod +x "$out/digits"

[ -n "${OURS_ONLY:-}" ] || "$venv/bin/python" "$here/trl_step.py" "$out/policy" "$out/trl" "$steps"

for step in $(seq "$steps"); do
  rm -rf "$out/after"
  start=$(date +%s.%N)
  "$bin/r1-rollout" "$out/policy" "$out/tasks.jsonl" --samples 8 --max-tokens 64 --seed "$step" -o "$out/rollout.jsonl" -q
  sampled=$(date +%s.%N)
  "$bin/r1-reward" --exec digits="$out/digits" --reward digits=1 "$out/rollout.jsonl" -q | "$bin/r1-advantage" -q > "$out/advantaged.jsonl"
  rm -f "$out/log.jsonl"
  "$bin/r1-grpo" "$out/policy" "$out/advantaged.jsonl" -o "$out/after" --preset trl-default --lr 1e-6 -q --metrics "$out/log.jsonl"
  end=$(date +%s.%N)
  tokens=$(grep -o '"tokens":[0-9]*' "$out/log.jsonl" | cut -d: -f2)
  peak=$(grep -o '"memory/peak_bytes":[0-9]*' "$out/log.jsonl" | cut -d: -f2)
  awk -v a="$start" -v b="$sampled" -v c="$end" -v n="$tokens" -v p="$peak" -v s="$step" \
    'BEGIN { printf "ours, run %d: %.2f s, of which rollout %.2f s; %d completion tokens; peak %.2f GB (r1-grpo, before it writes)\n", s, c - a, b - a, n, p / 1e9 }'
done
