"""transformers' generate and llama.cpp on the rows that rollout.sh wrote: the same prompts, the same number of new tokens."""

import json
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

policy, work, gguf = sys.argv[1:4]
NEW = 64


def prompts(name):
    with open(f"{work}/{name}.jsonl") as rows:
        return [json.loads(row)["prompt"] for row in rows]


def median(run):
    run()
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


tokenizer = AutoTokenizer.from_pretrained(policy)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
tokenizer.padding_side = "left"
model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).eval()
for name, samples in [("many", 1), ("one", 1), ("long", 16)]:
    batch = tokenizer(prompts(name), return_tensors="pt", padding=True)

    def run():
        with torch.inference_mode():
            model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, num_return_sequences=samples,
                           min_new_tokens=NEW, max_new_tokens=NEW)

    count = len(batch["input_ids"]) * samples * NEW
    print(f"transformers f32 {name} x {samples}: {count / median(run):.0f} tokens/s", flush=True)
if gguf:
    try:
        from llama_cpp import Llama
    except ImportError:
        sys.exit("llama.cpp: skipped, llama_cpp is not installed")
    llama = Llama(gguf, n_ctx=2048, n_threads=2, n_threads_batch=2, verbose=False)
    for name in ["one"]:
        run = lambda: llama(prompts(name)[0], max_tokens=NEW, temperature=1.0, logit_bias={llama.token_eos(): -100.0})
        print(f"llama.cpp {gguf} {name} x 1: {NEW / median(run):.0f} tokens/s", flush=True)
