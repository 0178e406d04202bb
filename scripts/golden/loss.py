"""Writes tests/golden/losses, tests/golden/advantages and tests/golden/optimizer: numbers of TRL, verl's formulas and torch.

    python scripts/golden/loss.py [OUT]        # OUT defaults to tests/golden

Policy losses come from TRL's own `GRPOTrainer._compute_loss` (GMPO's from `GMPOTrainer`), run on a stand-in for the trainer: it hands over our table of
logprobs where the trainer would run a model, and holds the few settings that the method reads. Everything is f64, and
d loss / d logprob is torch's autograd. Each case is computed a second time from the published formula (`formula` below)
and refused where the two differ. Losses that only verl has (dual clip, clip-cov, kl-cov, GSPO-token, GPG, DPPO) and verl's CISPO are
verl's own functions (`by_verl`), with autograd, checked against the formulas written out here (`formula_of_verl`). verl's advantages are its own
functions' too; TRL computes them inside a long method that cannot be called alone: those are written out here in torch, with TRL's own nanstd.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import transformers
import trl
from trl.experimental.gmpo.gmpo_trainer import GMPOTrainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import nanstd

import verl
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)

VERSIONS = dict(command="python scripts/golden/loss.py", trl=trl.__version__, transformers=transformers.__version__,
                torch=torch.__version__.split("+")[0], verl=verl.__version__, dtype="float64")


def dump(path, value, rows=()):
    """JSON with the items of the lists named in `rows` one to a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = []
    for key, item in value.items():
        if key in rows:
            lines = ",\n".join(f"  {json.dumps(row, allow_nan=False)}" for row in item)
            parts.append(f" {json.dumps(key)}: [\n{lines}\n ]")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(item, allow_nan=False)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")
    print(f"{path.parent.name}/{path.name}: {path.stat().st_size / 1000:.1f} kB")


# --- policy losses -----------------------------------------------------------------------------------------------------

LENGTHS = (7, 3, 12, 1, 5, 9, 4, 6)
DEFAULTS = dict(loss="grpo", level="token", clip_low=0.2, clip_high=0.2, delta=None, kl_beta=0.0, kl_times_ratio=False,
                cap=None, generation_limit=None, normalizer=None, off_policy_threshold=None, importance=None, old=True,
                sapo_temperature_positive=1.0, sapo_temperature_negative=1.05, vespo=None, correction=None, correction_min=None,
                correction_max=3.0, sampled=False, top_entropy=None, entropy_coefficient=None)
VESPO = dict(k_positive=2.0, lambda_positive=3.0, k_negative=3.0, lambda_negative=2.0)

# name, batch, what differs from DEFAULTS. `normalizer` is the number of tokens that a token mean divides by when the batch
# is one micro-batch of a larger one. `importance` names the column of weights on the surrogate (not on the KL term).
CASES = [
    ("grpo", "ragged", {}),
    ("grpo-clip-higher-kl", "ragged", dict(clip_high=0.28, kl_beta=0.04)),
    ("grpo-r1", "ragged", dict(clip_low=10.0, clip_high=10.0, kl_beta=0.001)),
    ("grpo-delta", "ragged", dict(clip_high=0.28, delta=1.5)),
    ("grpo-on-policy", "ragged", dict(old=False)),
    ("grpo-on-policy-kl", "ragged", dict(old=False, kl_beta=0.04)),
    ("grpo-kl-unbiased", "ragged", dict(kl_beta=0.04, kl_times_ratio=True)),
    ("grpo-truncated", "truncated", dict(kl_beta=0.04)),
    ("bnpo", "ragged", dict(loss="bnpo", clip_high=0.28)),
    ("bnpo-truncated", "truncated", dict(loss="bnpo")),
    ("dapo", "ragged", dict(loss="dapo", clip_high=0.28)),
    ("dapo-kl", "ragged", dict(loss="dapo", clip_high=0.28, kl_beta=0.04)),
    ("dapo-micro-batch", "ragged", dict(loss="dapo", clip_high=0.28, normalizer=200)),
    ("dapo-truncated", "truncated", dict(loss="dapo", clip_high=0.28)),
    ("dapo-importance-token", "ragged", dict(loss="dapo", clip_high=0.28, importance="token_weight", kl_beta=0.04)),
    ("dapo-importance-sequence", "ragged", dict(loss="dapo", clip_high=0.28, importance="sequence_weight")),
    ("dapo-off-policy-mask", "ragged", dict(loss="dapo", clip_high=0.28, off_policy_threshold=0.05, kl_beta=0.04)),
    ("dr_grpo", "ragged", dict(loss="dr_grpo", generation_limit=16)),
    ("dr_grpo-kl", "ragged", dict(loss="dr_grpo", generation_limit=16, kl_beta=0.04)),
    ("dr_grpo-truncated", "truncated", dict(loss="dr_grpo", generation_limit=16)),
    ("gspo", "ragged", dict(level="sequence", clip_low=3e-4, clip_high=4e-4)),
    ("gspo-wide-kl", "ragged", dict(level="sequence", clip_low=0.05, clip_high=0.08, kl_beta=0.04)),
    ("gspo-delta", "ragged", dict(level="sequence", clip_low=0.05, clip_high=0.08, delta=1.1)),
    ("cispo", "ragged", dict(loss="cispo", cap=5.0)),
    ("cispo-tight-kl", "ragged", dict(loss="cispo", cap=1.2, kl_beta=0.04)),
    ("luspo", "ragged", dict(loss="luspo", level="sequence", clip_low=0.05, clip_high=0.08)),
    ("sapo", "ragged", dict(loss="sapo")),
    ("vespo", "ragged", dict(loss="vespo", vespo=VESPO)),
    ("grpo-tis-token", "ragged", dict(correction="tis-token", correction_max=1.3, kl_beta=0.04)),
    ("grpo-tis-token-both", "ragged", dict(correction="tis-token", correction_min=0.8, correction_max=1.3)),
    ("dapo-mis-token", "ragged", dict(loss="dapo", clip_high=0.28, correction="mis-token", correction_min=0.7, correction_max=1.5)),
    ("dapo-tis-sequence", "ragged", dict(loss="dapo", clip_high=0.28, correction="tis-sequence", correction_max=1.1)),
    ("dapo-mis-sequence", "truncated", dict(loss="dapo", clip_high=0.28, correction="mis-sequence", correction_min=0.5, correction_max=1.6)),
    ("gspo-tis-token", "ragged", dict(level="sequence", clip_low=0.05, clip_high=0.08, correction="tis-token", correction_max=1.3)),
    ("dapo-off-policy-sampled", "ragged", dict(loss="dapo", off_policy_threshold=0.02, sampled=True)),
    ("dapo-top-entropy", "ragged", dict(loss="dapo", top_entropy=0.2, kl_beta=0.04)),
    ("grpo-top-entropy-truncated", "truncated", dict(top_entropy=0.5)),
    ("gspo-top-entropy", "ragged", dict(level="sequence", clip_low=0.05, clip_high=0.08, top_entropy=0.3)),
    ("grpo-entropy-bonus", "truncated", dict(entropy_coefficient=0.01)),
    ("dapo-entropy-bonus-top", "ragged", dict(loss="dapo", entropy_coefficient=0.02, top_entropy=0.4)),
    ("sapo-kl", "ragged", dict(loss="sapo", sapo_temperature_positive=1.5, sapo_temperature_negative=2.0, kl_beta=0.04)),
    ("sapo-sequence", "ragged", dict(loss="sapo", level="sequence")),
    ("cispo-sequence", "ragged", dict(loss="cispo", level="sequence", cap=1.1)),
    ("vespo-tis-token", "ragged", dict(loss="vespo", vespo=VESPO, correction="tis-token", correction_max=1.3)),
    ("vespo-mis-token", "truncated", dict(loss="vespo", vespo=VESPO, correction="mis-token", correction_min=0.5, correction_max=1.6)),
    ("luspo-token", "ragged", dict(loss="luspo", clip_high=0.28)),
    ("gspo-kl-unbiased", "ragged", dict(level="sequence", clip_low=0.05, clip_high=0.08, kl_beta=0.04, kl_times_ratio=True)),
    ("gmpo", "ragged", dict(loss="gmpo", clip_low=0.4, clip_high=0.4)),
    ("gmpo-kl", "ragged", dict(loss="gmpo", clip_low=0.2, clip_high=0.3, kl_beta=0.04)),
]

# Losses of verl: name, batch, options. `aggregate` is its loss_agg_mode; all rows with a token count (verl leaves a fully masked
# sequence out of the count of sequences, so its sequence means are written for `ragged` only).
VERL_CASES = [
    ("verl-dual-clip", "ragged", dict(loss="dual-clip", clip_high=0.28, dual_clip=1.5, aggregate="token-mean")),
    ("verl-dual-clip-truncated", "truncated", dict(loss="dual-clip", dual_clip=3.0, aggregate="token-mean")),
    ("verl-dual-clip-sequence-mean", "ragged", dict(loss="dual-clip", dual_clip=1.2, aggregate="seq-mean-token-mean")),
    ("verl-dual-clip-sequence-sum", "ragged", dict(loss="dual-clip", dual_clip=1.2, aggregate="seq-mean-token-sum")),
    ("verl-dual-clip-constant", "ragged", dict(loss="dual-clip", dual_clip=1.2, aggregate="seq-mean-token-sum-norm", generation_limit=16)),
    ("verl-clip-cov", "ragged", dict(loss="clip-cov", clip_high=0.28, share=0.5, low=0.3, high=1.2, aggregate="token-mean")),
    ("verl-clip-cov-none", "ragged", dict(loss="clip-cov", clip_high=0.28, share=0.5, low=8.0, high=9.0, aggregate="token-mean")),
    ("verl-kl-cov", "ragged", dict(loss="kl-cov", share=0.2, kl=1.0, aggregate="token-mean")),
    ("verl-kl-cov-one", "truncated", dict(loss="kl-cov", share=2e-4, kl=0.5, aggregate="token-mean")),
    ("verl-gspo-token", "ragged", dict(loss="gspo-token", clip_low=0.05, clip_high=0.08, aggregate="seq-mean-token-mean")),
    ("verl-gpg", "truncated", dict(loss="reinforce", aggregate="token-mean")),
    ("verl-cispo", "ragged", dict(loss="cispo", clip_low=0.3, cap=1.28, aggregate="token-mean")),
    ("verl-dppo", "ragged", dict(loss="dppo", clip_low=0.1, clip_high=0.1, cap=1.6, aggregate="token-mean")),
    ("verl-dppo-kl", "ragged", dict(loss="dppo-kl", clip_low=0.02, clip_high=0.03, cap=20.0, aggregate="token-mean")),
]


def batches():
    """Ragged sequences; `truncated` is the same with two completions masked away, as for those cut at the length limit."""
    draw = torch.Generator().manual_seed(21)
    later = torch.Generator().manual_seed(22)  # columns that came later: the first ones keep their numbers
    advantages = [1.3, -0.7, 0.4, -1.0, 0.9, -1.4, 0.0, 0.5]
    rows = []
    for n, advantage in zip(LENGTHS, advantages):
        logprobs = -torch.rand(n, generator=draw) * 3.5 - 0.02
        rows.append(dict(
            advantage=advantage,
            logprobs=logprobs.tolist(),
            old_logprobs=(logprobs + 0.5 * torch.randn(n, generator=draw)).clamp(max=-1e-3).tolist(),
            reference_logprobs=(logprobs + 0.5 * torch.randn(n, generator=draw)).clamp(max=-1e-3).tolist(),
            token_weight=(0.5 + torch.rand(n, generator=draw)).tolist(),
            sequence_weight=(0.5 + torch.rand(1, generator=draw)).item(),
            mask=[1] * n,
        ))
        old = torch.tensor(rows[-1]["old_logprobs"])
        rows[-1]["sampled_logprobs"] = (old + 0.3 * torch.randn(n, generator=later)).clamp(max=-1e-3).tolist()
        rows[-1]["entropy"] = (2.5 * torch.rand(n, generator=later)).tolist()
    cut = [dict(row, mask=[0] * len(row["mask"]) if index in (2, 5) else row["mask"]) for index, row in enumerate(rows)]
    return dict(ragged=rows, truncated=cut)


def pad(rows, key, fill=0.0):
    longest = max(LENGTHS)
    return torch.tensor([[*map(float, row[key]), *[fill] * (longest - len(row[key]))] for row in rows])


def by_trl(rows, o):
    """TRL's own method; returns the loss, its gradient, and the means that TRL logs."""
    logprobs, mask = pad(rows, "logprobs").requires_grad_(), pad(rows, "mask")
    entropies = pad(rows, "entropy").requires_grad_()
    tokens = torch.zeros(len(rows), max(LENGTHS), dtype=torch.long)
    inputs = dict(prompt_ids=tokens[:, :1], prompt_mask=tokens[:, :1] + 1, completion_ids=tokens, completion_mask=mask,
                  advantages=torch.tensor([row["advantage"] for row in rows]), ref_per_token_logps=pad(rows, "reference_logprobs"),
                  num_items_in_batch=torch.tensor(float(o["normalizer"] or mask.sum().item())))
    if o["old"]:
        inputs["old_per_token_logps"] = pad(rows, "old_logprobs")
    if o["importance"] == "token_weight":
        inputs["importance_sampling_ratio"] = pad(rows, "token_weight", 1.0)
    elif o["importance"] == "sequence_weight":
        inputs["importance_sampling_ratio"] = torch.tensor([[row["sequence_weight"]] for row in rows])
    if o["correction"]:
        inputs["importance_sampling_ratio"] = corrections(pad(rows, "old_logprobs"), pad(rows, "sampled_logprobs"), mask, o)
    if o["sampled"]:
        inputs["sampling_per_token_logps"] = pad(rows, "sampled_logprobs")
    metrics = defaultdict(list)
    vespo = o["vespo"] or {}
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **settings: (logprobs, entropies, None),
        get_high_entropy_mask=lambda *args: GRPOTrainer.get_high_entropy_mask(trainer, *args),
        get_off_policy_mask=GRPOTrainer.get_off_policy_mask, get_gamma_weights=GRPOTrainer.get_gamma_weights,
        aux_loss_enabled=False, top_entropy_quantile=o["top_entropy"] or 1.0, off_policy_mask_threshold=o["off_policy_threshold"],
        importance_sampling_level=o["level"], beta=o["kl_beta"], loss_type=o["loss"],
        epsilon_low=o["clip_low"], epsilon_high=o["cap"] if o["loss"] == "cispo" else o["clip_high"],
        use_vllm=o["importance"] is not None or o["correction"] is not None, vllm_importance_sampling_correction=True,
        model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1, max_completion_length=o["generation_limit"],
        accelerator=SimpleNamespace(num_processes=1, gather=lambda x: x, gather_for_metrics=lambda x: x, reduce=lambda x, reduction: x,
                                    pad_across_processes=lambda x, dim, pad_index: x, sync_gradients=True),
        _entropy_bonus_enabled=o["entropy_coefficient"] is not None, entropy_coef=o["entropy_coefficient"], use_adaptive_entropy=False,
        _metrics=dict(train=metrics),
        args=SimpleNamespace(use_bias_correction_kl=o["kl_times_ratio"], delta=o["delta"], steps_per_generation=1,
                             sapo_temperature_pos=o["sapo_temperature_positive"], sapo_temperature_neg=o["sapo_temperature_negative"],
                             vespo_k_pos=vespo.get("k_positive"), vespo_lambda_pos=vespo.get("lambda_positive"),
                             vespo_k_neg=vespo.get("k_negative"), vespo_lambda_neg=vespo.get("lambda_negative")),
    )
    loss = (GMPOTrainer if o["loss"] == "gmpo" else GRPOTrainer)._compute_loss(trainer, None, inputs)
    loss.backward()
    names = {"kl": "kl", "clip_ratio/low_mean": "clip_fraction_low", "clip_ratio/high_mean": "clip_fraction_high",
             "clip_ratio/region_mean": "clip_fraction", "cispo_clip_ratio": "clip_fraction"}
    logged = {ours: metrics[theirs][0] for theirs, ours in names.items() if theirs in metrics}
    return loss.item(), logprobs.grad, logged, entropies.grad


def corrections(old, sampled, mask, o):
    """TRL's four modes of weights for a foreign sampler (its `_generate_and_score_completions`, which cannot be called alone)."""
    gap = (old - sampled) * mask
    ratio = (gap.sum(-1, keepdim=True) if o["correction"].endswith("sequence") else gap).exp()
    low, high = o["correction_min"], o["correction_max"]
    if o["correction"].startswith("tis"):
        return ratio.clamp(min=low, max=high)
    return torch.where((ratio < (-math.inf if low is None else low)) | (ratio > high), torch.zeros(()), ratio)


def formula(rows, o):
    """The same from the formulas of the papers, one sequence after the other, without padding."""
    total_tokens = sum(sum(row["mask"]) for row in rows)
    loss, leaves = torch.zeros(()), []
    edge, acting = -math.inf, total_tokens
    if o["top_entropy"]:
        live = sorted(h for row in rows for h, m in zip(row["entropy"], row["mask"]) if m)
        at = (1 - o["top_entropy"]) * (len(live) - 1)
        below = math.floor(at)
        edge = live[below] + (at - below) * (live[min(below + 1, len(live) - 1)] - live[below])
        acting = sum(h >= edge for h in live)
    for row in rows:
        logp = torch.tensor(row["logprobs"], requires_grad=True)
        leaves.append(logp)
        advantage, mask = torch.tensor(row["advantage"]), torch.tensor(row["mask"], dtype=torch.float64)
        n = mask.sum().clamp(min=1)
        old = torch.tensor(row["old_logprobs"]) if o["old"] else logp.detach()
        log_ratio = logp - old
        if o["level"] == "sequence":
            log_ratio = ((log_ratio * mask).sum() / n).expand_as(logp)
        ratio = log_ratio.exp()
        if o["loss"] == "cispo":
            term = ratio.detach().clamp(max=o["cap"]) * advantage * logp
        elif o["loss"] == "sapo":
            t = o["sapo_temperature_positive"] if advantage > 0 else o["sapo_temperature_negative"]
            term = torch.sigmoid(t * (ratio - 1)) * 4 / t * advantage
        elif o["loss"] == "gmpo":
            sign = 1.0 if advantage > 0 else -1.0  # the clip is one-sided: towards the better side for A > 0, else the worse
            kept = sign * torch.minimum(sign * log_ratio, sign * log_ratio.clamp(-o["clip_low"], o["clip_high"]))
            term = (((kept * mask).sum() / n).exp() * advantage).expand_as(logp)
        elif o["loss"] == "vespo":
            v, sign = o["vespo"], "positive" if advantage >= 0 else "negative"
            log_w = (log_ratio.detach() * mask).sum()
            if o["correction"]:
                weight = corrections(old, torch.tensor(row["sampled_logprobs"]), mask, o)
                log_w = (log_w + weight.log().clamp(math.log(1e-8), 20.0).sum()).clamp(math.log(1e-8), 20.0)
            k, rate = v[f"k_{sign}"], v[f"lambda_{sign}"]
            term = (rate + k * log_w - rate * log_w.exp()).exp() * advantage * logp
        elif o["delta"] is not None and advantage < 0:  # the dual clip: a bad action's loss is bounded by delta
            term = torch.maximum(torch.minimum(ratio * advantage, ratio.clamp(1 - o["clip_low"], 1 + o["clip_high"]) * advantage),
                                 o["delta"] * advantage)
        else:
            term = torch.minimum(ratio * advantage, ratio.clamp(1 - o["clip_low"], 1 + o["clip_high"]) * advantage)
        if o["off_policy_threshold"] is not None and advantage < 0:
            sampler = torch.tensor(row["sampled_logprobs" if o["sampled"] else "old_logprobs"])
            gap = ((sampler - logp.detach()) * mask).sum() / n
            term = term * (gap <= o["off_policy_threshold"])
        if o["top_entropy"]:
            term = term * (torch.tensor(row["entropy"]) >= edge)
        if o["correction"] and o["loss"] != "vespo":
            weight = corrections(old[None], torch.tensor(row["sampled_logprobs"])[None], mask[None], o)[0]
            term = term * weight
        if o["importance"]:
            term = term * torch.tensor(row[o["importance"]])
        if o["kl_beta"]:
            rho = torch.tensor(row["reference_logprobs"]) - logp
            k3 = rho.exp() - rho - 1
            term = term - o["kl_beta"] * (k3 * ratio if o["kl_times_ratio"] else k3)
        total = -(term * mask).sum()
        if o["entropy_coefficient"]:
            bonus = (torch.tensor(row["entropy"]) * mask)[torch.tensor(row["entropy"]) >= edge].sum() / acting
            loss = loss - o["entropy_coefficient"] * bonus
        if o["loss"] in ("grpo", "sapo", "gmpo"):
            loss = loss + total / n / len(rows)
        elif o["loss"] in ("bnpo", "dapo", "cispo", "vespo"):
            loss = loss + total / (o["normalizer"] or total_tokens)
        elif o["loss"] == "dr_grpo":
            loss = loss + total / (len(rows) * o["generation_limit"])
        elif o["loss"] == "luspo":  # the sequence's surrogate once, as TRL's mask-then-sum of a constant row: |o| times it
            loss = loss + total / len(rows)
    loss.backward()
    return loss.item(), [leaf.grad for leaf in leaves]


VERL = {"dual-clip": core_algos.compute_policy_loss_vanilla, "clip-cov": core_algos.compute_policy_loss_clip_cov,
        "kl-cov": core_algos.compute_policy_loss_kl_cov, "gspo-token": core_algos.compute_policy_loss_gspo,
        "reinforce": core_algos.compute_policy_loss_gpg, "cispo": core_algos.compute_policy_loss_cispo,
        "dppo": core_algos.compute_policy_loss_dppo_tv, "dppo-kl": core_algos.compute_policy_loss_dppo_kl}


def by_verl(rows, o):
    """verl's own function; returns the loss and its gradient. It divides by |o| + 1e-8, which is 1e-8 of a number of a sequence mean."""
    logp, old, mask = pad(rows, "logprobs").requires_grad_(), pad(rows, "old_logprobs"), pad(rows, "mask")
    a = torch.tensor([[row["advantage"]] for row in rows]).expand_as(mask)
    high = o["cap"] - 1 if o["loss"] == "cispo" else o["clip_high"]  # verl's cispo has 1 + clip_high where ours has the cap
    config = ActorConfig(strategy="fsdp", rollout_n=1, use_dynamic_bsz=True, ppo_mini_batch_size=8, clip_ratio_low=o["clip_low"], clip_ratio_high=high)
    # Settings that a launcher fills in; the config is frozen once made.
    put = lambda target, **fields: [object.__setattr__(target, key, value) for key, value in fields.items()]
    put(config, clip_ratio_c=o.get("dual_clip") or o.get("cap") or 3.0, global_batch_info={})
    if o["aggregate"] == "seq-mean-token-sum-norm":
        config.global_batch_info["loss_scale_factor"] = o["generation_limit"]
    put(config.policy_loss, clip_cov_ratio=o.get("share"), clip_cov_lb=o.get("low"), clip_cov_ub=o.get("high"), kl_cov_ratio=o.get("share"),
        ppo_kl_coef=o.get("kl"))
    # verl marks covariances in place: it is given a copy, so that the gradient passes.
    loss, _ = VERL[o["loss"]](old, logp * 1.0, a.clone(), mask, o["aggregate"], config)
    loss.backward()
    return loss.item(), logp.grad


def formula_of_verl(rows, o):
    """verl's losses from their formulas; log-ratios are never near the ±20 at which it clamps them."""
    logp, old, mask = pad(rows, "logprobs").requires_grad_(), pad(rows, "old_logprobs"), pad(rows, "mask")
    a = torch.tensor([[row["advantage"]] for row in rows]).expand_as(mask)
    live, gap, fixed = mask > 0, logp - old, logp.detach()
    ratio = gap.exp()
    low, high = 1 - o["clip_low"], 1 + o["clip_high"]
    clipped = torch.maximum(-a * ratio, -a * ratio.clamp(low, high))
    count = mask.sum()
    covariance = ((a - (a * mask).sum() / count) * (fixed - (fixed * mask).sum() / count)).detach()
    if o["loss"] == "dual-clip":
        loss = torch.where(a < 0, torch.minimum(clipped, -a * o["dual_clip"]), clipped)
    elif o["loss"] == "clip-cov":
        chosen = live & (covariance > o["low"]) & (covariance < o["high"]) & ~(-a * ratio.clamp(low, high) > -a * ratio)
        assert chosen.sum() <= max(int(o["share"] * count), 1), "verl draws among more; then no number is the right one"
        assert (o["low"] > 5) == (chosen.sum() == 0)
        loss = clipped * ~chosen
    elif o["loss"] == "kl-cov":
        top = torch.topk(covariance[live], max(1, int(count * o["share"]))).values.min()
        loss = -a * ratio + o["kl"] * gap.abs() * (live & (covariance >= top))
    elif o["loss"] == "gspo-token":
        mean = (gap.detach() * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
        s = (mean + logp - fixed).exp()
        loss = torch.maximum(-a * s, -a * s.clamp(low, high))
    elif o["loss"] == "reinforce":
        loss = -a * logp
    elif o["loss"] == "cispo":
        loss = -ratio.detach().clamp(low, o["cap"]) * a * logp
    else:
        p, p_old = fixed.exp(), old.exp()
        if o["loss"] == "dppo":
            keeps = torch.where(a > 0, p - p_old <= o["clip_high"], p - p_old >= -o["clip_low"])
        else:
            divergence = p_old * (old - fixed) + (1 - p_old) * ((1 - p_old + 1e-8) / (1 - p + 1e-8)).log()
            keeps = torch.where(a > 0, (divergence <= o["clip_high"]) | (p <= p_old), (divergence <= o["clip_low"]) | (p >= p_old))
        assert 0 < (keeps & live).sum() < count
        loss = -a * ratio.detach().clamp(max=o["cap"]) * logp * keeps
    rows_alive = (mask.sum(-1) > 0).sum()
    sums = (loss * mask).sum(-1)
    loss = {"token-mean": lambda: sums.sum() / count,
            "seq-mean-token-mean": lambda: (sums / mask.sum(-1).clamp(min=1)).sum() / rows_alive,
            "seq-mean-token-sum": lambda: sums.sum() / rows_alive,
            "seq-mean-token-sum-norm": lambda: sums.sum() / rows_alive / o["generation_limit"]}[o["aggregate"]]()
    loss.backward()
    return loss.item(), logp.grad


def losses(out):
    tables = batches()
    cases = []
    for name, batch, options in CASES:
        rows, o = tables[batch], {**DEFAULTS, **options}
        loss, grad, logged, entropy_grad = by_trl(rows, o)
        check, check_grads = formula(rows, o)
        grads = [grad[i, :n] for i, n in enumerate(LENGTHS)]
        assert math.isclose(loss, check, rel_tol=1e-12, abs_tol=1e-14), (name, loss, check)
        for a, b in zip(grads, check_grads):
            assert torch.allclose(a, b, rtol=1e-11, atol=1e-15), (name, a, b)
        assert all(g == 0 for i, n in enumerate(LENGTHS) for g in grad[i, n:].tolist())
        # A ratio on the very edge of a clip would have no defined gradient.
        for row in rows:
            ratio = (torch.tensor(row["logprobs"]) - torch.tensor(row["old_logprobs"])).exp()
            ratio = torch.cat([ratio, ratio.log().mean().exp()[None]])
            for edge in (1 - o["clip_low"], 1 + o["clip_high"], o["delta"], o["cap"]):
                assert edge is None or (ratio - edge).abs().min() > 1e-6, (name, edge)
        changed = {key: value for key, value in o.items() if value is not None}
        cases.append(dict(name=name, batch=batch, options=changed, loss=loss, metrics=logged, dlogprobs=[g.tolist() for g in grads]))
        if o["entropy_coefficient"]:
            cases[-1]["dentropy"] = [entropy_grad[i, :n].tolist() for i, n in enumerate(LENGTHS)]
    verl_cases = []
    for name, batch, options in VERL_CASES:
        rows, o = tables[batch], {**DEFAULTS, **options}
        loss, grad = by_verl(rows, o)
        check, check_grad = formula_of_verl(rows, o)
        assert math.isclose(loss, check, rel_tol=1e-7) and torch.allclose(grad, check_grad, rtol=1e-7, atol=1e-12), (name, loss, check)
        changed = {key: value for key, value in o.items() if key in (*options, "clip_low", "clip_high")}
        verl_cases.append(dict(name=name, batch=batch, options=changed, loss=loss, dlogprobs=[grad[i, :n].tolist() for i, n in enumerate(LENGTHS)]))
    dump(out / "losses" / "verl.json", dict(recipe=VERSIONS, source="verl's core_algos, called; checked against the formulas", cases=verl_cases), ("cases",))

    dump(out / "losses" / "batches.json", dict(recipe=VERSIONS, ragged=tables["ragged"], truncated=tables["truncated"]), ("ragged", "truncated"))
    dump(out / "losses" / "cases.json", dict(recipe=VERSIONS, source="TRL's GRPOTrainer._compute_loss, checked against the formulas", cases=cases), ("cases",))

    # The estimators of KL(policy || reference) per token, with d/dlogprob (verl's names; k3 is checked above through TRL).
    logp = torch.tensor(tables["ragged"][2]["logprobs"])
    reference = torch.tensor(tables["ragged"][2]["reference_logprobs"])
    estimators = {}
    k2 = lambda d: 0.5 * d * d
    k3 = lambda d: torch.exp(-d) + d - 1
    through = lambda value: lambda d: k2(d) - k2(d).detach() + value(d).detach()  # verl's `+`: this value, k2's gradient
    rules = {"k1": lambda d: d, "k2": k2, "k3": k3, "abs": torch.abs, "k1+": through(lambda d: d), "k3+": through(k3)}
    for name, rule in rules.items():
        leaf = logp.clone().requires_grad_()
        value = rule(leaf - reference)
        value.sum().backward()
        theirs = core_algos.kl_penalty(logp, reference, name)  # values alone: how verl gets its gradients depends on where it is used
        assert torch.allclose(value, theirs, rtol=1e-12, atol=1e-15), name
        estimators[name] = dict(value=value.tolist(), dlogprobs=leaf.grad.tolist())
    dump(out / "losses" / "kl.json", dict(recipe=VERSIONS, source="formulas in torch, values those of verl's kl_penalty", logprobs=logp.tolist(),
                                          reference_logprobs=reference.tolist(), **estimators))


# --- advantages --------------------------------------------------------------------------------------------------------

def advantages(out):
    """Each rule on groups of unequal size. null is a reward that is missing (TRL: no reward function could judge it)."""
    groups = [
        [0.1, 1.1, 1.0, 0.1],
        [1.0, 0.0, 0.0, 1.0],
        [0.5, 0.5, 0.5, 0.5],
        [0.0, 0.0, 0.0, 1.0],
        [-0.3, 0.25, 2.0, 1.75],
    ]
    uneven = [[0.1, 1.1, 1.0, 0.1], [0.7], [1.0, 0.0], [0.2, 0.2, 0.2], [1.0, 0.0, 0.5, -0.5, 0.25, 0.125, 1.5, 1.0]]
    missing = [[0.1, None, 1.0, 0.1], [None, 0.0, 0.0, 1.0], [1.0, 0.0, None, None]]

    def tensor(rows):
        return torch.tensor([[math.nan if r is None else r for r in row] for row in rows])

    def trl_rule(rows, scale):
        r = tensor(rows)
        a = r - torch.nanmean(r, dim=1, keepdim=True)
        if scale == "group":
            a = a / (nanstd(r, dim=1, keepdim=True) + 1e-4)
        elif scale == "batch":
            a = a / (nanstd(r) + 1e-4)
        return torch.nan_to_num(a, nan=0.0).tolist()

    def each(rows, rule):
        return [rule(torch.tensor(row)).tolist() for row in rows]

    def by_verl(function, rows, lengths=None, **more):
        """verl's own function on responses padded to one length, the reward on the last token; one advantage a row comes back."""
        flat = [r for row in rows for r in row]
        n = [k for row in lengths for k in row] if lengths else [3] * len(flat)
        mask = torch.tensor([[1.0] * k + [0.0] * (max(n) - k) for k in n])
        rewards = torch.zeros_like(mask)
        for i, (k, r) in enumerate(zip(n, flat)):
            rewards[i, k - 1] = r
        index = np.array([g for g, row in enumerate(rows) for _ in row])
        found, _ = function(rewards, mask, index=index, **more)
        values, out = [found[i, 0].item() for i in range(len(flat))], []
        assert all(math.isclose(found[i, t].item(), values[i], abs_tol=1e-12) for i, k in enumerate(n) for t in range(k))
        for row in rows:
            out.append(values[: len(row)])
            values = values[len(row) :]
        return out

    def verl_grpo(r):  # a group of one keeps its reward: mean 0, std 1
        return r / (1 + 1e-6) if len(r) == 1 else (r - r.mean()) / (r.std() + 1e-6)

    def verl_none(r):
        return r if len(r) == 1 else r - r.mean()

    def rloo(r):  # verl: a group of one keeps its reward
        return r if len(r) == 1 else (r - r.mean()) * len(r) / (len(r) - 1)

    lengths = [[3 + (5 * i + 7 * g) % 11 for i in range(len(row))] for g, row in enumerate(uneven)]

    def opo(r, n):
        n = torch.tensor(n, dtype=torch.float64)
        return r if len(r) == 1 else r - (n * r).sum() / n.sum()

    def passk(r):
        best = torch.topk(r, 2)
        a = torch.zeros_like(r)
        a[best.indices[0]] = (best.values[0] - best.values[1]) / (r.std() + 1e-6)
        return a

    def whitened(rows):  # verl: every token of a sequence carries its advantage
        tokens = torch.cat([torch.tensor(a).repeat(n) for row, own in zip(rows, lengths) for a, n in zip(row, own)])
        return [[(a - tokens.mean().item()) / math.sqrt(tokens.var().item() + 1e-8) for a in row] for row in rows]

    def gdpo(parts, weights):  # TRL's normalize_then_sum
        r = torch.tensor([[[math.nan if x is None else x for x in part] for part in group] for group in parts])  # group, row, part
        spread = nanstd(r, dim=1, keepdim=True)
        total = ((r - torch.nanmean(r, dim=1, keepdim=True)) / (spread + 1e-4) * torch.tensor(weights)).nansum(-1)
        total[r.isnan().all(-1)] = math.nan
        return torch.nan_to_num((total - torch.nanmean(total)) / (nanstd(total.flatten()) + 1e-4), nan=0.0).tolist()

    judged = [[[1, 0.5], [0, 1], [0, 0], [1, 1]], [[1, 0.25], [1, 0.5], [1, 0.75], [1, None]], [[0, 1], [None, 1], [None, None], [1, 0]]]
    positive = [[0.0, 1.0, 1.0, 0.0], [0.25, 1.0, 0.5], [1.0] * 3, [0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]

    def population(r):
        return (r - r.mean()) / (r.std(correction=0) + 1e-4)

    cases = [
        dict(rule="trl", scale="group", std="sample", epsilon=1e-4, rewards=groups, advantages=trl_rule(groups, "group")),
        dict(rule="trl", scale="none", rewards=groups, advantages=trl_rule(groups, "none")),
        dict(rule="trl", scale="batch", std="sample", epsilon=1e-4, rewards=groups, advantages=trl_rule(groups, "batch")),
        dict(rule="trl", scale="group", std="sample", epsilon=1e-4, rewards=missing, advantages=trl_rule(missing, "group")),
        dict(rule="trl", scale="none", rewards=missing, advantages=trl_rule(missing, "none")),
        dict(rule="trl", scale="batch", std="sample", epsilon=1e-4, rewards=missing, advantages=trl_rule(missing, "batch")),
        dict(rule="verl-grpo", scale="group", std="sample", epsilon=1e-6, rewards=uneven, advantages=each(uneven, verl_grpo)),
        dict(rule="verl-grpo", scale="none", rewards=uneven, advantages=each(uneven, verl_none)),
        dict(rule="rloo", rewards=uneven, advantages=each(uneven, rloo)),
        dict(rule="population", scale="group", std="population", epsilon=1e-4, rewards=groups, advantages=each(groups, population)),
        dict(rule="opo", rewards=uneven, lengths=lengths, advantages=[opo(torch.tensor(r), n).tolist() for r, n in zip(uneven, lengths)]),
        dict(rule="passk", std="sample", epsilon=1e-6, rewards=groups, advantages=each(groups, passk)),
        dict(rule="maxrl", rewards=positive, advantages=each(positive, lambda r: (r - r.mean()) / r.mean() if r.any() else r)),
        dict(rule="reinforce++", rewards=uneven, lengths=lengths, advantages=whitened(uneven)),
        dict(rule="reinforce++-baseline", rewards=uneven, lengths=lengths, advantages=whitened(each(uneven, verl_none))),
        dict(rule="gdpo", weights=[1.0, 0.5], parts=judged, advantages=gdpo(judged, [1.0, 0.5])),
    ]
    # verl's rules are restated above; what is written is what verl's own functions say.
    a = core_algos
    calls = {
        ("verl-grpo", "group"): lambda: by_verl(a.compute_grpo_outcome_advantage, uneven),
        ("verl-grpo", "none"): lambda: by_verl(a.compute_grpo_outcome_advantage, uneven, norm_adv_by_std_in_grpo=False),
        ("rloo", None): lambda: by_verl(a.compute_rloo_outcome_advantage, uneven),
        ("opo", None): lambda: by_verl(a.compute_opo_outcome_advantage, uneven, lengths),
        ("passk", None): lambda: by_verl(a.compute_grpo_passk_outcome_advantage, groups, config=dict(norm_adv_by_std_in_grpo=True)),
        ("reinforce++", None): lambda: by_verl(a.compute_reinforce_plus_plus_outcome_advantage, uneven, lengths, config=SimpleNamespace(gamma=1.0)),
        ("reinforce++-baseline", None): lambda: by_verl(a.compute_reinforce_plus_plus_baseline_outcome_advantage, uneven, lengths),
    }
    for case in cases:
        call = calls.pop((case["rule"], case.get("scale")), None)
        if call:
            found = call()
            for x, y in zip([x for row in found for x in row], [y for row in case["advantages"] for y in row]):
                assert math.isclose(x, y, rel_tol=1e-6, abs_tol=2e-7), (case["rule"], x, y)
            case.update(advantages=found, called=f"verl {verl.__version__}")
    assert not calls
    # RLOO said directly: the reward minus the mean of the others.
    for case in cases:
        if case["rule"] == "rloo":
            for row, advantage in zip(case["rewards"], case["advantages"]):
                for i, a in enumerate(advantage):
                    others = row[:i] + row[i + 1 :]
                    assert math.isclose(a, row[i] - (sum(others) / len(others) if others else 0.0), abs_tol=1e-12)
    dump(out / "advantages" / "advantages.json", dict(recipe=VERSIONS, source="formulas of TRL (with its own nanstd) and verl, in torch", cases=cases), ("cases",))


# --- optimizer ---------------------------------------------------------------------------------------------------------

def optimizer(out):
    runs = []
    for dtype in (torch.float32, torch.float64):
        for lr, betas, eps, decay in ((1e-2, (0.9, 0.999), 1e-8, 0.0), (1e-2, (0.9, 0.95), 1e-8, 0.1), (3e-3, (0.8, 0.9), 1e-3, 0.5)):
            draw = torch.Generator().manual_seed(31)
            start = torch.randn(3, 5, generator=draw).to(dtype)
            gradients = [(torch.randn(3, 5, generator=draw) * 10.0 ** torch.randint(-4, 2, (3, 5), generator=draw)).to(dtype) for _ in range(5)]
            gradients[2][1] = 0.0  # a row without gradient: decay and momentum go on
            rates = [lr, lr, lr * 0.5, lr * 0.25, lr * 2]
            parameter = torch.nn.Parameter(start.clone())
            adamw = torch.optim.AdamW([parameter], lr=lr, betas=betas, eps=eps, weight_decay=decay, foreach=False, fused=False)
            steps = []
            for gradient, rate in zip(gradients, rates):
                adamw.param_groups[0]["lr"] = rate
                parameter.grad = gradient.clone()
                adamw.step()
                state = adamw.state[parameter]
                steps.append(dict(lr=rate, gradient=gradient.flatten().tolist(), parameter=parameter.detach().flatten().tolist(),
                                  first_moment=state["exp_avg"].flatten().tolist(), second_moment=state["exp_avg_sq"].flatten().tolist()))
            runs.append(dict(dtype=str(dtype).split(".")[1], shape=[3, 5], beta1=betas[0], beta2=betas[1], epsilon=eps, weight_decay=decay,
                             start=start.flatten().tolist(), steps=steps))
    dump(out / "optimizer" / "adamw.json", dict(recipe=VERSIONS, source="torch.optim.AdamW", runs=runs), ("runs",))

    # lr[i] is the rate of update i, counted from 0, out of `total`.
    schedules = []
    for kind, total, warmup, floor in (("cosine", 20, 0, 0.0), ("cosine", 20, 4, 0.0), ("cosine", 20, 4, 0.1), ("cosine", 7, 1, 0.1),
                                       ("linear", 20, 4, 0.0), ("constant", 20, 4, None)):
        parameter = torch.nn.Parameter(torch.zeros(1))
        sgd = torch.optim.SGD([parameter], lr=1.0)
        if kind == "cosine" and floor:
            schedule = transformers.get_cosine_with_min_lr_schedule_with_warmup(sgd, warmup, total, min_lr_rate=floor)
        elif kind == "cosine":
            schedule = transformers.get_cosine_schedule_with_warmup(sgd, warmup, total)
        elif kind == "linear":
            schedule = transformers.get_linear_schedule_with_warmup(sgd, warmup, total)
        else:
            schedule = transformers.get_constant_schedule_with_warmup(sgd, warmup)
        lr = []
        for _ in range(total + 2):  # two past the end: what a run that goes on would use
            lr.append(sgd.param_groups[0]["lr"])
            sgd.step()
            schedule.step()
        schedules.append(dict(kind=kind, total=total, warmup=warmup, floor=floor or 0.0, lr=lr))
    dump(out / "optimizer" / "schedule.json", dict(recipe=VERSIONS, source="transformers' schedules at a peak of 1", schedules=schedules), ("schedules",))

    draw = torch.Generator().manual_seed(7)
    tensors = [torch.randn(4, generator=draw), torch.randn(2, 3, generator=draw), torch.randn(1, generator=draw)]
    cases = []
    for limit in (1.0, 0.2, 100.0):
        parameters = [torch.nn.Parameter(torch.zeros_like(t)) for t in tensors]
        for p, t in zip(parameters, tensors):
            p.grad = t.clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        cases.append(dict(max_norm=limit, grad_norm=norm.item(), clipped=[p.grad.flatten().tolist() for p in parameters]))
    dump(out / "optimizer" / "clip.json", dict(recipe=VERSIONS, source="torch.nn.utils.clip_grad_norm_ (divides by norm + 1e-6)",
                                               gradients=[t.flatten().tolist() for t in tensors], cases=cases), ("cases",))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).resolve().parents[2] / "tests/golden")
    out = parser.parse_args().out
    losses(out)
    advantages(out)
    optimizer(out)


if __name__ == "__main__":
    main()
