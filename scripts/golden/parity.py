"""Writes tools/r1-grpo/PARITY.md: every loss and advantage convention beside the numbers of TRL and verl.

    python scripts/golden/parity.py            # runs cargo test on r1-grpo and r1-advantage; needs no oracle

The numbers come from our tests, which compare with tests/golden and print one line a case; the list of departures stands here.
"""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LOSS_DEPARTURES = [
    ("bnpo", "TRL's mean over the tokens of a micro-batch, averaged over micro-batches",
     "one mean over the tokens of the optimizer batch: how memory cuts a batch must not change the gradient; `--aggregate group` is TRL's "
     "number where each micro-batch is one group"),
    ("--aggregate sequence-mean, sequence-sum, constant", "verl leaves fully masked sequences out of the count of sequences",
     "they count, as in TRL: their tokens were paid for"),
    ("k3, far from the reference", "TRL lets e^ρ overflow; verl clamps ρ to ±20 and the value to ±10, with no gradient beyond",
     "the exponential to ρ = 20, then its tangent: finite, and it still pulls back. Equal up to ρ = 20"),
    ("ratios", "verl clamps log-ratios to ±20 (GSPO to 10)", "not clamped, as in TRL; a loss or gradient that is not finite refuses the update and "
     "names row and token"),
    ("gmpo, masked rows", "TRL adds the constant −A of every masked row to the value of the loss (its gradient is 0)", "masked rows add nothing"),
    ("gmpo with entropy mask", "TRL takes the geometric mean over high-entropy tokens only", "refused"),
    ("gmpo with token correction", "verl takes the geometric mean of the weights", "each weight stands beside its token, the sequence's ratio is shared"),
    ("clip-cov", "verl draws among the candidates with torch's generator", "a draw that depends on seed, step and token alone; equal where all "
     "candidates are taken (the goldens)"),
    ("kl-cov, equal covariances", "torch.topk's choice", "the first ones"),
    ("top-entropy quantile", "TRL takes it over each micro-batch (gathered over ranks)", "over the optimizer batch"),
    ("entropy bonus", "TRL averages micro-batches' means", "one mean over the trained tokens of the optimizer batch"),
    ("clip metrics with δ", "TRL counts ratios after δ", "before δ"),
    ("trl-default", "TRL's rate falls linearly to 0 over the run", "constant unless `--schedule linear --total-updates N` says how many updates follow"),
    ("correction defaults", "TRL corrects by default when vLLM samples (sequence_mask, 3.0)", "off unless asked for: sampler and trainer are one engine"),
    ("not here", "prime-rl's DPPO loss with its squared log-ratio penalty, its IPO mask; verl's UP; A2PO, SDPO, TPO (TRL experimental)", "verl's DPPO (both masks) is"),
]
ADVANTAGE_DEPARTURES = [
    ("equal rewards", "rounding may leave ±1e-4 (trl) or ±1 (eps 1e-9)", "exactly 0: rewards within 1e-9 of each other are equal"),
    ("rloo, group of one", "verl's rloo keeps the reward, its rloo_vectorized gives 0, TRL refuses", "0; `--single reward` keeps it"),
    ("passk, group of one", "verl refuses", "0"),
    ("maxrl", "undefined for a negative mean", "negative rewards are refused"),
    ("reinforce++", "verl whitens token returns after a token-level KL penalty, discounted",
     "one return a sequence, γ = 1; the penalty, where wanted, is `--kl-beta` on the whole sequence"),
    ("openrlhf", "clamped whitening over tokens for its baselines", "`openrlhf` is its group_norm alone"),
    ("missing rewards", "verl and OpenRLHF have none", "as TRL: in no statistic, advantage 0"),
    ("not here", "GAE (needs a critic), ReMax (needs a greedy sample), GPG's α, optimal token baseline, RAE", "—"),
]


def lines(package, test):
    run = subprocess.run(["cargo", "test", "--release", "-p", package, test, "--", "--nocapture", "--test-threads", "1"],
                         cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{package}: its tests fail; see cargo test -p {package}\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    # The first line of a test may stand behind the test's name.
    found = [line[line.index("parity\t"):].split("\t")[1:] for line in run.stdout.splitlines() if "parity\t" in line]
    if not found:
        raise SystemExit(f"{package}: no line of {test} found")
    return found


def table(head, rows):
    text = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in text) + "\n"


def main():
    losses = lines("r1-grpo", "losses_and_gradients_are_those_of")
    advantages = lines("r1-advantage", "advantages_are_those_of_the_goldens")
    part = lambda of_verl: [(f"`{name.removeprefix('verl-')}`", f"`{flags}`", loss, value, gradient)
                            for name, flags, loss, value, gradient in sorted(losses) if name.startswith("verl-") == of_verl]
    head = ("case", "flags of r1-grpo", "loss", "off by", "d/dlogprob off by")
    departures = ("where", "there", "here")
    (ROOT / "tools/r1-grpo/PARITY.md").write_text(f"""# Parity

Written by `scripts/golden/parity.py`. Every loss and every advantage convention on the batches of `tests/golden/losses` and
`tests/golden/advantages`: ours against TRL's own method (its `_compute_loss`, run on a table of log-probabilities) or, where TRL has no such loss,
against verl's own function (`core_algos`, called), gradients by autograd, all in f64. "off by" is the largest absolute difference; verl's means over
a sequence divide by |o| + 1e-8, which is the difference there.

Real calls: every loss below; the advantages `verl-grpo`, `rloo`, `opo`, `passk`, `reinforce++`, `reinforce++-baseline` (verl's functions); AdamW,
clipping and schedules (torch, transformers). Restatements in torch, because the code is in the middle of a longer method or no package has it:
`trl` and `gdpo` (TRL's, with its own nanstd), `population`, `maxrl`; of the divergences, k3 comes through TRL's loss, the values of all are those of
verl's `kl_penalty`, the other gradients are formulas.

## Losses: TRL

{table(head, part(False))}
An entropy bonus is compared with entropies rounded to f32, which is the difference there.
Three more golden cases (`dapo-micro-batch`, `dapo-importance-token`, `dapo-importance-sequence`) are of what r1-grpo does not do: a batch that is a
part of a larger one, and weights from a table; the weights are compared where they are computed (`-tis-`, `-mis-`).

## Losses: verl

{table(head, part(True))}
## Losses: departures

{table(departures, LOSS_DEPARTURES)}
## Advantages

{table(("rule", "flags of r1-advantage", "rows", "off by"), [(f"`{rule}`", f"`{flags}`", rows, off) for rule, flags, rows, off in advantages])}
## Advantages: departures

{table(departures, ADVANTAGE_DEPARTURES)}""")


if __name__ == "__main__":
    main()
