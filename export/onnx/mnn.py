"""fp32.mnn: the float32 graph in MNN's own format, written by the converter of MNN's package."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.export.onnx.parity import FP32, Evidence, check_parity
from vegrt.files.temporary import working_folder
from vegrt.infer.runtimes.host import is_installed
from vegrt.infer.runtimes.mnn import open_mnn
from vegrt.infer.runtimes.mnn_converter import convert_to_mnn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MnnModel:
    """The bytes of fp32.mnn, and its parity with fp32.onnx as JSON values."""

    content: bytes
    parity: dict[str, Any]


def mnn_of(bundle: Bundle, source: bytes) -> MnnModel | None:
    """Return the bundle's own MNN file if it was made of the float32 graph `source`; None otherwise.

    A file that is converted again differs: the converter writes a random identifier into it (3.6). Results would be deleted.
    """
    if not bundle.has("mnn") or bundle.artifact("model", "fp32").sha256 != hashlib.sha256(source).hexdigest():
        return None
    return MnnModel(bundle.file("mnn", "fp32").read_bytes(), bundle.artifact("mnn", "fp32").details["parity"])


def make_mnn(source: bytes, evidence: Evidence, reference: NDArray[np.float32]) -> MnnModel | None:
    """Return the MNN file of the float32 graph `source`. reference: that graph's (N, K) logits on the evidence.

    Returns None where MNN is not installed, and, with a warning, where it cannot convert the graph or fails the parity of
    fp32.onnx: no other artifact depends on this one.
    """
    if not is_installed("mnn"):
        return None
    try:
        with working_folder("mnn") as folder:
            file = convert_to_mnn(source, folder)
            content, parity = file.read_bytes(), evidence.measure(reference, open_mnn(file, classes=reference.shape[1]))
        return MnnModel(content, check_parity("fp32.mnn", parity, FP32, evidence, b"").to_dict())
    except VegrtError as error:
        log.warning("%s; the bundle has no fp32.mnn", str(error).removesuffix("; nothing was written"))
        return None
