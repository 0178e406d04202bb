#!/usr/bin/env python3
"""Matrix products and attention beside PyTorch's, in turns in one run.

    scripts/bench/product.py [ROUNDS]        # run with a Python that has torch; cargo must be there; ROUNDS: 3

Products: y = x Wt, dx = dy W and dW = dyt x in f32 and bf16, GFLOP/s on all cores, and the share of what multiply-adds in registers
reach in the same run (AMX: of tiles fed from the first-level cache, where there is AMX). Ours rounds f32 activations to bf16 on the way
and writes f32; PyTorch's operands and results are bf16 already. Attention: causal, grouped queries, forward and backward, milliseconds.
Where PyTorch's bf16 dies with an illegal instruction, set ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 and say so.
"""
import json, os, pathlib, re, statistics, subprocess, sys, time

import torch
import torch.nn.functional as F

root = pathlib.Path(__file__).resolve().parents[2]
rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
threads = os.cpu_count()
torch.set_num_threads(threads)
subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "-p", "r1-kernels", "--example", "gemm", "--example", "attention"],
               cwd=root, check=True)
examples = root / "target/release/examples"
ROWS = ["64", "2048"]
BATCHES = [(8, 256), (2, 1024), (1, 4096)]


def best(f, budget):
    times, began = [], time.perf_counter()
    while time.perf_counter() - began < budget:
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return min(times)


def our_products():
    text = subprocess.run([examples / "gemm", str(threads), *ROWS], capture_output=True, text=True, check=True).stdout
    precision, found = None, {}
    for line in text.splitlines():
        if head := re.match(r"\s*(F32|Bf16)\s+\d+ thr", line):
            precision = head[1].lower()
        numbers = re.findall(r"[\d.]+", line)
        if precision and "peak" in line and len(numbers) == 10:
            m, n, k = map(int, numbers[:3])
            found[precision, m, n, k] = [float(numbers[i]) for i in (3, 5, 7)] + [float(numbers[9])]
    return found


def their_product(precision, m, n, k):
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[precision]
    x, w, dy = (torch.randn(shape).to(dtype) for shape in ((m, k), (n, k), (m, n)))
    flops = 2 * m * n * k
    return [flops / best(f, 0.1) / 1e9 for f in (lambda: F.linear(x, w), lambda: dy @ w, lambda: dy.T @ x)]


def our_attention():
    words = [f"{b}x{t}" for b, t in BATCHES]
    text = subprocess.run([examples / "attention", "9", "3", "64", *words], capture_output=True, text=True, check=True).stdout
    return {line["batch"]: (line["forward"], line["backward"]) for line in map(json.loads, text.splitlines())}


def their_attention(b, t, dtype):
    q, k, v = (torch.randn(b, h, t, 64, dtype=dtype, requires_grad=True) for h in (9, 3, 3))
    dout = torch.randn(b, 9, t, 64, dtype=dtype)
    call = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    forward = best(lambda: call().detach(), 1.0)
    out = call()
    backward = best(lambda: out.backward(dout, retain_graph=True), 1.0)
    return forward, backward


ours, theirs, attention = {}, {}, {}
for _ in range(rounds):
    for key, rates in our_products().items():
        ours.setdefault(key, []).append(rates)
        theirs.setdefault(key, []).append(their_product(*key))
    mine = our_attention()
    for b, t in BATCHES:
        row = mine[f"{b}x{t}"], their_attention(b, t, torch.float32), their_attention(b, t, torch.bfloat16)
        attention.setdefault((b, t), []).append(row)

middle = lambda runs, i: statistics.median(run[i] for run in runs)
print(f"torch {torch.__version__}, {threads} threads, medians of {rounds}\n")
print("| product | M × N × K | forward | torch | input gradient | torch | weight gradient | torch |\n|---|---|---|---|---|---|---|---|")
for key in ours:
    peak = max(run[3] for run in ours[key])
    cells = []
    for i in range(3):
        rate = middle(ours[key], i)
        cells += [f"{rate:.0f} ({100 * rate / peak:.0f} %)", f"{middle(theirs[key], i):.0f}"]
    print(f"| {key[0]} | {key[1]} × {key[2]} × {key[3]} | " + " | ".join(cells) + " |")
print("\n| attention, 9 heads, 3 of keys, 64 channels | forward ms | torch f32, bf16 | backward ms | torch f32, bf16 |\n|---|---|---|---|---|")
for (b, t), runs in attention.items():
    cell = lambda who, way: 1e3 * statistics.median(run[who][way] for run in runs)
    print(f"| {b} × {t} | {cell(0, 0):.1f} | {cell(1, 0):.1f}, {cell(2, 0):.1f} | {cell(0, 1):.1f} | {cell(1, 1):.1f}, {cell(2, 1):.1f} |")
