"""External data of an ONNX model, which torch's exporter writes to other files: checked, read and put into the model.

The model names these files, and it may come from anyone. Only regular files in the model's own folder are opened, and only as
many bytes are read as the tensor has.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from vegrt.errors import ModelError
from vegrt.files.descriptors import open_unlinked

_TYPES = "FLOAT FLOAT16 BFLOAT16 DOUBLE INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 BOOL"
_WHOLE_BYTES = frozenset(onnx.TensorProto.DataType.Value(name) for name in _TYPES.split())
LARGEST_BYTES = 2**31 - 2**20  # a protobuf message is limited to 2 GiB, and the graph needs a part of it


def external_tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Return all tensors of a model, nested graphs and functions included, whose data is in other files."""
    functions = (node for function in proto.functions for node in function.node)
    tensors = [*_tensors_of_graph(proto.graph), *(tensor for node in functions for tensor in _tensors_of_node(node))]
    return [tensor for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL]


def embed(tensors: Sequence[onnx.TensorProto], file: Path) -> None:
    """Read the data of external tensors of the model `file` into them.

    Raises ModelError for a file outside of the model's folder, for one that is not regular or too short, and beyond 2 GiB in all.
    """
    sizes = [_size_bytes(tensor, file) for tensor in tensors]
    if (total := sum(sizes)) > LARGEST_BYTES:
        raise ModelError(
            f"{file}: {total / 2**30:.1f} GiB of data in other files; a self-contained ONNX file is limited to 2 GiB"
        )
    for tensor, size in zip(tensors, sizes, strict=True):
        tensor.raw_data = _read(tensor, size, file)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT


def _size_bytes(tensor: onnx.TensorProto, file: Path) -> int:
    """Return the size of the tensor's data, from its shape and type."""
    if tensor.data_type not in _WHOLE_BYTES or any(size < 0 for size in tensor.dims):
        kind = f"type {tensor.data_type}, shape {list(tensor.dims)}"
        raise ModelError(
            f"{file}: {tensor.name}: {kind} in another file; expected numbers of whole bytes; export it again"
        )
    size_bytes: int = prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return size_bytes


def _read(tensor: onnx.TensorProto, size: int, file: Path) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    name, subject = entries.get("location", ""), f"{file}: the data of {tensor.name}"
    if (
        not name
        or name in (".", "..")
        or "\0" in name
        or PurePosixPath(name).name != name
        or PureWindowsPath(name).name != name
    ):
        raise ModelError(f"{subject} is in {name!r}; expected the name of a file in the model's folder; refused")
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or size)
    except ValueError as error:
        raise ModelError(
            f"{subject}: its offset or length in {name} is not a number ({error}); export it again"
        ) from error
    if offset < 0 or length != size:
        raise ModelError(
            f"{subject}: {length} bytes at {offset} in {name}; expected {size} for its shape; export it again"
        )
    data = _bytes_at(file.parent / name, offset, size, subject)
    if len(data) != size:
        raise ModelError(
            f"{subject}: {name} ends after {len(data)} of its {size} bytes; copy the whole file into the model's folder"
        )
    return data


def _bytes_at(path: Path, offset: int, size: int, subject: str) -> bytes:
    try:
        descriptor = open_unlinked(path)
    except OSError as error:
        reason = "a link" if path.is_symlink() else error.strerror
        raise ModelError(f"{subject} is in {path} ({reason}); copy that file into the model's folder") from error
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ModelError(f"{subject} is in {path}, which is not a regular file; refused")
        if os.fstat(descriptor).st_size < offset + size:  # before memory is allocated for it
            return b""
        opened.seek(offset)
        return opened.read(size)


def _tensors_of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _tensors_of_node(node)


def _tensors_of_node(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield from (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors)
        for sparse in (
            *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else ()),
            *attribute.sparse_tensors,
        ):
            yield from (sparse.values, sparse.indices)
        for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            yield from _tensors_of_graph(graph)
