"""Writes tests/golden/gguf/types.json: blocks of every element type of GGUF that is read here, and the values in them.

    python scripts/golden/gguf_types.py [OUT]        # OUT defaults to tests/golden/gguf/types.json

The values are those of llama.cpp's own Python package `gguf`. Types that it can write are made from drawn values; blocks of
the others are drawn bytes whose f16 scales are finite. `types[]`: `name`, `type` (llama.cpp's number), `bytes` (hex), `values`
(512 of them, f32).
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

COUNT = 512
WRITTEN = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
# type -> where its blocks have f16 numbers
DRAWN = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "tests/golden/gguf/types.json"
    draw = np.random.default_rng(5)
    values = (draw.standard_normal(COUNT) * np.repeat([0.01, 1.0, 30.0, 0.3], COUNT // 4)).astype(np.float32)
    types = []
    for name in WRITTEN:
        kind = gguf.GGMLQuantizationType[name]
        types.append((name, kind, quantize(values, kind)))
    for name, halves in DRAWN.items():
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        raw = draw.integers(0, 256, (COUNT // block, size), dtype=np.uint8)
        for at in halves:
            scale = (draw.standard_normal(len(raw)) * 0.05).astype(np.float16)
            raw[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
        types.append((name, kind, raw.reshape(-1)))
    rows = []
    for name, kind, raw in types:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        data = np.ascontiguousarray(raw).view(np.uint8).reshape(-1)
        assert data.size == COUNT // block * size
        found = dequantize(data, kind).astype(np.float32).reshape(-1)
        assert found.size == COUNT and np.isfinite(found).all()
        rows.append(dict(name=name, type=int(kind), bytes=data.tobytes().hex(), values=[float(x) for x in found]))
    lines = ",\n".join(json.dumps(row) for row in rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(f'{{"gguf": "{gguf.__version__ if hasattr(gguf, "__version__") else "0.19.0"}", "types": [\n{lines}\n]}}\n')
    print(f"{out}: {len(rows)} types")


if __name__ == "__main__":
    main()
