"""The bundle's network as torchvision defines it, and as an ONNX file with float32 input, from which other programs convert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peer import Job
from safetensors.torch import load_file
from torch import nn
from torchvision import models

SUPPORTED = ("resnet18", "resnet50", "vgg16", "mobilenet_v2")


def network_of(job: Job) -> nn.Module:
    """Return torchvision's network with the bundle's weights. Raises ValueError for another backbone."""
    described, count = job.manifest["model"], len(job.classes)
    if described["backbone"] not in SUPPORTED:
        raise ValueError(f"backbone {described['backbone']}; expected one of {', '.join(SUPPORTED)}")
    network: Any = getattr(models, described["backbone"])(weights=None)
    if described["backbone"].startswith("resnet"):
        network.fc = nn.Linear(network.fc.in_features, count)
    elif described["backbone"] == "vgg16" and described["head"] == "gap":
        network.avgpool = nn.AdaptiveAvgPool2d(1)
        network.classifier = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, count))
    else:
        network.classifier[-1] = nn.Linear(network.classifier[-1].in_features, count)
    network.load_state_dict(load_file(job.bundle / "weights.safetensors"))
    return network.eval()


def network_onnx(job: Job) -> Path:
    """Return an ONNX file of the network: `images` (N, 3, H, W) float32, normalized, to `logits` (N, K)."""
    return job.product("network", lambda folder: export(job, folder / "network.onnx")) / "network.onnx"


def export(job: Job, file: Path) -> None:
    """Write the network as ONNX with any number of images."""
    size = job.contract["size"]
    torch.onnx.export(
        network_of(job),
        (torch.zeros(2, 3, size, size),),
        file,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        external_data=False,
        dynamo=True,
    )
