"""Writes Parquet files by pyarrow, and the JSON lines that pyarrow and Python's json make of them.

    python parquet.py OUT.parquet OUT.jsonl [ROWS]

Without ROWS, the few rows of tests/data: every kind of value that a dataset of texts holds. With ROWS, that many rows
of texts, lists and numbers, in row groups of 10,000.
"""

import datetime as dt
import json
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq

INNER = pa.struct([("role", pa.string()), ("content", pa.string())])

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("large", pa.large_string()),
        ("i8", pa.int8()),
        ("u64", pa.uint64()),
        ("i64", pa.int64()),
        ("f16", pa.float16()),
        ("f32", pa.float32()),
        ("f64", pa.float64()),
        ("yes", pa.bool_()),
        ("category", pa.dictionary(pa.int32(), pa.string())),
        ("messages", pa.list_(INNER)),
        ("deep", pa.struct([("scores", pa.list_(pa.float32())), ("tag", pa.string())])),
        ("nothing", pa.null()),
        ("day", pa.date32()),
        ("when", pa.timestamp("us")),
        ("utc", pa.timestamp("ms", tz="UTC")),
        ("paris", pa.timestamp("s", tz="Europe/Paris")),
        ('odd "name"\n', pa.string()),
    ]
)


def few():
    import numpy as np

    yield {
        "text": 'plain, "quoted", back\\slash, a/b\nand a new line\ttab \x01 \x7f',
        "large": "ünïcödé 漢字 🙂 \u2028 \u200b",
        "i8": -128,
        "u64": 2**64 - 1,
        "i64": -(2**63),
        "f16": np.float16(0.1),
        "f32": 0.1,
        "f64": 0.1,
        "yes": True,
        "category": "a",
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": None}],
        "deep": {"scores": [1.0, None, 2.5], "tag": "x"},
        "nothing": None,
        "day": dt.date(2024, 2, 29),
        "when": dt.datetime(2024, 2, 29, 12, 30, 15, 250000),
        "utc": dt.datetime(2024, 2, 29, 12, 30, 15, tzinfo=dt.timezone.utc),
        "paris": dt.datetime(2024, 7, 1, 12, 0, 0, tzinfo=dt.timezone.utc),
        'odd "name"\n': "",
    }
    yield {name: "-" if name == "text" else None for name in SCHEMA.names}
    yield {
        "text": "",
        "large": "x" * 300,
        "i8": 0,
        "u64": 0,
        "i64": 9007199254740993,
        "f16": np.float16(65504),
        "f32": 3.4028234663852886e38,
        "f64": 1e-300,
        "yes": False,
        "category": "b",
        "messages": [],
        "deep": {"scores": [], "tag": None},
        "nothing": None,
        'odd "name"\n': "{}",
    }
    yield {
        "text": "e\u0301 \u202e",
        "f32": 1e-10,
        "f64": 123456789012345680.0,
        "category": "a",
        "messages": [None],
        "deep": None,
    }


def many(rows):
    pick = random.Random(1)
    words = ["Arr", "sea", "ünï", "漢字", "🙂", '"', "\\", "\n", " ", "a/b"]
    for i in range(rows):
        text = "".join(pick.choices(words, k=pick.randrange(30)))
        yield {
            "text": text or "-",
            "i64": i,
            "f32": pick.random(),
            "f64": pick.gauss(0, 1e6),
            "yes": pick.choice([True, False, None]),
            "messages": [{"role": "user", "content": text[:k]} for k in range(pick.randrange(3))],
            "deep": pick.choice([None, {"scores": [pick.random()], "tag": text[:2]}]),
        }


def plain(value):
    """What JSON has no kind for: times as RFC 3339 writes them, in UTC, and numpy's floats as numbers."""
    if isinstance(value, dt.datetime) and value.tzinfo:
        value = value.astimezone(dt.timezone.utc)
    if isinstance(value, dt.datetime) and value.microsecond:
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, dt.date):
        return value.isoformat().replace("+00:00", "Z")
    return float(value)


def main():
    parquet, lines, *rows = sys.argv[1:]
    table = pa.Table.from_pylist(list(many(int(rows[0])) if rows else few()), schema=SCHEMA)
    pq.write_table(table, parquet, row_group_size=10_000 if rows else 2)
    with open(lines, "w", encoding="utf-8") as out:
        for row in pq.read_table(parquet).to_pylist():
            out.write(json.dumps(row, ensure_ascii=False, default=plain) + "\n")


main()
