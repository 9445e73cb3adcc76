"""Checkpoint to fp32.onnx: the contract in the graph, a dynamic batch, parity with torch or nothing is written."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import MobileNetV2

from vegrt.bundle import Bundle
from vegrt.errors import ModelError
from vegrt.export.tidy import tidy
from vegrt.infer.runner import Runner
from vegrt.networks import Deployed, load_network
from vegrt.preprocess import Contract

log = logging.getLogger(__name__)

OPSET = 20  # 19 is the first that allows float16 scales in QuantizeLinear


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a model's logits are from the reference's over the same images."""

    images: int
    max_abs_error: float
    min_cosine: float
    top1_agreement: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


def export_fp32(bundle: Bundle) -> ir.Model:
    """Return the bundle's checkpoint as an ONNX graph: `images` uint8 (N, H, W, 3) -> `logits` float32 (N, K)."""
    contract = bundle.manifest.contract
    network = Deployed(_exportable(load_network(bundle)), contract).eval()
    example = torch.zeros((2, contract.size, contract.size, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("N")}},
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ModelError(f"{bundle.path}: torch.onnx.export returned nothing; report this with your torch version")
    model: ir.Model = program.model
    tidy(model)
    describe(model, bundle.manifest.classes, contract)
    return model


def describe(model: ir.Model, classes: Iterable[str], contract: Contract) -> None:
    """Write class names and contract into the graph's metadata, so that the ONNX file alone is usable too."""
    model.producer_name = "vegrt"
    model.metadata_props["vegrt.classes"] = json.dumps(list(classes), ensure_ascii=False)
    model.metadata_props["vegrt.contract"] = json.dumps(contract.to_dict())


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


def measure_parity(reference: Runner, candidate: Runner, batches: Iterable[NDArray[np.uint8]]) -> Parity:
    """Compare two runners' logits over (N, H, W, 3) uint8 batches."""
    errors, cosines, agree = [0.0], [1.0], []
    for images in batches:
        want, got = reference.logits(images), candidate.logits(images)
        errors.append(float(np.abs(want - got).max()))
        norms = np.linalg.norm(want, axis=1) * np.linalg.norm(got, axis=1)
        cosines.append(float((np.einsum("nk,nk->n", want, got) / np.maximum(norms, 1e-12)).min()))
        agree.extend(want.argmax(axis=1) == got.argmax(axis=1))
    return Parity(len(agree), float(np.max(errors)), float(np.min(cosines)), float(np.mean(agree)) if agree else 0.0)


def check_parity(subject: str, parity: Parity, *, min_cosine: float, min_agreement: float) -> None:
    """Raise ModelError unless the candidate is as close to the reference as its precision allows."""
    if not (parity.min_cosine >= min_cosine and parity.top1_agreement >= min_agreement):
        raise ModelError(
            f"{subject}: cosine {parity.min_cosine:.6f}, top-1 agreement {parity.top1_agreement:.2%} with its reference over "
            f"{parity.images} photos; expected at least {min_cosine} and {min_agreement:.0%}; nothing was written"
        )


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
