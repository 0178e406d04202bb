"""Writes tests/golden/parquet: small Parquet files as data sets come, and their rows as pyarrow reads them.

    python scripts/golden/parquet_rows.py [OUT]

  chat.{snappy,zstd,gzip,none}.parquet   messages (a list of structs), lists of lists, nulls, numbers of every width, dates, a binary
  plain.parquet                          the same rows by a writer with data pages of version 2, small pages and no dictionary
  rows.jsonl                             the rows
"""

import argparse
import base64
import datetime
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def row(i):
    turns = [{"role": "user", "content": f"问题 {i}: 2 + {i}? 😀"}, {"role": "assistant", "content": f"<think>\n{i}</think> {2 + i}" * (i % 5)}]
    return {
        "prompt": None if i % 7 == 3 else f"What is 2 + {i}?", "messages": None if i % 11 == 5 else turns[: 1 + i % 2], "answer": str(2 + i),
        "generations": [] if i % 4 == 0 else [f"a{i}", None, "b"], "correct": [[True, False], [], None] if i % 3 else None,
        "score": i / 8 if i % 5 else None, "small": i % 100, "large": 2**60 + i, "extra": {"source": "made", "depth": {"level": i % 3 if i % 2 else None}},
        "day": datetime.date(2025, 1, 1) + datetime.timedelta(days=i), "bytes": bytes([i % 256, 255, 0]),
    }


SCHEMA = pa.schema([
    ("prompt", pa.string()), ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))), ("answer", pa.string()),
    ("generations", pa.list_(pa.string())), ("correct", pa.list_(pa.list_(pa.bool_()))), ("score", pa.float64()), ("small", pa.int8()),
    ("large", pa.int64()), ("extra", pa.struct([("source", pa.string()), ("depth", pa.struct([("level", pa.int32())]))])), ("day", pa.date32()),
    ("bytes", pa.binary()),
])


def plain(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path(__file__).resolve().parents[2] / "tests/golden/parquet")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([row(i) for i in range(60)], schema=SCHEMA)
    for codec in ["snappy", "zstd", "gzip", "none"]:
        pq.write_table(table, out / f"chat.{codec}.parquet", compression=codec, row_group_size=25, store_schema=False)
    pq.write_table(table, out / "plain.parquet", compression="zstd", use_dictionary=False, data_page_version="2.0", data_page_size=200,
                   write_batch_size=7, store_schema=False, write_statistics=False)
    rows = pq.read_table(out / "chat.snappy.parquet").to_pylist()
    (out / "rows.jsonl").write_text("".join(json.dumps(plain(r), ensure_ascii=False, separators=(",", ":")) + "\n" for r in rows), encoding="utf-8")
    print(f"{len(rows)} rows, pyarrow {pa.__version__}")


if __name__ == "__main__":
    main()
