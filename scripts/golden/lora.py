"""Writes tests/golden/lora: adapters made by PEFT over the checkpoints of tests/golden/checkpoints, and what it computes with them.

    PYTHONHASHSEED=0 python scripts/golden/lora.py [OUT]        # OUT defaults to tests/golden/lora

Each folder is an adapter directory as PEFT's `save_pretrained` writes it (its README.md left out), with A and B drawn at
random so that no gradient is 0 (a fresh B is, and hides A's), and beside it
  golden.json          the checkpoint under it, the NLL, AdamW's constants, the recipe
  golden.safetensors   logits, gradients of A and B, A and B after two AdamW steps, merged weights
The sequences are those of the checkpoint's golden.json.

    python scripts/golden/lora.py --compare POLICY ADAPTER SCORED.jsonl --key KEY --tolerance X
loads an adapter directory of ours in PEFT and compares its logprobs with those of `r1-rollout --score KEY`.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)

HERE = Path(__file__).resolve().parents[2]
ADAMW = dict(lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01)
STEPS = 2

# name -> (checkpoint, LoraConfig, weights to merge)
CASES = {
    # every projection of a dense policy; a scale that is no power of two
    "llama": ("llama", dict(r=4, lora_alpha=6, target_modules="all-linear"), ("self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")),
    # half of gate and up, q and v beside biases; rank-stabilized scale
    "qwen2-rslora": ("qwen2", dict(r=5, lora_alpha=7, target_modules=["q_proj", "v_proj", "gate_proj"], use_rslora=True),
                     ("self_attn.v_proj", "mlp.gate_proj")),
    # MLA: low-rank query, latent, expansion, output; experts and router are left alone
    "deepseek-v3": ("deepseek-v3", dict(r=3, lora_alpha=3, target_modules=["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj",
                    "o_proj"]), ("self_attn.kv_a_proj_with_mqa", "self_attn.kv_b_proj")),
    # MLA with one query matrix
    "deepseek-v3-plain": ("deepseek-v3-plain", dict(r=2, lora_alpha=4, target_modules=["q_proj", "kv_b_proj"]), ("self_attn.q_proj",)),
}


def policy(folder):
    config = AutoConfig.from_pretrained(folder)
    config._experts_implementation = "eager"
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager").eval()


def targets(logits, ids, temperature=1.0):
    """log p of the next token at every position that has one."""
    return (logits[:-1] / temperature).log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0]


def mean_nll(model, sequences):
    total = sum(-targets(model(torch.tensor([ids]), use_cache=False).logits[0], ids).sum() for ids in sequences)
    return total / sum(len(ids) - 1 for ids in sequences)


def on_disk(name):
    """PEFT's name of a parameter in adapter_model.safetensors."""
    return name.replace(".default.weight", ".weight")


def write(name, out):
    checkpoint, fields, merged = CASES[name]
    base = HERE / "tests/golden/checkpoints" / checkpoint
    sequences = [row["input_ids"] for row in json.loads((base / "golden.json").read_text())["sequences"]]
    torch.manual_seed(7)
    model = get_peft_model(policy(base), LoraConfig(task_type="CAUSAL_LM", **fields)).eval()
    # A shape of its own for every A and B: a mix-up cannot pass.
    trained = {on_disk(key): p for key, p in model.named_parameters() if p.requires_grad}
    for key, p in trained.items():
        with torch.no_grad():
            if ".lora_A." in key:
                # kaiming_uniform_(a=sqrt(5)) is U(±1/sqrt(K))
                assert 0.5 < p.abs().max().item() * p.shape[1] ** 0.5 <= 1, key
            else:
                assert not p.any(), key
                p.normal_(std=0.3)
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"tests/golden/checkpoints/{checkpoint}"
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    assert set(load_file(folder / "adapter_model.safetensors")) == set(trained)

    tensors = {}
    with torch.no_grad():
        for i, ids in enumerate(sequences):
            tensors[f"logits.{i}"] = model(torch.tensor([ids]), use_cache=False).logits[0]
    optimizer = torch.optim.AdamW(trained.values(), **ADAMW)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = mean_nll(model, sequences)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            tensors.update({f"gradient.{key}": p.grad.clone() for key, p in trained.items()})
        optimizer.step()
    tensors.update({f"stepped.{key}": p.detach().clone() for key, p in trained.items()})

    whole = PeftModel.from_pretrained(policy(base), folder).merge_and_unload()
    with torch.no_grad():
        for i, ids in enumerate(sequences):
            off = (whole(torch.tensor([ids]), use_cache=False).logits[0] - tensors[f"logits.{i}"]).abs().max().item()
            assert off < 1e-4, (name, off)
    weights = dict(whole.named_parameters())
    for module in merged:
        key = f"model.layers.0.{module}.weight"
        tensors[f"merged.{key}"] = weights[key].detach().clone()

    golden = dict(checkpoint=checkpoint, nll=losses, adamw=dict(ADAMW, steps=STEPS),
                  recipe=dict(command="PYTHONHASHSEED=0 python scripts/golden/lora.py", dtype="float32", threads=1, peft=peft.__version__,
                              transformers=transformers.__version__, torch=torch.__version__.split("+")[0]))
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    save_file({key: t.contiguous().clone() for key, t in tensors.items()}, folder / "golden.safetensors")
    for path in folder.iterdir():
        path.chmod(0o644)
    print(f"{name}: {len(trained)} tensors, NLL {losses}, {sum(p.stat().st_size for p in folder.iterdir()) / 1000:.0f} kB")


def compare(arguments):
    """Our adapter in PEFT: the same logprobs, and what PEFT saves again is what we wrote."""
    model = PeftModel.from_pretrained(policy(arguments.compare[0]), arguments.compare[1]).eval()
    worst, count = 0.0, 0
    for line in Path(arguments.compare[2]).read_text().splitlines():
        row = json.loads(line)
        prompt, completion = row["rollout"]["prompt_ids"], row["rollout"]["completion_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + completion]), use_cache=False).logits[0]
        temperature = row["rollout"].get("temperature") or 1.0
        theirs = targets(logits, prompt + completion, temperature)[len(prompt) - 1 :]
        ours = torch.tensor(row[arguments.key]["logprobs"])
        worst, count = max(worst, (ours - theirs).abs().max().item()), count + len(ours)
    again = Path(arguments.again)
    model.save_pretrained(again)
    same = (again / "adapter_model.safetensors").read_bytes() == (Path(arguments.compare[1]) / "adapter_model.safetensors").read_bytes()
    theirs, ours = (json.loads((Path(d) / "adapter_config.json").read_text()) for d in (again, arguments.compare[1]))
    for config in (theirs, ours):
        config["target_modules"] = sorted(config["target_modules"])
        config["base_model_name_or_path"] = None
    other = {key for key in ours if ours[key] != theirs[key]} | {key for key, value in theirs.items() if key not in ours and value and key not in
             ("peft_version", "qalora_group_size")}
    print(f"{count} logprobs, at most {worst:.2e} apart; PEFT saves the same adapter_model.safetensors: {same}; "
          f"adapter_config.json differs in: {sorted(other) or 'nothing'}")
    return 0 if worst <= arguments.tolerance and same and not other else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=HERE / "tests/golden/lora")
    parser.add_argument("--compare", nargs=3, metavar=("POLICY", "ADAPTER", "SCORED"))
    parser.add_argument("--key", default="check")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--again", default="target/adapter-saved-again", help="where PEFT saves the adapter again")
    arguments = parser.parse_args()
    if arguments.compare:
        return compare(arguments)
    for name in CASES:
        write(name, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
