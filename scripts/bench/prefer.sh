#!/usr/bin/env bash
# Reward models: how often the better completion of a held-out pair gets the higher score.
#
#   scripts/bench/prefer.sh [RUN]                       # synthetic pairs, the default policy: minutes on one core
#   SMOLLM2=DIR scripts/bench/prefer.sh [RUN]           # and real pairs, on a policy directory (r1-init --from-gguf …)
#
# Variables: SEEDS="0 1 2"  THREADS=1  STEPS=100 (updates on real pairs, of 8 pairs each)  LENGTH=256 (tokens of a prompt with its
# completion; longer pairs are left out)  HELD_OUT=200 (most real pairs to be measured on)
# Real pairs lie in ../shared/data: PandaLM (votes of three people, helpful) and a mild part of HH-RLHF's harmless test set. Both
# are cut by a hash of the prompt, so that no prompt stands on both sides.
set -euo pipefail
cd "$(dirname "$0")/../.."
run=${1:-runs/prefer}
bin=${BIN:-$PWD/target/release}
threads=${THREADS:-1}
mkdir -p "$run"
export PATH=$bin:$PATH

# --- Synthetic: helpful and harmless, English and Chinese -------------------------------------------------------------
general="--pairs --family general --language en --language zh"
r1-tasks $general -n 4000 --split train --seed 1 -q -o "$run/train.jsonl"
r1-tasks $general -n 1000 --split test --seed 2 -q -o "$run/test.jsonl"
if [ ! -d "$run/base" ]; then
    r1-tasks --corpus --noise none --family general --language en --language zh -n 4000 --split train --seed 3 -q -o "$run/corpus.jsonl"
    r1-init --preset r1-tiny --corpus "$run/corpus.jsonl" --vocab 512 -q -o "$run/init"
    r1-sft "$run/init" "$run/corpus.jsonl" -o "$run/base" --max-steps 60 --batch-size 32 --lr 2e-3 --threads "$threads" -q
fi
for seed in ${SEEDS:-0}; do
    r1-prefer "$run/base" "$run/train.jsonl" -o "$run/synthetic-$seed" --seed "$seed" --lr 1e-3 --batch-size 32 --center 0.01 \
        --eval "$run/test.jsonl" --metrics "$run/synthetic-$seed.metrics" --threads "$threads"
done

# --- Real -------------------------------------------------------------------------------------------------------------
[ -n "${SMOLLM2:-}" ] || exit 0
cut() { # FILE NAME SHARE: rows whose prompt hashes below SHARE are held out, most HELD_OUT of them
    python3 - "$1" "$run/$2" "$3" "${HELD_OUT:-200}" <<'END'
import hashlib, json, sys
source, target, share, most = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
place = lambda text: int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
sides = {"train": [], "test": []}
for line in sorted(open(source), key=place):
    sides["test" if place(json.loads(line)["prompt"]) < share else "train"].append(line)
for side, lines in sides.items():
    lines = lines[:most] if side == "test" else lines
    open(f"{target}-{side}.jsonl", "w").writelines(lines)
    print(f"{target}-{side}: {len(lines)} pairs, {len({json.loads(l)['prompt'] for l in lines})} prompts", file=sys.stderr)
END
}
for real in "pandalm pandalm/pairs.jsonl auto 0.4" "hh hh_rlhf/harmless_test_mild.jsonl raw 0.4"; do
    read -r name file template share <<< "$real"
    [ -f "../shared/data/$file" ] || { echo "skipped: ../shared/data/$file is not here" >&2; continue; }
    cut "../shared/data/$file" "$name" "$share"
    for seed in ${SEEDS:-0}; do
        r1-prefer "$SMOLLM2" "$run/$name-train.jsonl" -o "$run/$name-$seed" --template "$template" --max-steps "${STEPS:-100}" \
            --batch-size 8 --lr 2e-5 --warmup 10 --max-length "${LENGTH:-256}" --seed "$seed" --eval "$run/$name-test.jsonl" \
            --eval-every 1000 --metrics "$run/$name-$seed.metrics" --checkpoint-every 0 --threads "$threads"
    done
done
