"""Writes tests/golden/scores: tiny random reward models made by transformers, what transformers computes with them, and
what TRL's RewardTrainer makes of their scores.

    python scripts/golden/scores.py [OUT]        # OUT defaults to tests/golden/scores

Each folder is a `…ForSequenceClassification` directory as `save_pretrained` writes it (f32), and beside it
  golden.json          token ids (no padding), the recipe
  golden.safetensors   scores [sequences, labels] of one right-padded batch; `weights` of the scalar loss Σ weights · scores,
                       and gradient.NAME: its gradient with respect to every tensor
`loss.json` holds batches of scores with margins and centring coefficients: loss and gradient of TRL's own
`RewardTrainer.compute_loss`, and of torch's `binary_cross_entropy_with_logits`, by autograd in f64.
"""

import argparse
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import torch
import transformers
import trl
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

import checkpoints
from checkpoints import BOS, EOS, on_disk

PAD = 0
LENGTHS = (5, 11, 18)

# name -> (the case of checkpoints.py whose network it is, labels, pad token, what is named)
CASES = {
    "llama": ("llama", 1, PAD, {}),
    # The end-of-sequence token pads too: then a final one is not where the score is read.
    "qwen2": ("qwen2", 1, EOS, {}),
    "qwen3": ("qwen3", 3, PAD, dict(id2label={0: "good", 1: "fair", 2: "bad"})),
    # Two labels are transformers' default and are not written into config.json.
    "deepseek-v3": ("deepseek-v3", 2, PAD, {}),
}


def build(name, seed):
    network, labels, pad, named = CASES[name]
    kind, fields, _ = checkpoints.CASES[network]
    config = getattr(transformers, kind)(**{**checkpoints.COMMON, **fields, "pad_token_id": pad, "num_labels": labels, **named})
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            mean, std = 0.0, 1.2 / tensor.shape[-1] ** 0.5
            if key.endswith("norm.weight"):
                mean, std = 1.0, 0.25
            elif key.endswith(".bias"):
                std = 0.4
            elif key.endswith("embed_tokens.weight"):
                std = 1.0
            tensor.copy_(mean + std * torch.randn(tensor.shape, generator=draw))
        for key, tensor in model.named_buffers():
            if key.endswith("e_score_correction_bias"):
                tensor.copy_(0.15 * torch.randn(tensor.shape, generator=draw))
    return model


def write(name, out, seed=7):
    model = build(name, seed)
    config = model.config
    draw = torch.Generator().manual_seed(seed + 1000)
    rows = [[BOS, *torch.randint(3, config.vocab_size, (n,), generator=draw).tolist(), EOS] for n in LENGTHS]
    width = max(map(len, rows))
    ids = torch.tensor([row + [config.pad_token_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    scores = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    weights = torch.randn(scores.shape, generator=draw)
    (weights * scores).sum().backward()
    tensors = {"scores": scores.detach(), "weights": weights}
    for key, grad in on_disk([(k, p.grad if p.grad is not None else torch.zeros_like(p)) for k, p in model.named_parameters()]).items():
        tensors[f"gradient.{key}"] = grad
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    assert not any("gate_up_proj" in key for key in load_file(folder / "model.safetensors")), "experts were saved fused"
    again = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    again.config._experts_implementation = "eager"
    with torch.no_grad():
        loaded = again(input_ids=ids, attention_mask=mask, use_cache=False).logits
    assert torch.allclose(loaded, scores, atol=1e-6), name
    golden = dict(
        architecture=type(model).__name__,
        labels=config.num_labels,
        sequences=rows,
        recipe=dict(command="python scripts/golden/scores.py", seed=seed, dtype="float32", threads=1,
                    transformers=transformers.__version__, torch=torch.__version__.split("+")[0]),
    )
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    save_file({key: t.detach().contiguous().clone() for key, t in tensors.items()}, folder / "golden.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)
    print(f"{name}: {type(model).__name__}, {sum(p.numel() for p in model.parameters())} parameters, scores {scores.flatten().tolist()}")


class Scores(torch.nn.Module):
    """Stands for the model in TRL's loss: its logits are a table."""

    def __init__(self, table):
        super().__init__()
        self.table = torch.nn.Parameter(table)

    def forward(self, **_):
        return SimpleNamespace(logits=self.table)


def losses(out):
    from trl.trainer.reward_trainer import RewardTrainer

    draw = torch.Generator().manual_seed(11)
    cases = []
    for pairs, scale, margins, centre in [(4, 1.0, False, None), (1, 1.0, False, None), (5, 3.0, True, None), (5, 3.0, False, 0.01),
                                          (7, 2.0, True, 0.05), (2, 40.0, False, None), (2, 900.0, True, 0.001)]:
        table = (scale * torch.randn(2 * pairs, 1, generator=draw)).double()
        model = Scores(table)
        inputs = {"attention_mask": torch.ones(2 * pairs, 1)}
        if margins:
            inputs["margin"] = torch.rand(pairs, generator=draw).double() * 2
        trainer = SimpleNamespace(
            model=model, args=SimpleNamespace(center_rewards_coefficient=centre), _tp_size=1, _total_train_tokens=0,
            accelerator=SimpleNamespace(gather_for_metrics=lambda x: x, gather=lambda x: x),
            _metrics={"train": __import__("collections").defaultdict(list)},
        )
        loss = RewardTrainer.compute_loss(trainer, model, dict(inputs))
        loss.backward()
        seen = {key: values[0] for key, values in trainer._metrics["train"].items() if key != "num_tokens"}
        cases.append(dict(chosen=table[:pairs, 0].tolist(), rejected=table[pairs:, 0].tolist(),
                          margins=inputs["margin"].tolist() if margins else None, centre=centre, loss=loss.item(),
                          dchosen=model.table.grad[:pairs, 0].tolist(), drejected=model.table.grad[pairs:, 0].tolist(), metrics=seen))
    points = []
    for n, scale in [(6, 1.0), (1, 1.0), (4, 60.0)]:
        scores = (scale * torch.randn(n, generator=draw)).double().requires_grad_()
        labels = torch.randint(0, 2, (n,), generator=draw)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels.double())
        loss.backward()
        points.append(dict(scores=scores.tolist(), labels=[bool(x) for x in labels], loss=loss.item(), dscores=scores.grad.tolist()))
    recipe = dict(command="python scripts/golden/scores.py", trl=trl.__version__, torch=torch.__version__.split("+")[0])
    (out / "loss.json").write_text(json.dumps(dict(pairs=cases, points=points, recipe=recipe), indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).resolve().parents[2] / "tests/golden/scores")
    out = parser.parse_args().out
    for name in CASES:
        write(name, out)
    losses(out)


if __name__ == "__main__":
    main()
