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
#!/bin/bash
while IFS= read -r row; do
  row=${row//\\\"/} row=${row#*\"completion\":\"} row=${row%%\"*} row=${row//[^0-9]/}
  echo ${#row}
done
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

# The same with policy and moments staying in memory, as TRL's trainer keeps them: one pipe, a step from one published policy to the next.
rm -rf "$out/piped" "$out/tasks-all.jsonl"
for step in $(seq 0 "$steps"); do sed "s/\"id\":\"q/&$step-/" "$out/tasks.jsonl" >> "$out/tasks-all.jsonl"; done
"$bin/r1-rollout" "$out/policy" "$out/tasks-all.jsonl" --follow "$out/piped" --prompts 4 --samples 8 --max-tokens 64 -q \
  | "$bin/r1-reward" --exec digits="$out/digits" --reward digits=1 -q | "$bin/r1-advantage" -q \
  | "$bin/r1-grpo" "$out/policy" -o "$out/piped" --follow --preset trl-default --lr 1e-6 -q --metrics "$out/piped.jsonl" &
published='' last=''
while kill -0 $! 2> /dev/null; do
  sleep 0.02
  seen=$(stat -c %i "$out/piped/model.safetensors" 2> /dev/null || true)
  if [ -n "$seen" ] && [ "$seen" != "$published" ]; then
    now=$(date +%s.%N)
    [ -z "$last" ] || awk -v a="$last" -v b="$now" 'BEGIN { printf "ours as one pipe: %.2f s a step\n", b - a }'
    last=$now published=$seen
  fi
done
peak=$(tail -n 1 "$out/piped.jsonl" | grep -o '"memory/peak_bytes":[0-9]*' | cut -d: -f2)
awk -v p="$peak" 'BEGIN { printf "ours as one pipe: peak %.2f GB of r1-grpo\n", p / 1e9 }'
