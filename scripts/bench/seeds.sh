#!/usr/bin/env bash
# `make` for several seeds, one after the other: wall time of each, then accuracy before and after with 95 % intervals.
#
#   scripts/bench/seeds.sh 0 1 2
set -euo pipefail
cd "$(dirname "$0")/../.."
make build
mkdir -p runs
files=()
for seed in "${@:-0}"; do
  run=runs/seed-$seed
  start=$(date +%s)
  make RUN="$run" SEED="$seed" > "runs/seed-$seed.log" 2>&1 || { tail -n 5 "runs/seed-$seed.log" >&2; exit 1; }
  echo "seed $seed: $(($(date +%s) - start)) s (0 where the run was there already)"
  files+=("$run/eval/base.jsonl" "$run/eval/zero.jsonl")
done
target/release/r1-eval "${files[@]}"
