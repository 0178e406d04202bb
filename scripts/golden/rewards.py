"""Writes tests/golden/rewards/rewards.json: what TRL's and open-r1's own reward functions say of generated completions.

    python scripts/golden/rewards.py OPEN_R1_REWARDS [COMMIT] [OUT]     # OUT defaults to tests/golden

OPEN_R1_REWARDS is src/open_r1/rewards.py of github.com/huggingface/open-r1, which is on no registry: its functions are run as they
stand, with empty stand-ins for the modules of its package that they do not use. TRL's are imported.
"""

import json
import logging
import random
import sys
import types
from importlib.metadata import version
from pathlib import Path

import trl
from trl.rewards import (
    get_cosine_scaled_reward,
    get_repetition_penalty_reward,
    get_soft_overlong_punishment,
    think_format_reward,
)

R = random.Random(5)
PIECES = [
    "<think>", "</think>", "<answer>", "</answer>", "<think>\n", "\n</think>\n", "<answer>\n", "\n</answer>", "\n", "\n\n", "\r\n",
    "Step 1:", "Step 12:", "Step x:", "First,", "Second,", "Next,", "Finally,", "first,", "1. add\n", "\n2. halve", "\n- so", "\n-3", "\n* thus",
    "- a", "a b c ", "a b c ", "A B c ", "the sum is 14", "x < y", " ", "14", "中文 ", "it is ",
]
SHAPES = [
    "<think>\n{}\n</think>\n<answer>\n{}\n</answer>", "<think>{}</think><answer>{}</answer>", "<think>\n{}\n</think>\n{}",
    "{}</think>\n<answer>\n{}\n</answer>", "<think>\n{}\n</think>\n<answer>\n{}\n</answer>\n", "{}{}",
]


def original(path):
    """The functions of open-r1, from its file."""
    package = types.ModuleType("open_r1")
    package.__path__ = []
    sys.modules["open_r1"] = package
    for name in ("utils", "utils.code_providers", "utils.competitive_programming"):
        module = types.ModuleType(f"open_r1.{name}")
        module.__path__ = []
        module.__getattr__ = lambda _: None
        sys.modules[module.__name__] = module
    module = types.ModuleType("open_r1.rewards")
    module.__package__ = "open_r1"
    exec(compile(Path(path).read_text(), path, "exec"), module.__dict__)
    return module


def messages(texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


def text():
    part = lambda: "".join(R.choice(PIECES) for _ in range(R.randint(0, 8)))
    return R.choice(SHAPES).format(part(), part())


def main():
    logging.disable(logging.CRITICAL)
    theirs = original(sys.argv[1])
    texts = sorted({text() for _ in range(600)})
    columns = {
        "think_format": think_format_reward(messages(texts)),
        "open_r1_format": theirs.format_reward(messages(texts)),
        "tag_count": theirs.tag_count_reward(messages(texts)),
        "reasoning_steps": theirs.reasoning_steps_reward(messages(texts)),
    }
    for n in (1, 2, 3):
        columns[f"repetition_{n}"] = theirs.get_repetition_penalty_reward(n, -1.0)(messages(texts))
    cases = [{"text": t, **{name: values[i] for name, values in columns.items()}} for i, t in enumerate(texts)]

    tokens = []
    for _ in range(150):
        ids, n, most = [R.randint(0, R.choice([1, 3, 50])) for _ in range(R.randint(0, 40))], R.randint(1, 5), R.choice([-1.0, -0.5])
        tokens.append({"ids": ids, "n": n, "most": most, "penalty": get_repetition_penalty_reward(n, most)([ids])[0]})

    overlong = []
    for _ in range(150):
        limit = R.randint(2, 200)
        cache, length = R.randint(1, limit), R.randint(0, 2 * limit)
        overlong.append({"len": length, "max_len": limit, "cache": cache, "penalty": get_soft_overlong_punishment(limit, cache)([[1] * length])[0]})

    cosine = []
    for _ in range(150):
        limit, right = R.randint(20, 300), R.random() < 0.5
        answer = r"\boxed{1}" if right else r"\boxed{2}"
        length = R.randint(len(answer), 2 * limit)
        said = messages([" " * (length - len(answer)) + answer])
        cosine.append({"len": length, "max_len": limit, "right": right,
                       "trl": get_cosine_scaled_reward(max_len=limit)(said, ["$1$"], completion_ids=[[1] * length])[0],
                       "open_r1": theirs.get_cosine_scaled_reward(max_len=limit)(said, ["$1$"])[0]})

    groups = []
    for _ in range(60):
        said = [(R.randint(0, 30), R.random() < 0.5) for _ in range(R.randint(1, 6))]
        whole = [" " * length + (r"\boxed{1}" if right else r"\boxed{2}") for length, right in said]
        groups.append({"lengths": [len(t) for t in whole], "right": [right for _, right in said],
                       "rewards": theirs.len_reward(messages(whole), ["$1$"] * len(whole))})

    out = Path(sys.argv[3] if len(sys.argv) > 3 else Path(__file__).parents[2] / "tests" / "golden") / "rewards" / "rewards.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    recipe = {"command": "python scripts/golden/rewards.py OPEN_R1_REWARDS", "trl": trl.__version__, "math_verify": version("math-verify"),
              "open_r1": sys.argv[2] if len(sys.argv) > 2 else "unknown"}
    parts = [f' "recipe": {json.dumps(recipe)}']
    for name, rows in {"texts": cases, "tokens": tokens, "overlong": overlong, "cosine": cosine, "groups": groups}.items():
        parts.append(f' "{name}": [\n' + ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in rows) + "\n ]")
    out.write_text("{\n" + ",\n".join(parts) + "\n}\n")


main()
