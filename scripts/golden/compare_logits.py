"""Compares a policy directory, loaded in transformers, with numbers that came from somewhere else.

    r1-rollout DIR --score check < rollouts.jsonl > scored.jsonl
    python scripts/golden/compare_logits.py DIR scored.jsonl --key check --tolerance 1e-3
    python scripts/golden/compare_logits.py DIR tests/golden/smollm2/golden.json --tolerance 1e-3

A JSONL file holds rows with `rollout.prompt_ids`, `rollout.completion_ids` and KEY.logprobs (r1-rollout's --score KEY; --key
rollout takes the sampler's own): each is held against transformers' log p(token | everything before) at the row's
temperature. A golden.json is smollm2.py's: logits at some places, and logprobs of whole prompts.
Prints the largest absolute difference and where it is. Exit 1: beyond the tolerance, or the directory lacks a tensor or
has one too many; exit 2: unusable input.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def fail(code, message):
    print(f"compare_logits: {message}", file=sys.stderr)
    raise SystemExit(code)


class Widest:
    """The largest difference so far, and where."""

    def __init__(self):
        self.difference, self.where, self.count = 0.0, "nowhere", 0

    def see(self, ours, theirs, where):
        self.count += 1
        difference = abs(ours - theirs)
        if not difference <= self.difference:  # NaN counts as the widest
            self.difference, self.where = difference, f"{where}: {ours!r} there, {theirs!r} in transformers"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="a policy directory")
    parser.add_argument("file", type=Path, help="scored JSONL, or golden.json of smollm2.py")
    parser.add_argument("--key", default="reference", help="the key that holds logprobs (default: reference)")
    parser.add_argument("--temperature", type=float, help="temperature of the logprobs (default: the row's rollout.temperature, else 1)")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest absolute difference allowed (default: 1e-3)")
    parser.add_argument("--limit", type=int, help="compare the first N rows only")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    if not args.directory.is_dir():
        fail(2, f"{args.directory} is no directory")
    model, loading = transformers.AutoModelForCausalLM.from_pretrained(
        args.directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    model.eval()
    wrong = {kind: sorted(map(str, names)) for kind, names in loading.items() if names}
    if wrong:
        fail(1, f"{args.directory} does not load cleanly: {wrong}")

    @torch.no_grad()
    def logits_of(ids):
        return model(torch.tensor([ids]), use_cache=False).logits[0]

    text = args.file.read_text(encoding="utf-8")
    widest = {}
    if args.file.suffix == ".json":
        golden = json.loads(text)
        widest = dict(logits=Widest(), logprobs=Widest())
        for index, prompt in enumerate(golden["prompts"]):
            logits = logits_of(prompt["ids"])
            logprobs = logits.double().log_softmax(-1)
            for place, (value, token) in enumerate(zip(prompt["logprobs"], prompt["ids"][1:])):
                widest["logprobs"].see(value, logprobs[place, token].item(), f"prompt {index}, token {place + 1}")
            for row in prompt["top"]:
                for token, value in zip(row["ids"], row["logits"]):
                    widest["logits"].see(value, logits[row["position"], token].item(), f"prompt {index}, position {row['position']}, id {token}")
            s = prompt["sampled"]
            for position, token, value in zip(s["positions"], s["ids"], s["logits"]):
                widest["logits"].see(value, logits[position, token].item(), f"prompt {index}, position {position}, id {token}")
    else:
        widest = dict(logprobs=Widest())
        rows = [line for line in text.splitlines() if line.strip()]
        for number, line in enumerate(rows[: args.limit], 1):
            try:
                row = json.loads(line)
                rollout = row["rollout"]
                prompt, completion = rollout["prompt_ids"], rollout["completion_ids"]
                values = row[args.key]["logprobs"]
            except (ValueError, KeyError, TypeError) as error:
                fail(2, f"{args.file}, line {number}: {type(error).__name__} {error}; rows need rollout.prompt_ids, rollout.completion_ids and {args.key}.logprobs")
            if len(values) != len(completion):
                fail(2, f"{args.file}, line {number}: {len(values)} logprobs for {len(completion)} tokens")
            if not prompt or not completion:
                continue
            temperature = args.temperature or rollout.get("temperature") or 1.0
            logits = logits_of(prompt + completion)[len(prompt) - 1 : -1].double() / temperature
            logprobs = logits.log_softmax(-1)
            for place, (token, value) in enumerate(zip(completion, values)):
                widest["logprobs"].see(value, logprobs[place, token].item(), f"line {number}, token {place}")
    if not any(w.count for w in widest.values()):
        fail(2, f"{args.file} holds nothing to compare")
    for name, w in widest.items():
        print(f"{name}: {w.count} compared, largest difference {w.difference:.3e} ({w.where})")
    if not all(w.difference <= args.tolerance for w in widest.values()):
        fail(1, f"beyond the tolerance {args.tolerance:g}")


if __name__ == "__main__":
    main()
