#!/bin/sh
# How long a policy takes until it is ready to sample, and how much memory: a policy directory (warm page cache), and a random
# Llama-shaped one of 1.5 billion parameters in bf16 (3 GB), made here where it is missing.
#
#   scripts/bench/load.sh POLICY [SCRATCH]
#
# "ready" is from exec to the word that there are no rows, i.e. with weights packed and hashed, tokenizer and template built.
# Beside it CPU seconds (user + system) of the whole process and its peak resident memory; bytes of the weight file for
# comparison. Medians of nine runs (three for the large one).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=$here/../../target/release
policy=${1:?POLICY directory, e.g. r1-init --from-gguf SmolLM2-135M-Instruct.Q4_1.gguf --dtype bf16 -o smol}
scratch=${2:-${TMPDIR:-/tmp}/r1-bench-load}
mkdir -p "$scratch"
if [ ! -e "$scratch/large/model.safetensors" ]; then
    python3 - "$policy" "$scratch/large" <<'PY'
import json, os, random, shutil, struct, sys
policy, out = sys.argv[1:]
os.makedirs(out, exist_ok=True)
for name in os.listdir(policy):
    if name.startswith(("tokenizer", "special", "vocab", "merges", "generation")):
        shutil.copy(os.path.join(policy, name), out)
source = json.load(open(os.path.join(policy, "config.json")))
hidden, inner, layers, heads, kv, vocab = 2048, 8192, 24, 32, 8, source["vocab_size"]
config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner,
          "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": vocab, "rms_norm_eps": 1e-5,
          "max_position_embeddings": 2048, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True, "dtype": "bfloat16",
          "bos_token_id": source.get("bos_token_id"), "eos_token_id": source.get("eos_token_id")}
json.dump(config, open(os.path.join(out, "config.json"), "w"), indent=2)
shapes = {"model.embed_tokens.weight": [vocab, hidden], "model.norm.weight": [hidden]}
for i in range(layers):
    p = f"model.layers.{i}."
    kv_size = hidden // heads * kv
    shapes |= {p + "input_layernorm.weight": [hidden], p + "post_attention_layernorm.weight": [hidden],
               p + "self_attn.q_proj.weight": [hidden, hidden], p + "self_attn.k_proj.weight": [kv_size, hidden],
               p + "self_attn.v_proj.weight": [kv_size, hidden], p + "self_attn.o_proj.weight": [hidden, hidden],
               p + "mlp.gate_proj.weight": [inner, hidden], p + "mlp.up_proj.weight": [inner, hidden], p + "mlp.down_proj.weight": [hidden, inner]}
header, at = {"__metadata__": {"format": "pt"}}, 0
for name, shape in sorted(shapes.items()):
    size = 2
    for n in shape:
        size *= n
    header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
    at += size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
# Normal values of deviation 0.02: a block of 2 MiB, turned from tensor to tensor.
draw = random.Random(0)
block = b"".join(struct.pack("<f", draw.gauss(0, 0.02))[2:] for _ in range(1 << 20))
with open(os.path.join(out, "model.safetensors.part"), "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    while at > 0:
        turn = 2 * draw.randrange(1 << 20)
        piece = (block[turn:] + block[:turn])[: min(at, len(block))]
        file.write(piece)
        at -= len(piece)
os.rename(os.path.join(out, "model.safetensors.part"), os.path.join(out, "model.safetensors"))
PY
fi
python3 - "$bin/r1-rollout" "$policy" "$scratch/large" <<'PY'
import os, resource, statistics, subprocess, sys, time
tool, *policies = sys.argv[1:]
print(f"{'policy':<40} {'file MB':>8} {'ready s':>8} {'CPU s':>7} {'peak MB':>8}")
for policy, runs in zip(policies, (9, 3)):
    size = sum(os.path.getsize(os.path.join(policy, f)) for f in os.listdir(policy) if f.endswith(".safetensors"))
    subprocess.run(["cat"] + [os.path.join(policy, f) for f in os.listdir(policy)], stdout=subprocess.DEVNULL, check=True)
    ready, cpu, peak = [], [], []
    for _ in range(runs):
        start = time.perf_counter()
        child = subprocess.Popen([tool, policy, "/dev/null"], stderr=subprocess.PIPE, text=True)
        for line in child.stderr:
            if "no rows" in line:
                ready.append(time.perf_counter() - start)
        _, status, used = os.wait4(child.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 2, "the tool did not come to the rows"
        cpu.append(used.ru_utime + used.ru_stime)
        peak.append(used.ru_maxrss / 1024)
    row = [statistics.median(x) for x in (ready, cpu, peak)]
    print(f"{policy:<40} {size / 1e6:8.0f} {row[0]:8.3f} {row[1]:7.2f} {row[2] * 1.048576:8.0f}", flush=True)
PY
