"""Checkpoint to an ONNX graph: the contract in it, a dynamic batch, by the first of torch's exporters that passes the gate.

Wrong graphs of ResNets are known from the newer exporter (pytorch issues 166797, 168224, 169178), so the older one stands by.
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
from torchvision.models import MobileNetV2

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import FORMAT_VERSION
from vegrt.calibration.check import HALF_SCALES_OPSET
from vegrt.errors import ModelError
from vegrt.export.engines.options import OPSET
from vegrt.export.onnx.tidy import tidy
from vegrt.infer.runtimes.logits import Parity
from vegrt.networks import WithPreprocessing, load_network
from vegrt.photo.preprocess import Contract

log = logging.getLogger(__name__)

IR_VERSION = 10  # what torch's newer exporter writes


Exporter = Literal["torch.export", "torchscript"]
EXPORTERS: tuple[Exporter, ...] = get_args(Exporter)  # in the order in which they are tried


@dataclass(frozen=True, slots=True)
class Exported:
    """A graph that passed the gate. dropped: exporters that were tried before, each with the reason why it was not kept."""

    model: ir.Model
    source: bytes
    parity: Parity
    exporter: Exporter
    dropped: dict[str, str]

    def details(self) -> dict[str, Any]:
        """Return what the manifest says of how the graph was made."""
        return {"exporter": self.exporter, "dropped_exporters": self.dropped, "opset": self.model.opset_imports[""]}


def check_opset(opset: int) -> None:
    """Raise ModelError for an opset that the variants cannot have, or that the installed onnx does not know."""
    import onnx

    if opset > (newest := onnx.defs.onnx_opset_version()):
        raise ModelError(f"--opset {opset}: onnx {onnx.__version__} knows {newest} at most; {OPSET} is the default")
    if opset < HALF_SCALES_OPSET:
        raise ModelError(
            f"--opset {opset}: int8.onnx has float16 scales, which need opset {HALF_SCALES_OPSET}; expected "
            f"{HALF_SCALES_OPSET} or more, {OPSET} is the default"
        )


def export_passing(bundle: Bundle, gate: Callable[[bytes], Parity], *, opset: int = OPSET) -> Exported:
    """Return the first exporter's graph that passes the gate, which raises ModelError for one that does not.

    Raises ModelError, with every exporter's reason, when none passes.
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
    network = WithPreprocessing(_exportable(load_network(bundle)), contract).eval()
    example = torch.zeros((2, contract.size, contract.size, 3), dtype=torch.uint8)
    run = _by_torch_export if exporter == "torch.export" else _by_torchscript
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of their own internals
        try:
            model = run(network, example, opset)
        except Exception as error:  # theirs share no base class but Exception
            raise ModelError(
                f"opset {opset}: {exporter} cannot export it ({str(error).strip().splitlines()[0]})"
            ) from error
    if (found := model.opset_imports.get("", 0)) != opset:
        raise ModelError(f"opset {opset}: {exporter} gave {found} instead; {OPSET} is the default")
    tidy(model)
    describe(model, bundle.manifest.classes, bundle.manifest.contract, bundle.artifact("weights").sha256)
    return model


def _by_torch_export(network: nn.Module, example: Tensor, opset: int) -> ir.Model:
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


def _by_torchscript(network: nn.Module, example: Tensor, opset: int) -> ir.Model:
    """Return the older exporter's graph. PRESERVE keeps weights' names and BatchNorms; the optimizer folds them as above."""
    import onnx
    from onnxscript import optimizer

    file: Any = io.BytesIO()  # which its annotation does not know
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


def describe(model: ir.Model, classes: Sequence[str], contract: Contract, weights_sha256: str) -> None:
    """Write class names, contract and origin into the graph's metadata, so that the ONNX file alone is usable too."""
    model.producer_name = "vegrt"
    model.metadata_props["vegrt.classes"] = json.dumps(list(classes), ensure_ascii=False)
    model.metadata_props["vegrt.contract"] = json.dumps(contract.to_dict())
    model.metadata_props["vegrt.bundle_format"] = str(FORMAT_VERSION)
    model.metadata_props["vegrt.weights_sha256"] = weights_sha256


def serialize(model: ir.Model) -> bytes:
    """Return the model as the bytes of an .onnx file, after ONNX's own checker with shape inference accepted it."""
    import onnx

    proto = ir.to_proto(model)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"ONNX graph: refused by the ONNX checker ({str(error).splitlines()[0]})") from error
    data: bytes = proto.SerializeToString()
    return data


class _GlobalAverage(nn.Module):
    """AdaptiveAvgPool2d(1) without the strided view that torch's exporter spells out as index arithmetic (torch 2.14)."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean((2, 3), keepdim=True)  # (N, C, 1, 1)


class _MobileNet(nn.Module):
    """torchvision's MobileNetV2 under the same names; its own forward pools by a function, which no module replaces."""

    def __init__(self, network: MobileNetV2) -> None:
        super().__init__()
        self.features, self.pool, self.classifier = network.features, _GlobalAverage(), network.classifier

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


def _exportable(network: nn.Module) -> nn.Module:
    if isinstance(network, MobileNetV2):
        return _MobileNet(network)
    for name, child in network.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
            setattr(network, name, _GlobalAverage())
        else:
            _exportable(child)
    return network
