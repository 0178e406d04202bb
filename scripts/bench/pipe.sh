#!/bin/sh
# What loading and saving cost: rounds of reinforcement as make runs them, command by command through files, and as one pipe whose
# ends stay (--follow), over the same tasks. Both must end with the same bytes.
#   scripts/bench/pipe.sh POLICY [OUT]      # POLICY: such as runs/zero/0-base/policy
# ROUNDS, PROMPTS, GROUP, TURNS (each way is timed so often, in turns) and THREADS are read.
set -eu
base=$(realpath "$1") out=${2:-runs/pipe}
cd "$(dirname "$0")/../.."
bin=$PWD/target/release rounds=${ROUNDS:-25} prompts=${PROMPTS:-32} threads=${THREADS:-$(getconf _NPROCESSORS_ONLN)}
draw="--template r1-zero --samples ${GROUP:-16} --max-tokens 64 --threads $threads -q"
learn="--lr 3e-4 --loss dapo --threads $threads -q"
reward="--reward accuracy=1 --reward format=0.1 -q"
mkdir -p "$out"
for round in $(seq "$rounds"); do
  "$bin/r1-tasks" --family arithmetic --operands 1-9 --order-matters 0.5 --operators 2 --split train --unique \
    --count "$prompts" --seed "$round" -q -o "$out/tasks-$round.jsonl"
done
files() {
  rm -rf "$out/files"
  policy=$base
  for round in $(seq "$rounds"); do
    "$bin/r1-rollout" "$policy" "$out/tasks-$round.jsonl" $draw | "$bin/r1-reward" $reward | "$bin/r1-advantage" -q \
      -o "$out/round-$round.jsonl"
    "$bin/r1-grpo" "$policy" "$out/round-$round.jsonl" -o "$out/files" $learn
    policy=$out/files
  done
}
one_pipe() {
  rm -rf "$out/piped"
  for round in $(seq "$rounds"); do cat "$out/tasks-$round.jsonl"; done \
    | "$bin/r1-rollout" "$base" --follow "$out/piped" --prompts "$prompts" $draw | "$bin/r1-reward" $reward \
    | "$bin/r1-advantage" -q | "$bin/r1-grpo" "$base" -o "$out/piped" --follow $learn
}
now() { date +%s.%N; }
for turn in $(seq "${TURNS:-3}"); do
  a=$(now); files; b=$(now); one_pipe; c=$(now)
  awk "BEGIN { printf \"turn $turn: files %.2f s, pipe %.2f s, %.3f times\\n\", $b - $a, $c - $b, ($b - $a) / ($c - $b) }"
  diff -r "$out/files" "$out/piped" && echo "the same bytes"
done
