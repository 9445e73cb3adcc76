"""Quantization-aware training: a Learner whose network rounds as the 8-bit model of a bundle does."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.graph.placement import Encoding
from vegrt.calibration.graph.quantize import WEIGHT_LEVELS
from vegrt.calibration.saved import read_calibration
from vegrt.calibration.settings import VARIANTS
from vegrt.calibration.tournament.calibrate import Calibration
from vegrt.errors import ModelError
from vegrt.networks import WithPreprocessing, load_network
from vegrt.photo.contract import Contract
from vegrt.train.loop.device import precision
from vegrt.train.loop.learner import Learner
from vegrt.train.loop.processes import ProcessGroup
from vegrt.train.qat.network import GraphNetwork
from vegrt.train.qat_defaults import open_source
from vegrt.train.recipe import Recipe

log = logging.getLogger(__name__)

_TOLERANCE = 1e-3  # largest difference between network and graph without rounding, relative to the largest logit


class QatLearner(Learner):
    """Trains the network of a bundle with the rounding of its encoding, on labels and on the outputs of the float network."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        device: torch.device,
        class_weights: Tensor | None,
        processes: ProcessGroup,
    ) -> None:
        super().__init__(
            network, recipe, device, class_weights, processes, dtype=torch.float32
        )  # as GraphNetwork computes
        bundle, encoding = open_source(Path(recipe.qat)), encoding_of(recipe.qat_encoding)
        calibration = read_calibration(bundle.file("calibration"))
        self.evaluation_model = quantized_network(self.evaluated_network, bundle, calibration, encoding).to(device)
        self.model = self._compiled(quantized_network(self.network, bundle, calibration, encoding).to(device))
        self.teacher = WithPreprocessing(load_network(bundle), self.contract).to(device).eval().requires_grad_(False)
        if float_layers := calibration.float_layers.get(encoding):
            log.info(
                "%s stay in float; export with: --float-layers %s/float-layers.json",
                ", ".join(float_layers),
                bundle.path,
            )

    def _objective(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss on the labels plus KL(teacher || student). The teacher is the float network, without rounding."""
        with torch.no_grad(), precision(self.device):
            teacher_logits = self.teacher(images).float()
        divergence = kl_div(
            log_softmax(logits, 1), log_softmax(teacher_logits, 1), reduction="batchmean", log_target=True
        )
        return super()._objective(images, logits, labels) + divergence


def encoding_of(variant: str) -> Encoding:
    """Return the encoding of a variant, int8 or int8-cpu."""
    return next(encoding for encoding, name in VARIANTS.items() if name == variant)


def quantized_network(network: nn.Module, bundle: Bundle, calibration: Calibration, encoding: Encoding) -> GraphNetwork:
    """Return the network with the rounding of the bundle's 8-bit graph in that encoding; it shares the network's parameters.

    Raises ModelError when the bundle's float graph does not compute the same as this network.
    """
    contract, file = bundle.manifest.contract, bundle.file("model", "fp32")
    levels = WEIGHT_LEVELS[encoding]
    _check_equivalent(GraphNetwork(network, ir.load(file), contract.shape, levels), contract, file)
    quantized = ir.load(file)
    calibration.quantize(quantized, encoding)
    return GraphNetwork(network, quantized, contract.shape, levels)


@torch.no_grad()
def _check_equivalent(graph: GraphNetwork, contract: Contract, file: Path) -> None:
    """Raise ModelError unless a graph without rounding returns the logits of its network."""
    device = next(graph.parameters()).device
    graph = graph.to(device)
    images = torch.randint(0, 256, (2, *contract.shape), dtype=torch.uint8, device=device)
    training = graph.network.training
    expected = WithPreprocessing(graph.network, contract).to(device).eval()(images)
    logits = graph(images)
    graph.network.train(training)
    if not torch.allclose(logits, expected, rtol=0, atol=_TOLERANCE * max(1.0, float(expected.abs().max()))):
        worst = float((logits - expected).abs().max())
        raise ModelError(f"{file}: logits differ from the checkpoint's network by {worst:.2g}; export the bundle again")
