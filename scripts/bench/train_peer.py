"""One training step in PyTorch, the way transformers' users run it: forward, backward, fused AdamW. Called by train.sh.

    train_peer.py CONFIG.json SEQUENCES TOKENS f32|bf16|autocast [compile]

Prints one line of JSON with the keys of `examples/step.rs`. bf16: the weights themselves are bf16; autocast: f32 weights, products in bf16.
"""
import json, resource, statistics, sys, time

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

file, sequences, tokens, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
compiled = sys.argv[5:] == ["compile"]
logging.set_verbosity_error()
torch.manual_seed(0)
config = AutoConfig.for_model(**json.load(open(file)))
model = AutoModelForCausalLM.from_config(config).train()
model.config.use_cache = False
if mode == "bf16":
    model = model.to(torch.bfloat16)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
run = torch.compile(model) if compiled else model
x = torch.randint(0, config.vocab_size, (sequences, tokens))
times = []
for _ in range(4):
    start = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode == "autocast"):
        loss = run(input_ids=x, labels=x).loss
    loss.backward()
    passes = time.perf_counter()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    end = time.perf_counter()
    times.append((end - start, passes - start, end - passes))
middle = sorted(times[1:])[1]
print(json.dumps({
    "precision": mode + (" compiled" if compiled else ""), "parameters": sum(p.numel() for p in model.parameters()),
    "seconds": middle[0], "passes": middle[1], "optimizer": middle[2],
    "tokens_per_second": sequences * tokens / middle[0],
    "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "loss": loss.item(),
}))
