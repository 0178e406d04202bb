#!/usr/bin/env bash
# An adapter against the whole policy: peak memory and seconds an update of r1-sft and r1-grpo, on SmolLM2-135M-Instruct.
#
#   scripts/bench/lora.sh SmolLM2-135M-Instruct.Q4_1.gguf [RANK [OUT]]
#
# Each is one process; the last of a run's updates count (median), checkpoints are written at the end only. Under each: files.
set -euo pipefail
gguf=$(realpath "$1") rank=${2:-8} out=$(realpath -m "${3:-runs/bench-lora}")
cd "$(dirname "$0")/../.."
export PATH=$(realpath "${CARGO_TARGET_DIR:-target}")/release:$PATH
rm -rf "$out" && mkdir -p "$out" && cd "$out"
r1-init --from-gguf "$gguf" -o smol -q
r1-tasks --corpus --count 64 --seed 1 -q > corpus.jsonl
r1-tasks --count 4 --seed 2 -q | r1-rollout smol -n 8 --max-tokens 64 -q | r1-reward -q \
  | jq -c '.reward.total += .rollout.sample / 10' | r1-advantage -q > rows.jsonl

measure() { # NAME COMMAND…
  local name=$1; shift
  /usr/bin/time -f '%M' -o "$name.kib" "$@" --metrics "$name.jsonl" -q
  local seconds=$(jq -s 'map(select(.step > 1) | .step_time // (.tokens / .tokens_per_second)) | sort | .[length / 2 | floor]' "$name.jsonl")
  echo "$name: $(($(tail -1 "$name.kib") / 1024)) MiB at most, $seconds s an update; $(du -shL "$name" | cut -f1) on disk"
}

lora=(--lora-rank "$rank")
measure sft-whole r1-sft smol corpus.jsonl -o sft-whole --batch-size 8 --max-steps 6 --lr 1e-5
measure sft-rank r1-sft smol corpus.jsonl -o sft-rank --batch-size 8 --max-steps 6 --lr 2e-4 "${lora[@]}"
measure grpo-whole r1-grpo smol rows.jsonl -o grpo-whole --epochs 4 --lr 1e-6 --check-logprobs 0
measure grpo-rank r1-grpo smol rows.jsonl -o grpo-rank --epochs 4 --lr 2e-5 --check-logprobs 0 "${lora[@]}"
