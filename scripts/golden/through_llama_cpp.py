"""A policy directory through llama.cpp's converter into llama.cpp, held against logprobs of ours.

    r1-rollout DIR --score check < rollouts.jsonl > scored.jsonl
    python scripts/golden/through_llama_cpp.py LLAMA_CPP/convert_hf_to_gguf.py DIR scored.jsonl --key check --tolerance 1e-2

The converter is a file of llama.cpp's repository and finds its own modules beside it; llama.cpp itself is the Python package
llama-cpp-python. Neither is part of this project. The file in between (f32) is written to a temporary directory. Rows need
`rollout.prompt_ids`, `rollout.completion_ids` and KEY.logprobs; each logprob is held against llama.cpp's log p(token |
everything before) at the row's temperature, and its arg-max with ours where ours was greedy.
Prints the largest absolute difference and where it is; exit 1 beyond the tolerance, 2 where something is unusable.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from llama_cpp import Llama


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("converter", type=Path, help="llama.cpp's convert_hf_to_gguf.py")
    parser.add_argument("directory", type=Path, help="a policy directory")
    parser.add_argument("file", type=Path, help="scored JSONL")
    parser.add_argument("--key", default="reference", help="the key that holds logprobs (default: reference)")
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--limit", type=int, help="compare the first N rows only")
    parser.add_argument("--type", default="f32", help="what the converter writes (default: f32)")
    args = parser.parse_args()

    rows = [json.loads(line) for line in args.file.read_text(encoding="utf-8").splitlines() if line.strip()][: args.limit]
    with tempfile.TemporaryDirectory() as scratch:
        gguf = Path(scratch) / "policy.gguf"
        command = [sys.executable, str(args.converter), str(args.directory), "--outfile", str(gguf), "--outtype", args.type]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not gguf.exists():
            print(f"through_llama_cpp: the converter refused {args.directory}:\n{done.stderr[-2000:]}", file=sys.stderr)
            raise SystemExit(2)
        size = gguf.stat().st_size
        longest = max(len(row["rollout"]["prompt_ids"]) + len(row["rollout"]["completion_ids"]) for row in rows)
        model = Llama(str(gguf), n_ctx=longest + 1, n_batch=longest + 1, logits_all=True, verbose=False, n_gpu_layers=0)
        widest, where, count = 0.0, "nowhere", 0
        for number, row in enumerate(rows, 1):
            rollout = row["rollout"]
            prompt, completion = rollout["prompt_ids"], rollout["completion_ids"]
            model.reset()
            model.eval(prompt + completion)
            scores = np.array(model.scores[: len(prompt) + len(completion)], dtype=np.float64)
            scores = scores[len(prompt) - 1 : -1] / (rollout.get("temperature") or 1.0)
            logprobs = scores - scores.max(-1, keepdims=True)
            logprobs -= np.log(np.exp(logprobs).sum(-1, keepdims=True))
            for place, (token, ours) in enumerate(zip(completion, row[args.key]["logprobs"])):
                count += 1
                difference = abs(ours - logprobs[place, token])
                if not difference <= widest:
                    widest, where = difference, f"line {number}, token {place}: {ours!r} there, {logprobs[place, token]!r} in llama.cpp"
    print(f"logprobs: {count} compared through a file of {size / 1e6:.1f} MB, largest difference {widest:.3e} ({where})")
    raise SystemExit(0 if widest <= args.tolerance and count else 1)


if __name__ == "__main__":
    main()
