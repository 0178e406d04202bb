#!/usr/bin/env bash
# Kills a run at random moments, again and again, and compares what it comes to with an unbroken one, byte for byte.
#
#   scripts/bench/kills.sh POLICY OUT [KILLS]        # POLICY: a directory of r1-init or r1-sft; KILLS: of each trainer, 50
#
# r1-sft imitates with a checkpoint after every update; r1-grpo takes rounds of several updates in place, each with a reference that is
# renewed. Two thirds of the kills are SIGKILL, the rest SIGTERM. Compared: weights, optimizer state, train.json, the reference,
# and the metrics without their clocks and memory. SEED draws the moments; BIN and THREADS as elsewhere.
set -euo pipefail
policy=$1 out=$2 kills=${3:-50}
bin=${BIN:-$(dirname "$0")/../../target/release}
threads=(--threads "${THREADS:-1}")
RANDOM=${SEED:-1}
mkdir -p "$out"
rm -rf "$out"/whole* "$out"/broken*

"$bin/r1-tasks" --corpus --count 640 --seed 3 -q > "$out/corpus.jsonl"
for round in 1 2 3 4; do
  "$bin/r1-tasks" --count 12 --seed "$round" -q \
    | "$bin/r1-rollout" "$policy" - --template r1-zero -n 8 --max-tokens 40 --seed "$round" "${threads[@]}" -q \
    | "$bin/r1-reward" --reward accuracy=1 --reward format=0.1 --reward length=0.1 -q | "$bin/r1-advantage" -q > "$out/round-$round.jsonl"
done

sft() {
  "$bin/r1-sft" "$policy" "$out/corpus.jsonl" -o "$out/$1-sft" --epochs 2 --batch-size 32 --lr 1e-3 --template r1-zero \
    --checkpoint-every 1 "${threads[@]}" -q --metrics "$out/$1-sft.jsonl"
}
# All rounds in place; a round that is done does nothing when it is asked for again. Resumes at the round that was broken off.
grpo() {
  [ -e "$out/$1-grpo" ] || { rm -rf "$out/$1-copy"; cp -r "$policy" "$out/$1-copy"; rm -f "$out/$1-copy/train.json"; mv "$out/$1-copy" "$out/$1-grpo"; }
  local round
  for round in 1 2 3 4; do
    [ -e "$out/$1-done-$round" ] && continue
    "$bin/r1-grpo" "$out/$1-grpo" "$out/round-$round.jsonl" -o "$out/$1-grpo" --lr 1e-3 --batches 6 --epochs 2 --old recompute \
      --checkpoint-every 2 --kl-beta 0.01 --reference "$policy" --reference-every 20 --reference-mix 0.6 \
      --entropy-target 9 "${threads[@]}" -q --metrics "$out/$1-grpo.jsonl"
    touch "$out/$1-done-$round"
  done
}

clockless() { sed -E 's/,?"(step_time|tokens_per_second|memory\/peak_bytes)":[^,}]+//g' "$1"; }
same() {
  local file
  for file in model.safetensors optimizer.safetensors train.json reference/model.safetensors; do
    [ -e "$out/whole-$1/$file" ] || continue
    cmp "$out/whole-$1/$file" "$out/broken-$1/$file"
  done
  cmp <(clockless "$out/whole-$1.jsonl") <(clockless "$out/broken-$1.jsonl")
}

over() {
  case $1 in
    sft) grep -qs '"status": *"done"' "$out/broken-sft/train.json" ;;
    grpo) [ -e "$out/broken-done-4" ] ;;
  esac
}

for trainer in sft grpo; do
  started=$(date +%s%N)
  "$trainer" whole
  took=$((($(date +%s%N) - started) / 1000000))
  done=0 hits=0
  while [ "$done" -lt "$kills" ]; do
    # A start, and up to twice the share of one kill of the whole: so the run comes to its end at about the last one.
    pause=$((120 + RANDOM % (2 * took / kills + 1)))
    ("$trainer" broken) & child=$!
    sleep "$(printf '%d.%03d' $((pause / 1000)) $((pause % 1000)))"
    signal=KILL
    [ $((RANDOM % 3)) -eq 0 ] && signal=TERM
    # The tool itself, not only the shell around it.
    if tool=$(pgrep -P "$child" -n); then
      kill -KILL "$child" 2> /dev/null || true
      kill "-$signal" "$tool" 2> /dev/null && hits=$((hits + 1))
      while kill -0 "$tool" 2> /dev/null; do sleep 0.01; done
    fi
    wait "$child" 2> /dev/null || true
    done=$((done + 1))
    # Should it have come to its end before, it is compared and begun anew, so that every kill has something to break.
    if over "$trainer" && [ "$done" -lt "$kills" ]; then
      same "$trainer"
      rm -rf "$out/broken-$trainer" "$out/broken-$trainer.jsonl" "$out"/broken-done-*
    fi
  done
  "$trainer" broken
  same "$trainer"
  echo "r1-$trainer: $hits of $kills kills hit it at work ($took ms unbroken): weights, optimizer, state and metrics are those of the unbroken run"
done
