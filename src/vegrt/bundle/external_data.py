"""Detects whether a model reads other files, which a bundle's manifest would not cover.

In an ONNX file the bytes tell; field numbers are those of onnx.proto3. MNN looks for a file by its name alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from vegrt.errors import BundleError
from vegrt.protobuf import fields, mapped

# The messages nested in each message, by field number. Tensors may have external data.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of TensorProto
_OP_TYPE = 4  # of NodeProto
_CONTEXT = b"EPContext"  # ONNX Runtime's operator that reads a compiled model from a named file
_NEEDLES = (b"location", _CONTEXT)  # a file without these words does not refer to another file


_MNN_WEIGHTS = ".weight"  # MNN 3.6.1 reads the weights that a model leaves out from its own name with this suffix


def check_no_weight_file(file: Path) -> None:
    """Raise BundleError if there is a file next to an MNN model that MNN would read weights from."""
    other = file.with_name(f"{file.name}{_MNN_WEIGHTS}")
    if os.path.lexists(other):
        raise BundleError(
            f"{other}: MNN would read weights from it, which the manifest does not cover; delete it, or export again"
        )


def check_self_contained(file: Path) -> None:
    """Raise BundleError if an ONNX file of a bundle has external data, or is too damaged to check."""
    try:
        content = mapped(file)
        if all(content.find(word) < 0 for word in _NEEDLES):
            return
        external = _reads_other_files(memoryview(content))
    except OSError as error:
        raise BundleError(f"{file}: cannot be read ({error.strerror}); make it readable") from error
    except ValueError as error:
        raise BundleError(f"{file}: not an ONNX file ({error}); restore it or export again") from error
    if external:
        raise BundleError(f"{file}: reads another file, which the manifest does not cover; export it again as one file")


def _reads_other_files(model: memoryview) -> bool:
    waiting: list[tuple[str, memoryview]] = [("model", model)]
    while waiting:
        kind, message = waiting.pop()
        for number, value in fields(message):
            if kind == "tensor" and number in (_EXTERNAL_DATA, _DATA_LOCATION) and value != 0:
                return True
            if isinstance(value, int):
                continue
            if kind == "node" and number == _OP_TYPE and value == _CONTEXT:
                return True
            if inside := _INSIDE.get(kind, {}).get(number):
                waiting.append((inside, value))
    return False
