#!/usr/bin/env bash
# Whole training steps (forward, backward, AdamW) beside PyTorch's, one after the other in one run: SmolLM2-135M's shape, a Llama of 4.5
# million parameters, the default DeepSeek-V3-shaped policy. Weights are drawn: only the shapes matter.
#
#   scripts/bench/train.sh PYTHON [ROUNDS]        PYTHON: with torch and transformers (scripts/golden/requirements.txt); ROUNDS: 3;
#   CASES: shape:sequences:tokens …
#
# Prints a table of medians over the rounds: tokens a second, ratio to the fastest PyTorch of the shape, peak memory. PyTorch runs in f32,
# in bf16 (weights and all) and with autocast. Where its bf16 dies with an illegal instruction (AMX hidden by the hypervisor), set
# ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 and say so.
set -euo pipefail
python=$1 rounds=${2:-3} cases=${CASES:-smollm2:8:256 smollm2:2:1024 llama:64:128 r1-tiny:64:128}
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(getconf _NPROCESSORS_ONLN)}
cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" -p r1-train --example step -p r1-init
step=$root/target/release/examples/step

llama() { # vocabulary, hidden, intermediate, layers, heads, key heads, tied
  printf '{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":%d,"hidden_size":%d,"intermediate_size":%d,
    "num_hidden_layers":%d,"num_attention_heads":%d,"num_key_value_heads":%d,"tie_word_embeddings":%s,"max_position_embeddings":8192,
    "rms_norm_eps":1e-5,"rope_theta":100000,"hidden_act":"silu","initializer_range":0.02,"bos_token_id":1,"eos_token_id":2}' "$@"
}
llama 49152 576 1536 30 9 3 true > "$work/smollm2.json"
llama 512 256 1024 4 4 4 false > "$work/llama.json"
printf '{"prompt":"What is 2 + 3?","completion":"5"}\n' > "$work/corpus.jsonl"
"$root/target/release/r1-init" --preset r1-tiny --corpus "$work/corpus.jsonl" --vocab 300 -o "$work/tiny" -q
sed 's/"vocab_size": [0-9]*/"vocab_size": 1024/' "$work/tiny/config.json" > "$work/r1-tiny.json"

for round in $(seq "$rounds"); do
  for case in $cases; do
    set -- ${case//:/ }
    for dtype in f32 bf16; do
      "$step" "$work/$1.json" "$2" "$3" "$dtype" 3 2>/dev/null | sed "s/^{/{\"who\":\"r1\",\"case\":\"$1 $2 x $3\",/" || true
    done
    for mode in f32 bf16 autocast; do
      "$python" "$here/train_peer.py" "$work/$1.json" "$2" "$3" "$mode" 2>/dev/null | grep '^{' |
        sed "s/^{/{\"who\":\"torch\",\"case\":\"$1 $2 x $3\",/" || echo "torch $mode failed on $case" >&2
    done
  done
done > "$work/runs.jsonl"

"$python" - "$work/runs.jsonl" <<'PY'
import json, statistics, sys
import torch, transformers
print(f"torch {torch.__version__}, transformers {transformers.__version__}, {torch.get_num_threads()} threads\n")
runs = {}
for line in open(sys.argv[1]):
    run = json.loads(line)
    runs.setdefault((run["case"], run["who"], run["precision"]), []).append(run)
def middle(key, what): return statistics.median(run[what] for run in runs[key])
print("| step | | tokens/s | of the fastest PyTorch | peak GB |\n|---|---|---|---|---|")
for key in runs:
    case, who, precision = key
    best = max(middle(k, "tokens_per_second") for k in runs if k[0] == case and k[1] == "torch")
    rate = middle(key, "tokens_per_second")
    print(f"| {case} | {who} {precision.lower()} | {rate:,.0f} | {rate / best:.2f} | {middle(key, 'peak_bytes') / 1e9:.2f} |")
PY
