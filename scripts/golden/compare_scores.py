"""Loads a reward model of ours in transformers and compares its scores with those that r1-judge wrote.

    r1-judge --score harmless=RM rollouts.jsonl --dtype f32 -o judged.jsonl
    python scripts/golden/compare_scores.py RM judged.jsonl --name harmless [--tolerance 1e-4]

For scores of whole responses under the tokenizer's chat template (`--template chat`, or auto where there is one). Exits with 1
where a score is off by more than the tolerance.
"""

import argparse
import json

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("model")
parser.add_argument("judged")
parser.add_argument("--name", default="harmless")
parser.add_argument("--tolerance", type=float, default=1e-4)
args = parser.parse_args()

torch.set_num_threads(1)
model = AutoModelForSequenceClassification.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
words = AutoTokenizer.from_pretrained(args.model)
worst, rows = 0.0, 0
for line in open(args.judged):
    row = json.loads(line)
    prompt = row["prompt"] if isinstance(row["prompt"], list) else [{"role": "user", "content": row["prompt"]}]
    text = words.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    ids = [i for part in (text, row["rollout"]["completion"]) for i in words(part, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        score = model(torch.tensor([[*ids, words.eos_token_id]])).logits.item()
    worst, rows = max(worst, abs(score - row["judgement"][args.name])), rows + 1
print(f"{type(model).__name__}: {rows} scores, the worst is off by {worst:.1e}")
raise SystemExit(worst > args.tolerance)
