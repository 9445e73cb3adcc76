"""torchvision's model and transforms with a DataLoader, eager, float32: the usual first implementation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peer import Job, Peer, normalized, run_peer
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch_network import network_of
from torchvision import transforms


class Photos(Dataset):
    """Photos as (3, H, W) float32."""

    def __init__(self, paths: Sequence[Path], transform: transforms.Compose) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return a photo, decoded and transformed."""
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


class TorchPeer(Peer):
    """torchvision's network with the bundle's weights."""

    name = "torchvision eager fp32"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        contract = job.contract
        self.transform = transforms.Compose(
            [
                transforms.Resize(contract["resize"]),
                transforms.CenterCrop(contract["size"]),
                transforms.ToTensor(),
                transforms.Normalize(contract["mean"], contract["std"]),
            ]
        )
        self.network: nn.Module = network_of(job)

    def from_pixels(self, images: NDArray[np.uint8]) -> Any:
        return torch.from_numpy(normalized(images, self.job))

    def batches(self, paths: Sequence[Path], size: int) -> Iterable[Any]:
        return DataLoader(Photos(paths, self.transform), batch_size=size, num_workers=self.job.workers)

    def run(self, batch: Any) -> NDArray[np.float32]:
        with torch.inference_mode():
            return self.network(batch).numpy()


if __name__ == "__main__":
    run_peer(fp32=TorchPeer)
