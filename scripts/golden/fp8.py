"""Writes tests/golden/fp8.json: FP8 block weights dequantized by torch and transformers.

    python scripts/golden/fp8.py [OUT]

  codes     all 256 bytes of torch.float8_e4m3fn as f32 bit patterns (NaN as null)
  matrices  a matrix whose bytes and block scales follow a rule (below), dequantized by transformers' Fp8Dequantize for whole blocks, and
            by torch's own conversion with every scale repeated over its block where the last blocks are cut short (transformers' converter
            wants whole ones): the SHA-256 of the f32 values, little-endian and row-major, and some of them

The rule: byte i of a matrix is (151 i + i // 256 * 57 + 3) mod 256, NaN's two codes replaced by 0x3f; scale j is 2^((37 j) mod 9 - 6) (1 + ((101 j) mod 1024) / 1024).
"""

import argparse
import hashlib
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

BLOCK = 128


def byte(i):
    value = (151 * i + i // 256 * 57 + 3) % 256
    return 0x3F if value in (0x7F, 0xFF) else value


def scale(j):
    return 2.0 ** ((37 * j) % 9 - 6) * (1 + ((101 * j) % 1024) / 1024)


def matrix(rows, columns):
    across = [-(-rows // BLOCK), -(-columns // BLOCK)]
    weight = torch.tensor([byte(i) for i in range(rows * columns)], dtype=torch.uint8).view(torch.float8_e4m3fn).reshape(rows, columns)
    scales = torch.tensor([scale(j) for j in range(across[0] * across[1])], dtype=torch.float32).reshape(across)
    by = "torch"
    values = weight.to(torch.float32) * scales.repeat_interleave(BLOCK, 0)[:rows].repeat_interleave(BLOCK, 1)[:, :columns]
    if rows % BLOCK == 0 and columns % BLOCK == 0:
        by = "transformers"
        theirs = Fp8Dequantize(None)._dequantize_one(weight, scales, torch.float32)
        assert torch.equal(theirs, values)
        values = theirs
    data = values.contiguous().numpy().astype("<f4").tobytes()
    places = [(i * 7919) % (rows * columns) for i in range(40)]
    return dict(rows=rows, columns=columns, by=by, sha256=hashlib.sha256(data).hexdigest(), places=places,
                values=[values.flatten()[p].item() for p in places])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).resolve().parents[2] / "tests/golden/fp8.json")
    out = parser.parse_args().out
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).to(torch.float32)
    golden = dict(
        recipe=dict(command="python scripts/golden/fp8.py", torch=torch.__version__.split("+")[0], transformers=transformers.__version__),
        codes=[None if v != v else v for v in codes.tolist()],
        matrices=[matrix(*shape) for shape in [(256, 384), (128, 128), (200, 300), (1, 129), (129, 1), (300, 128)]])
    out.write_text(json.dumps(golden, separators=(",", ":")).replace('},{"rows"', '},\n{"rows"') + "\n")
    print([(m["rows"], m["columns"], m["by"]) for m in golden["matrices"]])


if __name__ == "__main__":
    main()
