"""Models of others: ONNX files, and weights in safetensors."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.slow.fuzz.base import SIDE
from tests.slow.fuzz.mutate_bytes import mutated_bytes
from tests.slow.fuzz.target import Target, as_json
from vegrt.photo.contract import Contract


def weights(base: Path) -> list[bytes]:
    """Return safetensors files."""
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray[Any, Any]] = {
        "conv.weight": np.zeros((2, 3, 3, 3), np.float32),
        "fc.bias": np.ones(4, np.float16),
    }
    return [save(tensors), save(tensors, {"format": "pt"}), save({})]


def damaged_weights(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Damage a safetensors file: mostly the JSON of its header, with its right length before it."""
    length = int.from_bytes(data[:8], "little")
    if draws.random() < 0.7 and 8 + length <= len(data):
        try:
            json.loads(data[8 : 8 + length])
        except ValueError:
            return mutated_bytes(data, corpus, draws)
        header = as_json(data[8 : 8 + length], [data], draws)
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    return mutated_bytes(data, corpus, draws)


def read_weights(data: bytes, folder: Path) -> str:
    """Read safetensors as the training does."""
    from vegrt.train.loop import weights as loop

    (folder / "x.safetensors").write_bytes(data)
    return str(len(loop.read_weights(folder / "x.safetensors")))


def read_onnx(data: bytes, folder: Path) -> str:
    """Read an ONNX classifier as the import does."""
    from vegrt.export.imported.onnx_file import read_imported

    (folder / "x.onnx").write_bytes(data)
    contract = Contract(SIDE, SIDE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return read_imported(folder / "x.onnx", 3, contract).layout


TARGETS = (
    Target("safetensors", weights, read_weights, damaged_weights, 2.0),
    Target("onnx", lambda base: [(base / "model.onnx").read_bytes()], read_onnx, weight=1.0, per_worker=5000),
)
