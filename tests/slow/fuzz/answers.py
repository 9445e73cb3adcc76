"""Answers files of other devices: CSV, JSON Lines, Parquet and .npz."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.slow.fuzz.archives import NO_ARCHIVE, damaged_member
from tests.slow.fuzz.mutate_bytes import mutated_bytes
from tests.slow.fuzz.target import Target, as_lines
from vegrt.evaluate.device.formats import read_rows

CLASSES = ("Beet", "Cress", "Eggplant")
_CSV = (
    b"photo,logit_0,logit_1,logit_2,latency_ms\nBeet/000.jpg,4.125,-1.5,0.25,7.9\nCress/001.jpg,-2.0,3.5,0.125,8.1\n",
    b"photo,label,probability,label_2,probability_2\nBeet/000.jpg,Beet,0.9,Cress,0.05\nCress/001.jpg,1,0.8,2,0.1\n",
    b'path,sha256,probability:Beet,probability:Cress,probability:Eggplant,error\n"a,b",'
    + b"0" * 64
    + b",0.5,0.25,0.25,\n",
)
_JSON_LINES = (
    b'{"classes": ["Eggplant", "Cress", "Beet"]}\n{"photo": "Beet/000.jpg", "logits": [0.25, -1.5, 4.125], "latency_ms": 7.9}\n',
    b'{"photo": "a", "logits": {"Beet": 4.0, "Cress": -1.25, "Eggplant": 0.5}}\n{"photo": "b", "error": "no"}\n',
    b'{"path": "a", "label": "Beet", "top_k": [{"label": "Beet", "probability": 0.9}, {"label": "Cress", "probability": 0.1}]}\n',
)


def _columns() -> dict[str, Any]:
    logits = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    return {"photo": np.array([f"Beet/{n:03d}.jpg" for n in range(8)]), "logits": logits, "latency_ms": np.ones(8)}


def arrays(base: Path) -> list[bytes]:
    """Return .npz files."""
    whole, packed, labels = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(whole, **_columns())
    np.savez_compressed(packed, classes=np.array(CLASSES[::-1]), **_columns())
    np.savez(labels, photo=np.array(["a", "b"]), label=np.array([0, 2]), images_per_s=np.array(12.5))
    return [buffer.getvalue() for buffer in (whole, packed, labels)]


def tables(base: Path) -> list[bytes]:
    """Return Parquet files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: values.tolist() for name, values in _columns().items()}
    flat = {"photo": columns["photo"], "label": ["Beet"] * 8}
    tables = []
    for values, compression in ((columns, "none"), (columns, "zstd"), (flat, "snappy")):
        buffer = io.BytesIO()
        pq.write_table(pa.table(values), buffer, compression=compression)
        tables.append(buffer.getvalue())
    return tables


def damaged_arrays(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Damage an .npz file: mostly an array inside, with right checksums around it."""
    if draws.random() < 0.7:
        try:
            return damaged_member(data, corpus, draws)
        except NO_ARCHIVE:
            pass
    return mutated_bytes(data, corpus, draws)


class Answers:
    """Reads an answers file with a suffix."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix

    def __call__(self, data: bytes, folder: Path) -> str:
        """Read all rows."""
        file = folder / f"answers{self.suffix}"
        file.write_bytes(data)
        return str(sum(1 for _ in read_rows(file, CLASSES, 8)))


TARGETS = (
    Target("answers-csv", lambda base: _CSV, Answers(".csv"), as_lines, 2.0),
    Target("answers-jsonl", lambda base: _JSON_LINES, Answers(".jsonl"), as_lines, 2.0),
    Target("answers-npz", arrays, Answers(".npz"), damaged_arrays, 1.5),
    Target("answers-parquet", tables, Answers(".parquet"), weight=1.5),
)
