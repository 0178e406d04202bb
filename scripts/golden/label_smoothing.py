"""Writes tests/golden/losses/label_smoothing.json: the smoothed loss of tiny checkpoints' completions, and its gradient.

    python scripts/golden/label_smoothing.py [OUT]        # OUT defaults to tests/golden

The checkpoints are those of checkpoints.py, computed by transformers in f32. The loss is torch's `cross_entropy` with
`label_smoothing`, the mean over all completion tokens; transformers' `LabelSmoother` must agree with it. Of each parameter's
gradient there are its norm and its dot product with cos(i), i counting its values in their order.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.trainer_pt_utils import LabelSmoother

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2] / "tests/golden"
PROMPT = 3  # given tokens of each sequence; the others are predicted


def case(name, epsilon):
    model = AutoModelForCausalLM.from_pretrained(ROOT / "checkpoints" / name, dtype=torch.float32)
    sequences = [row["input_ids"] for row in json.loads((ROOT / "checkpoints" / name / "golden.json").read_text())["sequences"]]
    logits, targets = [], []
    for ids in sequences:
        logits.append(model(torch.tensor([ids])).logits[0, PROMPT - 1:-1])
        targets.append(torch.tensor(ids[PROMPT:]))
    logits, targets = torch.cat(logits), torch.cat(targets)
    loss = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=epsilon)
    smoother = LabelSmoother(epsilon=epsilon)(dict(logits=logits[None]), targets[None])
    assert abs(loss.item() - smoother.item()) < 1e-5, (loss, smoother)
    nll = torch.nn.functional.cross_entropy(logits, targets).item()
    loss.backward()
    gradients = {}
    for parameter, value in model.named_parameters():
        g = value.grad.double().flatten()
        gradients[parameter] = [g.norm().item(), (g * torch.arange(g.numel()).double().cos()).sum().item()]
    return dict(checkpoint=name, prompt=PROMPT, epsilon=epsilon, sequences=sequences, loss=loss.item(), nll=nll, gradients=gradients)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=ROOT)
    out = parser.parse_args().out / "losses" / "label_smoothing.json"
    cases = [case(name, epsilon) for name in ("llama", "qwen2") for epsilon in (0.1, 0.6, 1.0)]
    recipe = dict(command="python scripts/golden/label_smoothing.py", transformers=transformers.__version__,
                  torch=torch.__version__.split("+")[0], dtype="float32")
    lines = ",\n".join("  " + json.dumps(c) for c in cases)
    out.write_text(f'{{"recipe": {json.dumps(recipe)}, "cases": [\n{lines}\n]}}\n')


main()
