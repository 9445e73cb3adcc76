"""Whether an ONNX file reads other files, from its bytes: a bundle's manifest covers whole files, so its models may not.

Field numbers are those of onnx.proto3; wire format: protobuf.dev/programming-guides/encoding. What a runtime might read in
another way than we do (groups, overlong numbers) is refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from vegrt.errors import BundleError

# Which fields of a message hold which messages. Tensors are where data may be external.
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
_CONTEXT = b"EPContext"  # ONNX Runtime's operator that reads a compiled model from a file that it names
_NEEDLES = (b"location", _CONTEXT)  # without one of these words nothing outside can be named


def check_self_contained(file: Path) -> None:
    """Raise BundleError when an ONNX file of a bundle names external data, or is no ONNX file that says whether it does."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if all(content.find(word) < 0 for word in _NEEDLES):
                return
            with memoryview(content) as view:
                external = _reads_others(view)
    except OSError as error:
        raise BundleError(f"{file}: cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, IndexError) as error:  # an empty file is a ValueError of mmap
        raise BundleError(f"{file}: not an ONNX file ({error}); restore it or export again") from error
    if external:
        raise BundleError(
            f"{file}: reads another file, which no line of the manifest covers; export it again, with all of it in one file"
        )


def _reads_others(model: memoryview) -> bool:
    waiting: list[tuple[str, memoryview]] = [("model", model)]
    while waiting:
        kind, message = waiting.pop()
        for number, value in _fields(message):
            if kind == "tensor" and number in (_EXTERNAL_DATA, _DATA_LOCATION) and value != 0:
                return True
            if isinstance(value, int):
                continue
            if kind == "node" and number == _OP_TYPE and value == _CONTEXT:
                return True
            if inside := _INSIDE.get(kind, {}).get(number):
                waiting.append((inside, value))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield number and value of each field: bytes or a number."""
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        number, kind = (key & 0xFFFFFFFF) >> 3, key & 7
        if kind == 0:
            value, place = _number(message, place)
            yield number, value
        elif kind == 2:
            size, place = _number(message, place)
            if size > len(message) - place:
                raise ValueError("it ends too early")
            yield number, message[place : place + size]
            place += size
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _number(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than ten bytes")
