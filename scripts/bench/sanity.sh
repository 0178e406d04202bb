#!/usr/bin/env bash
# Does reinforcement reinforce? On tasks that the start policy solves 20 to 80 % of the time a sound algorithm reaches more than
# 95 % train accuracy; and every preset trains for 200 updates without collapse.
#
#   scripts/bench/sanity.sh POLICY OUT [default] [PRESET ...]       # POLICY: runs/zero/0-base/policy, say
#
# BIN (target/release), THREADS (1), ROUNDS of the default run (60) and of a preset (100) come from the environment. `default` is what the
# Makefile runs; a preset runs at the Makefile's learning rate, its own being meant for policies a thousand times as large.
# Prints train accuracy, entropy and length as they go; OUT/NAME.jsonl holds all metrics.
set -euo pipefail
policy=$1 out=$2
shift 2
bin=${BIN:-$(dirname "$0")/../../target/release}
threads=(--threads "${THREADS:-1}")
mkdir -p "$out"

# Tasks solved 20 to 80 % of the time, as the start policy's own 16 samples of each say.
if [ ! -s "$out/tasks.jsonl" ]; then
  "$bin/r1-tasks" --family arithmetic --operands 1-9 --order-matters 0.5 --operators 2 --split train --unique --count 300 --seed 77 \
    | "$bin/r1-rollout" "$policy" --template r1-zero --samples 16 --max-tokens 64 --seed 77 "${threads[@]}" \
    | "$bin/r1-reward" --reward accuracy=1 \
    | "$bin/r1-advantage" --pass-rate 0.2..0.8 \
    | grep '"sample":0,' | sed 's/,"rollout":.*/}/' | awk 'NR <= 64' > "$out/tasks.part"
  mv "$out/tasks.part" "$out/tasks.jsonl"
fi

# run NAME ROUNDS PROMPTS SAMPLES FLAGS...: rounds in place, PROMPTS tasks each in turn.
run() {
  local name=$1 rounds=$2 prompts=$3 samples=$4
  shift 4
  [ -e "$out/$name.done" ] && return
  rm -rf "$out/$name" "$out/$name.jsonl"
  cp -r "$policy" "$out/$name"
  local all from round score draw=()
  all=$(wc -l < "$out/tasks.jsonl")
  score=(cat)
  case "$*" in *r1-zero* | *r1-rl*) score=("$bin/r1-rollout" "$policy" - --score reference "${threads[@]}" -q) ;; esac
  # The paper's second stage of reinforcement differs from its first in this.
  case "$*" in *r1-rl2*) draw=(--temperature 0.7) ;; esac
  for round in $(seq 1 "$rounds"); do
    from=$(((round - 1) * prompts % all + 1))
    tail -n "+$from" "$out/tasks.jsonl" | awk -v n="$prompts" 'NR <= n' \
      | "$bin/r1-rollout" "$out/$name" - --template r1-zero --samples "$samples" --max-tokens 64 --seed "$round" "${draw[@]}" "${threads[@]}" -q \
      | "$bin/r1-reward" --reward accuracy=1 --reward format=0.1 -q | "${score[@]}" | "$bin/r1-advantage" -q \
      | "$bin/r1-grpo" "$out/$name" - -o "$out/$name" "$@" "${threads[@]}" -q --metrics "$out/$name.jsonl"
  done
  touch "$out/$name.done"
}

# show NAME: a line for every tenth of the run: updates, mean train accuracy over the tenth, entropy, length, truncated share.
show() {
  awk -v name="$1" '
    function get(key) { return match($0, "\"" key "\":[-0-9.e]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0 : 0 }
    { acc[NR] = get("rewards/accuracy/mean"); h[NR] = get("entropy"); n[NR] = get("completions/mean_length"); cut[NR] = get("completions/clipped_ratio") }
    END {
      part = NR / 10
      printf "%-12s accuracy", name
      for (k = 0; k < 10; k++) { s = c = 0; for (i = int(k * part) + 1; i <= int((k + 1) * part); i++) { s += acc[i]; c++ } printf " %5.1f", 100 * s / c }
      printf "   entropy %.3f -> %.3f, tokens %.1f -> %.1f, cut %.1f %%, %d updates\n", h[1], h[NR], n[1], n[NR], 100 * cut[NR], NR
    }' "$out/$1.jsonl"
}

for name in "${@:-default}"; do
  case $name in
    default) run default "${ROUNDS:-60}" 64 16 --lr 3e-4 --loss dapo ;;
    dapo) run dapo "${PRESET_ROUNDS:-100}" 16 8 --preset dapo --lr 3e-4 --batches 2 --warmup 20 ;;
    dr-grpo) run dr-grpo "${PRESET_ROUNDS:-100}" 16 8 --preset dr-grpo --lr 3e-4 --batches 2 --generation-limit 64 ;;
    *) run "$name" "${PRESET_ROUNDS:-100}" 16 8 --preset "$name" --lr 3e-4 --batches 2 ;;
  esac
  show "$name"
done
