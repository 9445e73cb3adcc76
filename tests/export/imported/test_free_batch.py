"""Networks exported with a fixed batch answer any number of images as their own file does one batch at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.export.imported.classifiers import CLASSES, CONTRACT, export_by_torch, random_images
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.export.imported.convert import convert_imported
from vegrt.export.imported.onnx_file import ImportedRunner, check_dynamic_batch, read_imported
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime


class Shuffled(nn.Module):
    """Channels in groups, moved by a Reshape to five dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 16, 8, 8), nn.GroupNorm(4, 16), nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.conv(images))
        count, channels, height, width = features.shape
        groups = features.view(count, 2, channels // 2, height, width).transpose(1, 2)
        result: Tensor = self.head(groups.reshape(count, channels, height, width).relu().amax((2, 3)))
        return result


class Attention(nn.Module):
    """A class token in front of the patches, and attention whose batch is the second axis, beside the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 16, 16, 16), nn.Parameter(torch.randn(1, 1, 16))
        self.attention, self.head = nn.MultiheadAttention(16, 2), nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1).transpose(0, 1)
        result: Tensor = self.head((tokens + self.attention(tokens, tokens, tokens)[0])[0])
        return result


class Windows(nn.Module):
    """Attention in windows, which stand beside the images in the first axis, and a pooling that is exported as a view."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 12, 12), nn.Linear(8, 3)
        self.bias = nn.Parameter(torch.randn(2, 4, 4))

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv(images)  # (N, 8, 4, 4)
        count = len(features)
        windows = (
            features.view(count, 8, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(count * 4, 4, 2, 4).transpose(1, 2)
        )
        weights = (windows @ windows.transpose(2, 3) + self.bias).softmax(3)
        merged = (weights @ windows).view(count, 2, 2, 2, 2, 2, 4).permute(0, 3, 6, 1, 4, 2, 5).reshape(count, 8, 4, 4)
        result: Tensor = self.head(nn.functional.adaptive_avg_pool2d(merged, 1).flatten(1))
        return result


NETWORKS = {"shuffled": Shuffled, "attention": Attention, "windows": Windows}


@pytest.mark.parametrize(
    ("name", "exporter", "batch"),
    [
        *((name, "torchscript", batch) for name in NETWORKS for batch in (1, 2)),
        ("attention", "torch.export", 1),
        ("windows", "torch.export", 2),
    ],
)
def test_a_fixed_batch_becomes_dynamic(name: str, exporter: str, batch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"dynamo": False, "opset_version": 17}
    if exporter == "torch.export":
        options = {"dynamo": True, "external_data": False}
    export_by_torch(NETWORKS[name]().eval(), tmp_path / "model.onnx", batch=batch, **options)
    imported, images = read_imported(tmp_path / "model.onnx", 3, CONTRACT), random_images(5)
    assert imported.batch == batch
    source = serialize(convert_imported(imported, CLASSES, CONTRACT))
    check_dynamic_batch(source, name, CONTRACT, 3)
    want = ImportedRunner(imported, CONTRACT).logits(images)
    assert np.ptp(want, axis=0).max() > 0.01
    np.testing.assert_allclose(open_onnxruntime(source).logits(images), want, atol=1e-5)
