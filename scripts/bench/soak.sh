#!/bin/bash
# Does a long-lived sampler grow or fail under a small memory for keys and values? One process draws completions of ever more
# tasks; from its first rows on its resident memory is read every ten seconds.
#
#   scripts/bench/soak.sh POLICY [SECONDS [MIB]]        default 3600 seconds, 2 MiB; BIN: where the tools are, KEEP: a
#   folder to keep, TASKS: how many (more than it can finish)
#
# It fails when the process ends before its time, when its memory in the last quarter exceeds that of the first tenth by more than
# 2 %, or when the first rows differ from those that ample memory gives.
set -eu
policy=$1 seconds=${2-3600} memory=${3-2}
bin=${BIN-$(dirname "$0")/../../target/release}
work=${KEEP-$(mktemp -d)}
[ -n "${KEEP-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"
compared=1000
"$bin/r1-tasks" --count "${TASKS-400000}" --operators 2 --seed 11 -q -o "$work/tasks.jsonl"
draw=("$bin/r1-rollout" "$policy" "$work/tasks.jsonl" -q --template r1-zero --samples 4 --max-tokens 64)
"${draw[@]}" --limit $((compared / 4)) > "$work/ample.jsonl"

mkfifo "$work/rows"
awk -v n=$compared -v first="$work/first.jsonl" 'NR <= n { print > first } END { print NR }' < "$work/rows" > "$work/count" &
counter=$!
"${draw[@]}" --kv-memory "$memory" --metrics "$work/metrics.jsonl" > "$work/rows" &
sampler=$!
until [ -s "$work/first.jsonl" ]; do
  kill -0 $sampler || exit 1
  sleep 1
done
begun=$(date +%s)
: > "$work/memory"
while now=$(($(date +%s) - begun)) && [ $now -lt "$seconds" ]; do
  sleep 10
  kb=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$sampler/status 2> /dev/null) || true
  [ -n "$kb" ] || { echo "the sampler ended after $now s"; wait $sampler; exit 1; }
  echo "$now $kb" >> "$work/memory"
done
kill -TERM $sampler
wait $sampler || [ $? -eq 143 ]
wait $counter
cmp "$work/first.jsonl" "$work/ample.jsonl"
awk -v rows="$(cat "$work/count")" -v memory="$memory" '
  { at[NR] = $1; kb[NR] = $2 }
  END {
    for (i = 1; i <= 1 + NR / 10; i++) if (kb[i] > early) early = kb[i]
    for (i = int(NR * 3 / 4); i <= NR; i++) if (kb[i] > late) late = kb[i]
    printf "%d s, --kv-memory %d: %d rows, resident at most %d kB in the first tenth, %d kB in the last quarter\n", at[NR], memory, rows, early, late
    exit late > 1.02 * early
  }' "$work/memory"
