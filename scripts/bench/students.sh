#!/usr/bin/env bash
# Distilled, or reinforced alone for the same compute: one student of a finished `make r1` (the paper's table 6, at this size).
#
#   scripts/bench/students.sh RUN [STUDENT [OUT]]          # runs/r1 llama-tiny RUN/equal
#
# Compute is counted in tokens that pass through the student. Distillation: 3 for each token of each epoch, prompts included
# (forward once, backward twice as much). Reinforcement: 4 for each token of a completion, which is drawn once more than that; its
# prompts, one a group, are not counted, a few per cent in its favour. The rounds that the run has made are gone on with, in the
# run's own settings, until they have cost as much. THREADS is read; a killed run is run again and goes on.
set -euo pipefail
run=$(realpath "$1") student=${2:-llama-tiny} out=$(realpath -m "${3:-$1/equal}")
cd "$(dirname "$0")/../.."
bin=${BIN:-$PWD/target/release} threads=${THREADS:-$(getconf _NPROCESSORS_ONLN)}
export PATH=$bin:$PATH
distilled=$run/8-distill/$student
[ -e "$distilled/done" ] && [ -e "$distilled-rl/done" ] \
  || { echo "students.sh: $run: make r1 has not trained $student by distillation and by reinforcement" >&2; exit 2; }
# setting NAME: as the run was begun with it.
setting() { sed -E -n "s/^.* $1=(.*)\$/\1/p" "$run/settings" | sed -E 's/ [A-Z][A-Z0-9_]*=.*//'; }
# number FILE KEY: the last one in a file of JSON.
number() { grep -oE "\"$2\": ?[0-9.]+" "$1" | tail -n 1 | grep -oE '[0-9.]+$'; }

mkdir -p "$out"
# What distillation has cost.
if [ ! -s "$out/cost" ]; then
  r1-reject "$run/8-distill/teacher.jsonl" --correct --finished -q -o "$out/examples.jsonl" 2> /dev/null
  tokens=$(r1-rollout "$distilled/base/policy" "$out/examples.jsonl" --template chat --show-tokens -q --threads "$threads" \
    | awk '/^# / { sum += $3 + $6 } END { print sum }')
  echo $((3 * tokens * $(number "$distilled/policy/train.json" epochs))) > "$out/cost"
fi
cost=$(cat "$out/cost")

# As scripts/students.mk does it: seeds 85 and on.
[ -e "$out/policy" ] || { rm -rf "$out/policy.part"; cp -r "$distilled-rl/policy" "$out/policy.part"; mv "$out/policy.part" "$out/policy"; }
seed=$(setting SEED)
spent() { echo $((4 * $(number "$out/policy/train.json" tokens))); }
while [ "$(spent)" -lt "$cost" ]; do
  round=$(($(number "$out/policy/train.json" round) + 1))
  # shellcheck disable=SC2046
  r1-tasks $(setting PROBLEMS) $(setting ASKED) --split train --unique --count "$(setting PROMPTS)" --seed "${seed}85$round" -q \
    | r1-rollout "$out/policy" --samples "$(setting GROUP)" --template chat --max-tokens "$(setting MAX_TOKENS)" --seed "$seed" --threads "$threads" -q \
    | r1-reward $(setting R1_REWARDS) -q | r1-advantage -q > "$out/round.jsonl"
  r1-grpo "$out/policy" "$out/round.jsonl" -o "$out/policy" $(setting STUDENT_GRPO) --threads "$threads" -q --metrics "$out/metrics.jsonl"
done
echo "$student: distillation cost $cost token passes, reinforcement $(spent) in $(number "$out/policy/train.json" round) rounds"
r1-rollout "$out/policy" "$run/eval/tasks.jsonl" --samples "$(setting EVAL_SAMPLES)" --template chat --max-tokens "$(setting MAX_TOKENS)" \
  --seed 1000 --threads "$threads" -q | r1-reward --reward accuracy=1 --reward format=0.1 --reward language=0.2 -q > "$out/equal.jsonl"
r1-eval "$run/eval/r1.jsonl" "$run/eval/$student.jsonl" "$run/eval/$student-rl.jsonl" "$out/equal.jsonl"
