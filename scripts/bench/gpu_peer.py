"""PyTorch and transformers on a GPU, the way their users run them. Called by gpu.sh.

    gpu_peer.py train CONFIG.json SEQUENCES TOKENS       bf16 weights, sdpa, fused AdamW
    gpu_peer.py sample CONFIG.json SEQUENCES PROMPT NEW  generate in bf16, all sequences in one batch
    gpu_peer.py rate                                     the card's rates: bf16 in a large product, bytes in a large copy

Prints one line of JSON with the keys of `shared/train/examples/step.rs` and `shared/model/examples/draw.rs`. A batch that does not fit is
cut in two, and again, its gradients added up; `micro` says into how many sequences.
"""
import json, sys, time

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
torch.manual_seed(0)
what, *arguments = sys.argv[1:]


def timed(run, times=3):
    run()
    seconds = []
    for _ in range(times):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[times // 2]


if what == "rate":
    n = 8192
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = timed(lambda: a @ b, 9)
    x = torch.zeros(1 << 31, device="cuda", dtype=torch.uint8)
    y = torch.empty_like(x)
    copy = timed(lambda: y.copy_(x), 9)
    rates = {"operations_per_second": 2 * n**3 / product, "bytes_per_second": 2 * x.numel() / copy}
    print(json.dumps({"card": torch.cuda.get_device_name(), **rates}))
    sys.exit()

config = AutoConfig.for_model(**json.load(open(arguments[0])))
sizes = [int(x) for x in arguments[1:]]
with torch.device("cuda"):
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa", dtype=torch.bfloat16)
torch.cuda.reset_peak_memory_stats()
extra = {}
if what == "train":
    sequences, tokens = sizes
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    model.config.use_cache = False
    x = torch.randint(0, config.vocab_size, (sequences, tokens), device="cuda")

    def step(micro):
        for part in x.split(micro):
            (model(input_ids=part, labels=part).loss * len(part) / sequences).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    micro = sequences
    while True:
        try:
            seconds, count = timed(lambda: step(micro)), sequences * tokens
            break
        except torch.cuda.OutOfMemoryError:
            if micro == 1:
                raise
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        micro //= 2
    extra["micro"] = micro
else:
    sequences, prompt, new = sizes
    x = torch.randint(0, config.vocab_size, (sequences, prompt), device="cuda")
    model.eval()

    def draw(new):
        with torch.inference_mode():
            model.generate(x, attention_mask=torch.ones_like(x), do_sample=True, top_k=0, min_new_tokens=new, max_new_tokens=new)

    draw(8)
    torch.cuda.synchronize()
    start = time.perf_counter()
    draw(new)
    torch.cuda.synchronize()
    seconds, count = time.perf_counter() - start, sequences * new
print(json.dumps({
    "precision": "bf16", "seconds": seconds, "tokens_per_second": count / seconds,
    "parameters": sum(p.numel() for p in model.parameters()), "device_bytes": torch.cuda.max_memory_allocated(), **extra,
}))
