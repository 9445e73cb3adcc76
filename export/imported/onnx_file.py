"""An imported ONNX classifier: its interface, and a runner of the unchanged file.

The runner is the reference of the bundle, so it shares nothing with the graph that vegrt converts the file to: pixels are
normalised outside of the graph, in numpy.
"""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.inliner import inline_local_functions

from vegrt.calibration.graph.onnx_graph import element_type_text
from vegrt.errors import ModelError, reason_of
from vegrt.export.imported.external_data import embed, external_tensors
from vegrt.export.imported.head import choose_output, find_logits, listed_values, shape_text
from vegrt.export.imported.operators import check_float32, check_quantized
from vegrt.files.hashing import sha256_of
from vegrt.infer.runtimes.onnxruntime.session import open_session
from vegrt.infer.runtimes.runner import RuntimeName
from vegrt.photo.contract import LUMA, Contract, NetworkColor

Layout = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True)
class ImportedModel:
    """An imported ONNX classifier whose interface was checked.

    subject: its name in messages. images: its input. batch: the only batch size that it accepts; 0 for any.
    logits: the tensor of the class scores: its output, or the input of the Softmax at its end. embedded: the file with the data
    from other files put into it; empty if there are none. sha256: of `embedded`, or of the file itself.
    """

    subject: str
    sha256: str
    proto: onnx.ModelProto
    images: str
    layout: Layout
    batch: int
    logits: str
    embedded: bytes = b""

    @property
    def opset(self) -> int:
        """Return the file's version of the standard operators."""
        return max((entry.version for entry in self.proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)


class ImportedRunner:
    """The imported file in ONNX Runtime, on pixels normalised outside of the graph."""

    runtime: RuntimeName = "onnxruntime"
    device = "cpu"

    def __init__(self, imported: ImportedModel, contract: Contract) -> None:
        self._imported = imported
        self._normalise_by(contract)
        proto = onnx.ModelProto()
        proto.CopyFrom(imported.proto)
        if imported.logits not in {value.name for value in proto.graph.output}:
            proto.graph.output.append(onnx.ValueInfoProto(name=imported.logits))
        self._session = open_session(proto.SerializeToString())

    def with_contract(self, contract: Contract) -> ImportedRunner:
        """Return a runner with another normalisation, which shares the session."""
        runner = copy(self)
        runner._normalise_by(contract)
        return runner

    def _normalise_by(self, contract: Contract) -> None:
        self._color = contract.network_color
        mean, std = (values[::-1] if self._color == "BGR" else values for values in (contract.mean, contract.std))
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, K) float32 class scores for (N, H, W, 3) uint8 RGB images. Raises ModelError when it cannot run."""
        step = self._imported.batch or max(1, len(images))
        parts = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        return np.concatenate(parts)

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        missing = max(0, self._imported.batch - len(images))
        padded = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
        channels = _network_channels(padded, self._color)  # (N, H, W, C)
        pixels = (channels / 255 - self._mean) / self._std
        batch = pixels.transpose(0, 3, 1, 2) if self._imported.layout == "NCHW" else pixels
        logits = run_session(self._session, self._imported.subject, self._imported.logits, self._imported.images, batch)
        return logits[: len(images)]


def _network_channels(images: NDArray[np.uint8], color: NetworkColor) -> NDArray[np.float32]:
    """Return (N, H, W, C) float32 in the order of the network's channels. Images for a grey network have three equal ones."""
    pixels = images.astype(np.float32)
    if color == "L":
        return (pixels @ np.array(LUMA, np.float32))[..., None]
    return pixels[..., ::-1] if color == "BGR" else pixels


def run_session(session: Any, subject: str, output: str, name: str, batch: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return one output of an ONNX Runtime session for its only input. Raises ModelError when it cannot run."""
    try:
        result: NDArray[np.float32] = session.run([output], {name: np.ascontiguousarray(batch)})[0]
    except Exception as error:  # its exceptions have no common base class but Exception
        reason = reason_of(error)
        raise ModelError(f"{subject}: ONNX Runtime cannot run it on {batch.shape} {batch.dtype} ({reason})") from error
    return result


def check_dynamic_batch(model: bytes, subject: str, contract: Contract, num_classes: int) -> None:
    """Raise ModelError unless a converted graph gives (N, K) scores for any number of images N. model: of an ONNX file."""
    session = open_session(model)
    for count in (1, 2, 3):
        images = np.zeros((count, *contract.shape), np.uint8)
        try:
            shape = run_session(session, subject, "logits", "images", images).shape
        except ModelError as error:
            raise ModelError(f"{error}; its batch size is fixed: export it with a dynamic batch") from error
        if shape != (count, num_classes):
            raise ModelError(
                f"{subject}: scores {shape} for {count} images, its batch size is fixed: export it with a dynamic batch"
            )


def read_imported(
    file: Path, num_classes: int, contract: Contract, output: str = "", *, quantized: bool = False
) -> ImportedModel:
    """Return the ONNX classifier in a file: one image input, one score per class.

    output: the name of the scores in a file with several outputs; the others are left out. Empty for a file with one output.
    quantized: expect a model in 8 bits, else one in float32.
    Raises ModelError for any other file, in one line that says what was found and what was expected.
    """
    subject = str(file)
    proto, embedded = _load(file, subject)
    choose_output(proto.graph, output, subject)
    (check_quantized if quantized else check_float32)(proto, subject)
    images, layout, batch = _image_input(proto.graph, subject, contract)
    sha256 = hashlib.sha256(embedded).hexdigest() if embedded else sha256_of(file)
    imported = ImportedModel(subject, sha256, proto, images, layout, batch, find_logits(proto.graph, subject), embedded)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (batch or 2, *contract.shape), np.uint8)
    scores = ImportedRunner(imported, contract).logits(pixels)
    _check_scores(scores, len(pixels), subject)
    if (count := scores.shape[1]) != num_classes:
        expected = (
            f"fp32 gives {num_classes}" if quantized else f"--classes lists {num_classes}; expected one name per score"
        )
        raise ModelError(f"{subject}: gives {count} scores per image, {expected}")
    if not np.isfinite(scores).all():
        raise ModelError(f"{subject}: gives NaN or infinity for random pixels{_broken_weights(proto)}; export it again")
    return imported


def input_shape(file: Path) -> tuple[int, int, int]:
    """Return channels, height and width of a file's image input; 0 for a size that the graph leaves open.

    Raises ModelError unless it has one input with one or three channels.
    """
    proto, _ = _load(file, str(file))
    graph = proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    shape = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if len(shape) == 4:
        for sides, channels in ((shape[2:], shape[1]), (shape[1:3], shape[3])):
            if channels in (1, 3):
                return channels, sides[0], sides[1]
    raise ModelError(
        f"{file}: inputs {listed_values(inputs)}; expected one image, (N, C, H, W) or (N, H, W, C) with 1 or 3 channels"
    )


def _load(file: Path, subject: str) -> tuple[onnx.ModelProto, bytes]:
    """Return the model with all its data, and its bytes with the data from other files in it; empty bytes if there are none."""
    if not file.is_file():
        raise ModelError(f"{subject}: no such file; expected an ONNX model of an image classifier")
    try:
        proto = onnx.load(file, load_external_data=False)
        outside = external_tensors(proto)
        embed(outside, file)
        embedded: bytes = proto.SerializeToString(deterministic=True) if outside else b""
        onnx.checker.check_model(proto)
        return inline_local_functions(proto) if proto.functions else proto, embedded
    except ModelError:
        raise
    except Exception as error:  # protobuf's and the checker's exceptions have no common base class
        reason = reason_of(error)
        raise ModelError(f"{subject}: not a readable ONNX model ({reason})") from error


def _broken_weights(proto: onnx.ModelProto) -> str:
    """Return the weights that contain NaN, in words; nothing when there are none."""
    floats = [tensor for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    broken = [tensor.name for tensor in floats if np.isnan(onnx.numpy_helper.to_array(tensor)).any()]
    return f", its {', '.join(broken[:4])} contain{'s' if len(broken) == 1 else ''} NaN" if broken else ""


def _image_input(graph: onnx.GraphProto, subject: str, contract: Contract) -> tuple[str, Layout, int]:
    """Return name, layout and fixed batch size (0: dynamic) of the only input."""
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ModelError(f"{subject}: inputs {listed_values(inputs)}; expected one, the image")
    kind = inputs[0].type.tensor_type
    shape = [dim.dim_value for dim in kind.shape.dim]  # 0 for a dynamic size
    actual = f"input {inputs[0].name} is {element_type_text(kind.elem_type)} {shape_text(kind)}"
    channels, sides = contract.channels, (contract.height, contract.width)
    expected = f"float32 (N, {channels}, {sides[0]}, {sides[1]}) or (N, {sides[0]}, {sides[1]}, {channels})"
    if kind.elem_type != onnx.TensorProto.FLOAT or len(shape) != 4 or channels not in (shape[1], shape[3]):
        grey = "; for a grey network: network_color = 'L'" if len(shape) == 4 and 1 in (shape[1], shape[3]) else ""
        raise ModelError(f"{subject}: {actual}; expected normalised pixels, {expected}{grey}")
    layout: Layout = "NCHW" if shape[1] == channels else "NHWC"
    given = shape[2:] if layout == "NCHW" else shape[1:3]
    if any(side not in (0, wanted) for side, wanted in zip(given, sides, strict=True)):
        raise ModelError(f"{subject}: {actual}, the contract's size is {contract.size}; expected {expected}")
    return inputs[0].name, layout, shape[0]


def _check_scores(scores: NDArray[np.float32], images: int, subject: str) -> None:
    if scores.ndim != 2 or len(scores) != images or scores.dtype != np.float32:
        raise ModelError(
            f"{subject}: gives {scores.dtype} {scores.shape} for {images} image(s); expected float32 (N, K)"
        )
    if scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
        raise ModelError(f"{subject}: gives probabilities, without a Softmax at its end; export its logits")
