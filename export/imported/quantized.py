"""Quantized ONNX classifiers that vegrt did not make: variants of a bundle, judged against its fp32 like all others.

They need no parity with fp32, because `vegrt evaluate` decides how much accuracy they lose; here only what makes that comparison
pointless is refused: another interface, or answers that have nothing to do with those of fp32 (docs/decisions/0035).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import IMPORTED_INT8
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.errors import ModelError, VegrtError
from vegrt.evaluate.diagnose import explain_difference, no_better_than_chance, try_explain
from vegrt.evaluate.figures import LabelledAnswers
from vegrt.export.imported.convert import convert_quantized
from vegrt.export.imported.onnx_file import check_dynamic_batch, read_imported
from vegrt.export.imported.operators import has_half_weights, quantized_form
from vegrt.export.onnx.parity import Evidence
from vegrt.infer.runtimes.host import is_installed
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime
from vegrt.infer.runtimes.openvino.runner import needs_float, open_openvino

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """A quantized classifier in the form of a bundle. source: bytes of its ONNX file. details: of its entry in the manifest.

    subject: its name in messages.
    """

    variant: str
    subject: str
    source: bytes
    details: dict[str, Any]


def read_quantized(bundle: Bundle, files: Sequence[Path]) -> list[QuantizedModel]:
    """Return the quantized models of a bundle: those in `files`, else those that it holds already.

    The first one is the variant `int8-imported`, the second one `int8-imported-2`, and so on. Raises ModelError for a file that
    is not quantized to 8 bits, or has another input or number of classes than the bundle.
    """
    if not files:
        return [
            QuantizedModel(
                artifact.variant, artifact.path, bundle.file("model", artifact.variant).read_bytes(), artifact.details
            )
            for artifact in bundle.manifest.artifacts
            if artifact.role == "model" and artifact.variant.startswith(IMPORTED_INT8)
        ]
    names = [IMPORTED_INT8, *(f"{IMPORTED_INT8}-{number}" for number in range(2, len(files) + 1))]
    return [_converted(bundle, variant, file) for variant, file in zip(names, files, strict=True)]


def compare_quantized(
    models: Sequence[QuantizedModel], evidence: Evidence, reference: NDArray[np.float32], *, untrained: bool = False
) -> list[QuantizedModel]:
    """Return the models with the runtimes that run them, and their parity with the (N, K) logits of fp32, among their details.

    Raises ModelError for one whose answers are not finite, or agree with those of fp32 no better than chance; the latter is a
    warning if fp32 is untrained.
    """
    return [_compared(model, evidence, reference, untrained=untrained) for model in models]


def _converted(bundle: Bundle, variant: str, file: Path) -> QuantizedModel:
    manifest = bundle.manifest
    classes, contract = manifest.classes, manifest.contract
    output = str(bundle.artifact("source").details.get("output", "")) if bundle.has("source") else ""
    imported = read_imported(file, len(classes), contract, output, quantized=True)
    source = serialize(convert_quantized(imported, classes, contract), check=False)  # ONNX Runtime decides: see below
    check_dynamic_batch(source, imported.subject, contract, len(classes))
    form = quantized_form(imported.proto)
    if form == "dynamic":
        log.warning(
            "%s: quantized dynamically: ranges are those of each batch, so an answer depends on the other photos in it",
            file,
        )
    details = {
        "onnx": file.name,
        "onnx_sha256": imported.sha256,
        "producer": imported.proto.producer_name or "unknown",
        "opset": imported.opset,
        "form": form,
        "float": "float16" if has_half_weights(imported.proto) else "float32",
    }
    return QuantizedModel(variant, str(file), source, details)


def _compared(
    model: QuantizedModel, evidence: Evidence, reference: NDArray[np.float32], *, untrained: bool
) -> QuantizedModel:
    runner = open_onnxruntime(model.source, float16=model.details.get("float") == "float16", subject=model.subject)
    parity, logits = evidence.compare(reference, runner)
    if bad_rows := np.flatnonzero(~np.isfinite(logits).all(axis=1)).tolist():
        raise ModelError(
            f"{model.subject}: answers NaN or infinity to {len(bad_rows)} of {len(logits)} photos, such as "
            f"{evidence.photos[bad_rows[0]].path}; quantize it again; nothing was written"
        )
    agreement = LabelledAnswers.of(logits, reference.argmax(axis=1))
    if not agreement.right.all() and no_better_than_chance(agreement.confusion()):
        classes = evidence.bundle.manifest.classes
        cause = try_explain(lambda: explain_difference(reference, runner, evidence.images, classes))
        words = (
            f"{model.subject}: agrees with fp32 on {agreement.right.sum()} of {len(logits)} photos, no better than chance; "
            f"{cause or 'check that it was made from that model, with the same class order, mean and std'}"
        )
        if not untrained:
            raise ModelError(f"{words}; nothing was written")
        log.warning("%s", words)
    measured = {"parity": parity.to_dict(), "reference": "fp32", "runtimes": _runtimes(model, evidence)}
    return replace(model, details=model.details | measured)


def _runtimes(model: QuantizedModel, evidence: Evidence) -> list[str]:
    """Return the runtimes on a CPU that run a model: ONNX Runtime does. OpenVINO lacks some operators of ONNX Runtime's own."""
    if not is_installed("openvino"):
        return ["onnxruntime"]
    classes = len(evidence.bundle.manifest.classes)
    try:
        open_openvino(model.source, in_float=needs_float(model.variant), classes=classes).logits(evidence.images[:2])
    except VegrtError as error:
        log.warning("%s: OpenVINO cannot run it, so it is a candidate on ONNX Runtime only", model.subject)
        log.debug("%s", error)
        return ["onnxruntime"]
    return ["onnxruntime", "openvino"]
