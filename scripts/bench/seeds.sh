#!/usr/bin/env bash
# A whole run for several seeds, one after the other: wall time of each, then held-out accuracy after each stage with 95 % intervals.
#
#   scripts/bench/seeds.sh 0 1 2                 # R1-Zero, as `make` runs it
#   TARGET=r1 scripts/bench/seeds.sh 0 1 2       # the whole recipe, as `make r1` does; its scores of general requests, too
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${TARGET:-zero}
case $target in
  zero) name=seed stages="base zero" ;;
  r1) name=r1 stages="base zero sft rl sft-again r1 qwen-tiny llama-tiny llama-tiny-rl" ;;
  *) echo "seeds.sh: TARGET is zero or r1, not $target" >&2; exit 2 ;;
esac
make build
mkdir -p runs
files=() general=()
for seed in "${@:-0}"; do
  run=runs/$name-$seed
  start=$(date +%s)
  make "$target" RUN="$run" SEED="$seed" > "$run.log" 2>&1 || { tail -n 5 "$run.log" >&2; exit 1; }
  echo "seed $seed: $(($(date +%s) - start)) s (0 where the run was there already)"
  for stage in $stages; do files+=("$run/eval/$stage.jsonl"); done
  general+=("$run"/general/{sft-again,r1}.jsonl)
done
target/release/r1-eval "${files[@]}"
[ "$target" != r1 ] || for file in "${general[@]}"; do
  printf '%s' "$file"
  for part in helpful harmless; do
    grep -o "\"reward\":{[^}]*\"$part\":[-0-9.]*" "$file" | sed 's/.*://' \
      | awk -v part="$part" '{ sum += $1 } END { printf "  %s %.2f (%d completions)", part, sum / NR, NR }'
  done
  echo
done
