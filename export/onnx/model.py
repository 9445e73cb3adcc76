"""From a checkpoint to an ONNX graph with the contract in it and a dynamic batch, by the first of torch's exporters that passes.

The newer exporter is known to write wrong graphs of ResNets (pytorch issues 166797, 168224, 169178), so the older one is the
fallback.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import onnx_ir as ir
import torch
from torch import Tensor, nn

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.graph.check import HALF_SCALES_OPSET
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.errors import ModelError, reason_of
from vegrt.export.engines.options import OPSET
from vegrt.export.onnx.deployed import deployed
from vegrt.export.onnx.tidy import tidy
from vegrt.infer.runtimes.logits import Parity
from vegrt.networks import WithPreprocessing, load_network
from vegrt.photo.contract import Contract

log = logging.getLogger(__name__)

IR_VERSION = 10  # the version that torch's newer exporter writes

Exporter = Literal["torch.export", "torchscript"]
EXPORTERS: tuple[Exporter, ...] = get_args(Exporter)  # in the order in which they are tried


@dataclass(frozen=True, slots=True)
class Exported:
    """A graph that passed the gate. dropped: exporters that were tried before, each with the reason why it failed."""

    model: ir.Model
    source: bytes
    parity: Parity
    exporter: Exporter
    dropped: dict[str, str]

    def details(self) -> dict[str, Any]:
        """Return the manifest's details about the exporter."""
        return {"exporter": self.exporter, "dropped_exporters": self.dropped, "opset": self.model.opset_imports[""]}


def check_opset(opset: int) -> None:
    """Raise ModelError for an opset that the variants cannot have, or that the installed onnx does not support."""
    import onnx

    if opset > (newest := onnx.defs.onnx_opset_version()):
        raise ModelError(
            f"--opset {opset}: onnx {onnx.__version__} supports up to {newest}; expected at most that, {OPSET} is the default"
        )
    if opset < HALF_SCALES_OPSET:
        raise ModelError(
            f"--opset {opset}: int8.onnx has float16 scales, which need opset {HALF_SCALES_OPSET}; expected "
            f"{HALF_SCALES_OPSET} or later, {OPSET} is the default"
        )


def export_passing(bundle: Bundle, gate: Callable[[bytes], Parity], *, opset: int = OPSET) -> Exported:
    """Return the graph of the first exporter that passes the gate.

    gate: returns the parity of a graph's bytes, or raises ModelError. Raises ModelError with every exporter's reason when none
    passes.
    """
    check_opset(opset)
    dropped: dict[str, str] = {}
    for exporter in EXPORTERS:
        try:
            model = export_fp32(bundle, opset=opset, exporter=exporter)
            source = serialize(model)
            return Exported(model, source, gate(source), exporter, dropped)
        except ModelError as error:
            dropped[exporter] = " ".join(str(error).split())
            log.warning("%s exporter: dropped (%s)", exporter, dropped[exporter])
    raise ModelError(f"{bundle.path}: {'; '.join(f'{name}: {reason}' for name, reason in dropped.items())}")


def export_fp32(bundle: Bundle, *, opset: int = OPSET, exporter: Exporter = "torch.export") -> ir.Model:
    """Return the bundle's checkpoint as an ONNX graph: `images` uint8 (N, H, W, 3) -> `logits` float32 (N, K)."""
    contract = bundle.manifest.contract
    network = WithPreprocessing(deployed(load_network(bundle)), contract).eval()
    example = torch.zeros((2, *contract.shape), dtype=torch.uint8)
    run = by_torch_export if exporter == "torch.export" else by_torchscript
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own internals
        try:
            model = run(network, example, opset)
        except Exception as error:  # the exporters' exceptions have no common base class but Exception
            reason = reason_of(error)
            raise ModelError(f"opset {opset}: {exporter} cannot export the network ({reason})") from error
    if (written := model.opset_imports.get("", 0)) != opset:
        raise ModelError(f"opset {opset}: {exporter} wrote opset {written} instead; {OPSET} is the default")
    tidy(model)
    add_metadata(model, bundle.manifest.classes, bundle.manifest.contract, bundle.artifact("weights").sha256)
    return model


def by_torch_export(network: nn.Module, example: Tensor, opset: int) -> ir.Model:
    """Return the newer exporter's graph of a network for an (N, H, W, 3) uint8 example."""
    program = torch.onnx.export(
        network,
        (example,),
        dynamo=True,
        opset_version=opset,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images": {0: torch.export.Dim("N")}},
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise ModelError("torch.onnx.export returned nothing; report this with your torch version")
    model: ir.Model = program.model
    return model


def by_torchscript(network: nn.Module, example: Tensor, opset: int) -> ir.Model:
    """Return the older exporter's graph of a network for an (N, H, W, 3) uint8 example.

    PRESERVE keeps weights' names and BatchNorms; the optimizer folds them as the newer exporter does.
    """
    import onnx
    from onnxscript import optimizer

    file: Any = io.BytesIO()  # torch's annotation names paths only
    torch.onnx.export(
        network,
        (example,),
        file,
        dynamo=False,
        opset_version=opset,
        input_names=["images"],
        output_names=["logits"],
        dynamic_axes={"images": {0: "N"}, "logits": {0: "N"}},
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )
    model = ir.from_proto(onnx.load_model_from_string(file.getvalue()))
    optimizer.optimize(model)
    model.ir_version = IR_VERSION
    return model


def add_metadata(model: ir.Model, classes: Sequence[str], contract: Contract, weights_sha256: str) -> None:
    """Write class names, contract and origin into the graph's metadata, so that the ONNX file is usable without its bundle."""
    model.producer_name = "vegrt"
    model.metadata_props["vegrt.classes"] = json.dumps(list(classes), ensure_ascii=False)
    model.metadata_props["vegrt.contract"] = json.dumps(contract.to_dict())
    model.metadata_props["vegrt.bundle_format"] = str(contract.edition)
    model.metadata_props["vegrt.weights_sha256"] = weights_sha256
