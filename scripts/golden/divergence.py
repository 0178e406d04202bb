"""Writes tests/golden/divergence/gkd.json: TRL's generalized Jensen-Shannon loss over a whole vocabulary and over a list with a tail.

    python scripts/golden/divergence.py [OUT]        # OUT defaults to tests/golden

Values come from TRL's `GKDTrainer.generalized_jsd_loss` and, for lists, its `add_tail_bucket` in front of it; gradients by the
student's hidden rows and head are torch's autograd. Everything is f64 from numbers that f32 holds exactly.
"""

import argparse
import json
from pathlib import Path

import torch
import trl
from trl.experimental.gkd.gkd_trainer import GKDTrainer
from trl.experimental.sdpo.loss_utils import add_tail_bucket

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)

ROWS, VOCABULARY, STUDENT, TEACHER = 5, 19, 6, 4


def divergence(student, teacher, beta):
    """One number a row of two rows of log-probabilities."""
    every = GKDTrainer.generalized_jsd_loss(student[None], teacher[None], beta=beta, temperature=1.0, reduction="none")
    return every[0].sum(-1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).resolve().parents[2] / "tests/golden")
    out = parser.parse_args().out / "divergence" / "gkd.json"
    draw = torch.Generator().manual_seed(11)

    def number(*shape):
        return torch.randn(*shape, generator=draw).float().double()

    h, w = number(ROWS, STUDENT), number(VOCABULARY, STUDENT)
    teacher_h, teacher_w = number(ROWS, TEACHER), number(VOCABULARY, TEACHER)
    weights = number(ROWS)
    cases = []
    for temperature in (1.0, 0.9, 2.0):
        for beta in (0.0, 0.1, 0.5, 0.9, 1.0):
            for top in (None, 1, 4):
                a, b = h.clone().requires_grad_(), w.clone().requires_grad_()
                student = torch.log_softmax(a @ b.T / temperature, -1)
                teacher = torch.log_softmax(teacher_h @ teacher_w.T / temperature, -1)
                case = dict(temperature=temperature, beta=beta)
                if top:
                    logprobs, ids = teacher.topk(top, -1)
                    # What a file holds: f32.
                    logprobs = logprobs.float().double()
                    case |= dict(ids=ids.tolist(), logprobs=logprobs.tolist())
                    student, teacher = add_tail_bucket(student.gather(-1, ids)), add_tail_bucket(logprobs)
                values = divergence(student, teacher, beta)
                (weights * values).sum().backward()
                cases.append(case | dict(values=values.tolist(), dh=a.grad.flatten().tolist(), dw=b.grad.flatten().tolist()))
    recipe = dict(command="python scripts/golden/divergence.py", trl=trl.__version__, torch=torch.__version__.split("+")[0], dtype="float64")
    head = dict(recipe=recipe, rows=ROWS, vocabulary=VOCABULARY, h=h.flatten().tolist(), w=w.flatten().tolist(),
                teacher_h=teacher_h.flatten().tolist(), teacher_w=teacher_w.flatten().tolist(), weights=weights.tolist())
    out.parent.mkdir(parents=True, exist_ok=True)
    parts = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    lines = ",\n".join(f"  {json.dumps(case, allow_nan=False)}" for case in cases)
    out.write_text("{\n" + ",\n".join(parts) + ',\n "cases": [\n' + lines + "\n ]\n}\n")


if __name__ == "__main__":
    main()
