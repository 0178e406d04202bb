#!/usr/bin/env bash
# A GPU in parts of a few minutes each, every one printing as it goes:
#
#   checks   every op and whole policies against the CPU, on the card
#   ops      each op's time beside its byte floor and its flop floor, at the card's own measured rates
#   train    a training step of 8 × 2,048 packed tokens, of a 135M and a 1.5B-shaped policy (drawn weights), with and without
#            --batch-invariant, beside transformers
#   sample   256 sequences × 512 tokens of the same two, likewise, beside transformers' generate
#   grpo     rounds of reinforcement on the card, on the card with --batch-invariant, and on the CPU, from one start: the rewards, round by
#            round, and how far sampled and recomputed log-probabilities lie apart
#
#   scripts/bench/gpu.sh PYTHON [ROUNDS]        PYTHON: with torch for CUDA and transformers; ROUNDS of train and sample: 1
#   scripts/bench/gpu.sh pack FILE              builds, and packs what the parts run into FILE (tar.gz): for a machine without cargo
#
#   PARTS="train sample"    these alone (all)
#   PACK=FILE               what `pack` made; without it everything is built first
#   POLICY=DIR              grpo: this instructed policy, such as `r1-init --from-gguf SmolLM2-135M-Instruct.Q4_1.gguf -o DIR` makes, and as
#                           scripts/bench/smollm2.sh trains it; else one of a million parameters, warmed up on worked examples
#   R1_CUDA=emulated SMALL=1   all but the peers on tiny shapes, to see that the script itself works
#
# CUDA_LIBRARY_DIRS names the folders of NVRTC and cuBLASLt (CUDA 13) where the loader does not find them; torch's wheels bring both.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

gather() { # DIR
  local to=$1 features=() tool
  for tool in rollout grpo sft distill prefer judge; do features+=("r1-$tool/cuda"); done
  (
    cd "$root"
    cargo build --release --locked --quiet --workspace --features "$(IFS=,; echo "${features[*]}")"
    cargo build --release --locked --quiet -p r1-kernels -p r1-model -p r1-train \
      --features r1-kernels/cuda,r1-model/cuda,r1-train/cuda --example device --example draw --example step
    for tool in init tasks sft rollout reward advantage grpo; do strip -o "$to/r1-$tool" "target/release/r1-$tool"; done
    for tool in device draw step; do strip -o "$to/$tool" "target/release/examples/$tool"; done
    tested() { cargo test --release --locked --no-run --message-format=json "$@" 2> /dev/null | grep -o '"executable":"[^"]*"' | cut -d '"' -f 4 | tail -n 1; }
    strip -o "$to/test-kernels" "$(tested -p r1-kernels --features cuda --lib)"
    strip -o "$to/test-model" "$(tested -p r1-model --features cuda --test device)"
    strip -o "$to/test-train" "$(tested -p r1-train --features cuda --test device)"
    # The tests look for their golden files where they were built.
    echo "$root" > "$to/root"
  )
}
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
if [ "$1" = pack ]; then
  gather "$bin"
  tar -czf "$2" -C "$bin" .
  exit
fi

python=$1 rounds=${2:-1} parts=${PARTS:-checks ops train sample grpo} small=${SMALL:-0}
if [ -n "${PACK:-}" ]; then tar -xzf "$PACK" -C "$bin"; else gather "$bin"; fi
cd "$root"
work=$bin/work
mkdir "$work"
if [ -z "${CUDA_LIBRARY_DIRS:-}" ]; then
  CUDA_LIBRARY_DIRS=$("$python" -c 'import glob, site; print(":".join(glob.glob(site.getsitepackages()[0] + "/nvidia/*/lib")))' || true)
  export CUDA_LIBRARY_DIRS
fi

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

run() { # who, what, case, command …: adds a line to the runs and shows it, or says what failed
  local who=$1 what=$2 case=$3
  shift 3
  if timeout 200 "$@" > "$work/out" 2> "$work/error" && grep -q '^{' "$work/out"; then
    grep '^{' "$work/out" | sed "s/^{/{\"who\":\"$who\",\"what\":\"$what\",\"case\":\"$case\",/" | tee -a "$work/runs.jsonl"
  else
    echo "$who $what $case failed:" >&2
    tail -n 3 "$work/error" >&2
  fi
}

checks() {
  local was filter=(cuda) places=(--skip emulation)
  was=$(cat "$bin/root")
  [ -e "$was" ] || { mkdir -p "$(dirname "$was")" && ln -s "$root" "$was"; }
  [ "$small" = 0 ] || filter=(norm::cuda adamw::cuda)
  R1_CUDA=${R1_CUDA:-card} "$bin/test-kernels" --test-threads 4 "${filter[@]}" "${places[@]}"
  [ "$small" = 0 ] || return 0
  R1_CUDA=${R1_CUDA:-card} "$bin/test-model" --test-threads 4 --nocapture
  R1_CUDA=${R1_CUDA:-card} "$bin/test-train" --test-threads 4 --nocapture
}

ops() {
  if [ "$small" = 1 ]; then "$bin/device" --small; else "$bin/device"; fi
}

train() {
  local case
  for _ in $(seq "$rounds"); do
    for case in $trains; do
      set -- ${case//:/ }
      run r1 train "$1" "$bin/step" "$work/$1.json" "$2" "$3" bf16 3 cuda
      run "r1 --batch-invariant" train "$1" "$bin/step" "$work/$1.json" "$2" "$3" bf16 3 cuda-batch-invariant
      [ "$small" = 1 ] || run transformers train "$1" "$python" "$here/gpu_peer.py" train "$work/$1.json" "$2" "$3"
    done
  done
}

sample() {
  local case
  for _ in $(seq "$rounds"); do
    for case in $draws; do
      set -- ${case//:/ }
      run r1 sample "$1" "$bin/draw" "$work/$1.json" "$2" "$3" "$4" bf16 cuda
      run "r1 --batch-invariant" sample "$1" "$bin/draw" "$work/$1.json" "$2" "$3" "$4" bf16 cuda-batch-invariant
      [ "$small" = 1 ] || run transformers sample "$1" "$python" "$here/gpu_peer.py" sample "$work/$1.json" "$2" "$3" "$4"
    done
  done
}

# Two loops of rounds over the same tasks, one a device: rollout, reward, advantage, update, each round from what the last one published.
grpo() {
  local prompts=32 samples=16 count=12 warm=300 problems form=r1-zero lr=3e-4 rewards="--reward accuracy=1 --reward format=0.1"
  [ "$small" = 0 ] || { prompts=2 samples=4 count=2 warm=150; }
  problems=(--family arithmetic --operands 1-9 --operators 1-2 -q)
  if [ -z "${POLICY:-}" ]; then
    POLICY=$work/warm
    "$bin/r1-tasks" "${problems[@]}" --corpus --count 1500 --seed 1 > "$work/corpus.jsonl"
    "$bin/r1-init" --preset qwen-tiny --corpus "$work/corpus.jsonl" -o "$work/fresh" --seed 3 -q
    "$bin/r1-sft" "$work/fresh" "$work/corpus.jsonl" -o "$POLICY" --template r1-zero --max-steps "$warm" --batch-size 32 --lr 1e-3 --device cpu -q
  else
    # An instructed model knows no answer tags: the last number of its text counts, and rambling costs.
    form=chat lr=1e-5 count=4 rewards="--extract tag,boxed,hash,phrase,number --reward accuracy=1 --reward repetition=0.5"
    problems=(--family arithmetic --operands 1-9 --operators 1 -q)
  fi
  "$bin/r1-tasks" "${problems[@]}" --unique --count $((prompts * count)) --seed 2 > "$work/tasks.jsonl"
  local ways=(cuda cpu) way flags
  ! "$bin/r1-rollout" --help | grep batch-invariant > /dev/null || ways=(cuda cuda-batch-invariant cpu)
  for way in "${ways[@]}"; do
    flags="--device ${way%%-*} -q"
    [ "$way" != cuda-batch-invariant ] || flags+=" --batch-invariant"
    "$bin/r1-rollout" "$POLICY" "$work/tasks.jsonl" --follow "$work/$way" --prompts "$prompts" --samples "$samples" --max-tokens 64 \
      --template "$form" --seed 7 $flags \
      | "$bin/r1-reward" $rewards -q | "$bin/r1-advantage" -q \
      | "$bin/r1-grpo" "$POLICY" - -o "$work/$way" --follow --lr $lr --loss dapo --check-logprobs 1 $flags --metrics "$work/$way.jsonl"
    "$python" - "$work/$way.jsonl" "$way" <<'PY'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
rewards = [line["reward"] for line in lines if "reward" in line]
apart = [line["logprob_max_difference"] for line in lines if "logprob_max_difference" in line]
print(f"{sys.argv[2]}: rewards {' '.join(f'{x:.3f}' for x in rewards)}")
print(f"{sys.argv[2]}: sampled and recomputed log-probabilities at most {max(apart, default=0):.1e} apart")
PY
  done
}

rate=
for part in $parts; do
  case $part in checks | ops | train | sample | grpo) ;; *) echo "gpu.sh: no part $part" >&2; exit 2 ;; esac
  echo "== $part"
  began=$SECONDS
  if [[ $part = train || $part = sample ]] && [ "$small" = 0 ] && [ -z "$rate" ]; then
    rate=$work/rate
    "$python" "$here/gpu_peer.py" rate | tee "$rate"
  fi
  "$part"
  echo "== $part: $((SECONDS - began)) s"
done

[ ! -s "$work/runs.jsonl" ] || "$python" - "$work" <<'PY'
import json, os, statistics, sys
work, runs = sys.argv[1], {}
rate = json.load(open(f"{work}/rate")) if os.path.exists(f"{work}/rate") else None
if rate:
    print(f"\n{rate['card']}: {rate['operations_per_second'] / 1e12:.0f} TFLOP/s in bf16, {rate['bytes_per_second'] / 1e12:.2f} TB/s, measured\n")
for line in open(f"{work}/runs.jsonl"):
    run = json.loads(line)
    runs.setdefault((run["what"], run["case"], run["who"]), []).append(run)
print("| | | tokens/s | of transformers | of the bf16 rate | of the memory floor | peak GB on the card |\n|---|---|---|---|---|---|---|")
for (what, case, who), all in runs.items():
    first, middle = all[0], statistics.median(run["tokens_per_second"] for run in all)
    peers = runs.get((what, case, "transformers"))
    ratio = f"{middle / statistics.median(r['tokens_per_second'] for r in peers):.2f}" if peers else "–"
    # Six operations a parameter and token: attention's own are left out, so the share is a lower bound.
    share = f"{100 * 6 * first['parameters'] * middle / rate['operations_per_second']:.0f} %" if rate and what == "train" else "–"
    # A decoding step reads all weights once, and on the average step the keys and values of half of what is drawn, the prompts' besides.
    floor = "–"
    if rate and "step_bytes" in first:
        floor = f"{first['seconds'] / first['steps'] / (first['step_bytes'] / rate['bytes_per_second']):.2f} ×"
    peak = f"{first['device_bytes'] / 1e9:.1f}" if first.get("device_bytes") else "–"
    print(f"| {what} {case} | {who} | {middle:,.0f} | {ratio} | {share} | {floor} | {peak} |")
PY
