"""timm's network, data set, transform and loader with the bundle's weights, as in timm's own inference.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from peer import Job, run_peer
from torch_eager import TorchPeer


class TimmPeer(TorchPeer):
    """timm's network."""

    name = "timm fp32"

    def __init__(self, job: Job) -> None:
        import timm
        from safetensors.torch import load_file

        self.job = job
        backbone = job.manifest["model"]["backbone"]
        if not backbone.startswith(("resnet", "timm:")):
            raise ValueError(f"timm's {backbone} has a different head or other names than the bundle's")
        self.network = timm.create_model(backbone.removeprefix("timm:"), num_classes=len(job.classes))
        self.network.load_state_dict(load_file(job.bundle / "weights.safetensors"))
        self.network.eval()

    def batches(self, paths: Sequence[Path], size: int) -> Iterable[Any]:
        import torch
        from timm.data import ImageDataset, create_loader

        contract = self.job.contract
        loader = create_loader(
            ImageDataset("", reader=[(path, 0) for path in paths]),
            input_size=(3, contract["size"], contract["size"]),
            batch_size=size,
            use_prefetcher=False,
            interpolation="bilinear",
            mean=contract["mean"],
            std=contract["std"],
            crop_pct=contract["size"] / contract["resize"],
            num_workers=self.job.workers,
            device=torch.device("cpu"),
        )
        return (images for images, _ in loader)


if __name__ == "__main__":
    run_peer(fp32=TimmPeer)
