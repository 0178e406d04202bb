#!/usr/bin/env bash
# A GPU, in one command: every op and whole policies against the CPU on the card, each op's time beside its byte and flop floor, then
# training and sampling of a 135M and a 1.5B-shaped policy (drawn weights) beside transformers on the same card in the same run.
#
#   scripts/bench/gpu.sh PYTHON [ROUNDS]        PYTHON: with torch for CUDA and transformers; ROUNDS: 3
#   CHECKS=0 leaves the checks out; R1_CUDA=emulated SMALL=1 runs all but the peers on tiny shapes, to see that the script itself works.
#
# CUDA_LIBRARY_DIRS names the folders of NVRTC and cuBLASLt (CUDA 13) where the loader does not find them; torch's wheels bring both.
# Prints the ops' table, then a table of medians: tokens a second, ratio to transformers, share of the card's measured bf16 rate.
set -euo pipefail
python=$1 rounds=${2:-3} checks=${CHECKS:-1} small=${SMALL:-0}
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
cd "$root"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -z "${CUDA_LIBRARY_DIRS:-}" ]; then
  CUDA_LIBRARY_DIRS=$("$python" -c 'import glob, site; print(":".join(glob.glob(site.getsitepackages()[0] + "/nvidia/*/lib")))' || true)
  export CUDA_LIBRARY_DIRS
fi

[ "$checks" = 0 ] || R1_CUDA=${R1_CUDA:-card} make test-cuda
cargo build --release --locked --quiet -p r1-kernels -p r1-model -p r1-train \
  --features r1-kernels/cuda,r1-model/cuda,r1-train/cuda --example device --example draw --example step
bin=$root/target/release/examples
if [ "$small" = 1 ]; then "$bin/device" --small; else "$bin/device"; fi

dense() { # model, vocabulary, hidden, intermediate, layers, heads, key heads, tied
  printf '{"architectures":["%sForCausalLM"],"model_type":"%s","vocab_size":%d,"hidden_size":%d,"intermediate_size":%d,
    "num_hidden_layers":%d,"num_attention_heads":%d,"num_key_value_heads":%d,"tie_word_embeddings":%s,"max_position_embeddings":8192,
    "rms_norm_eps":1e-6,"rope_theta":1000000,"hidden_act":"silu","initializer_range":0.02,"bos_token_id":1,"eos_token_id":2}' "$@"
}
dense Llama llama 49152 576 1536 30 9 3 true > "$work/135M.json"
dense Qwen2 qwen2 151936 1536 8960 28 12 2 true > "$work/1.5B.json"
trains="135M:8:2048 1.5B:8:2048" draws="135M:256:64:512 1.5B:256:64:512"
if [ "$small" = 1 ]; then
  dense Qwen2 qwen2 300 64 160 2 4 2 true > "$work/tiny.json"
  trains="tiny:2:32" draws="tiny:4:8:16"
fi
run() { # who, what, case, command …: adds a line, or says that it failed
  local who=$1 what=$2 case=$3
  shift 3
  "$@" 2> "$work/error" | grep '^{' | sed "s/^{/{\"who\":\"$who\",\"what\":\"$what\",\"case\":\"$case\",/" ||
    { echo "$who $what $case failed:" >&2; tail -n 3 "$work/error" >&2; }
}
[ "$small" = 1 ] || "$python" "$here/gpu_peer.py" rate > "$work/rate"
for _ in $(seq "$rounds"); do
  for case in $trains; do
    set -- ${case//:/ }
    run r1 train "$1" "$bin/step" "$work/$1.json" "$2" "$3" bf16 3 cuda
    [ "$small" = 1 ] || run transformers train "$1" "$python" "$here/gpu_peer.py" train "$work/$1.json" "$2" "$3"
  done
  for case in $draws; do
    set -- ${case//:/ }
    run r1 sample "$1" "$bin/draw" "$work/$1.json" "$2" "$3" "$4" bf16 cuda
    [ "$small" = 1 ] || run transformers sample "$1" "$python" "$here/gpu_peer.py" sample "$work/$1.json" "$2" "$3" "$4"
  done
done > "$work/runs.jsonl"

"$python" - "$work" <<'PY'
import json, os, statistics, sys
work, runs = sys.argv[1], {}
rate = json.load(open(f"{work}/rate")) if os.path.exists(f"{work}/rate") else None
if rate:
    print(f"\n{rate['card']}: {rate['operations_per_second'] / 1e12:.0f} TFLOP/s in bf16, measured\n")
for line in open(f"{work}/runs.jsonl"):
    run = json.loads(line)
    runs.setdefault((run["what"], run["case"], run["who"]), []).append(run)
print("| | | tokens/s | of transformers | of the bf16 rate | peak GB of the host or the card |\n|---|---|---|---|---|---|")
for (what, case, who), all in runs.items():
    middle = statistics.median(run["tokens_per_second"] for run in all)
    peers = runs.get((what, case, "transformers"))
    ratio = f"{middle / statistics.median(r['tokens_per_second'] for r in peers):.2f}" if peers else "–"
    # Six operations a parameter and token: attention's own are left out, so the share is a lower bound.
    share = f"{100 * 6 * all[0]['parameters'] * middle / rate['operations_per_second']:.0f} %" if rate and what == "train" else "–"
    peak = f"{all[0]['peak_bytes'] / 1e9:.1f} ({'host' if who == 'r1' else 'card'})" if all[0].get("peak_bytes") else "–"
    print(f"| {what} {case} | {who} | {middle:,.0f} | {ratio} | {share} | {peak} |")
PY
