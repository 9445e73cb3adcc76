"""torchvision's model and transforms with a DataLoader, eager, float32: the usual first implementation."""

from __future__ import annotations

import time

START = time.perf_counter()

from pathlib import Path  # noqa: E402

import torch  # noqa: E402
from peer import Job, read_job, report, skip, write_answers  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision import models, transforms  # noqa: E402


class Photos(Dataset):
    """Photos as (3, H, W) float32."""

    def __init__(self, paths: list[Path], transform: transforms.Compose) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return a photo, decoded and transformed."""
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def model_of(job: Job) -> nn.Module:
    """Return torchvision's network with the bundle's weights."""
    described, count = job.manifest["model"], len(job.classes)
    if described["backbone"] not in ("resnet18", "resnet50", "vgg16"):
        skip("torchvision eager fp32", f"only ResNets and VGG16 are supported; the bundle has {described['backbone']}")
    network = getattr(models, described["backbone"])(weights=None)
    if described["backbone"].startswith("resnet"):
        network.fc = nn.Linear(network.fc.in_features, count)
    elif described["head"] == "gap":
        network.avgpool = nn.AdaptiveAvgPool2d(1)
        network.classifier = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, count))
    else:
        network.classifier[-1] = nn.Linear(4096, count)
    network.load_state_dict(load_file(job.bundle / "weights.safetensors"))
    return network.eval()


def main() -> None:
    """Classify the photos."""
    job = read_job(__doc__)
    contract = job.contract
    steps = [
        transforms.Resize(contract["resize"]),
        transforms.CenterCrop(contract["size"]),
        transforms.ToTensor(),
        transforms.Normalize(contract["mean"], contract["std"]),
    ]
    network = model_of(job)
    loaded = time.perf_counter()
    photos = Photos(job.photos, transforms.Compose(steps))
    loader = DataLoader(photos, batch_size=job.batch, num_workers=job.workers)
    with torch.inference_mode():
        logits = torch.cat([network(images) for images in loader]).numpy()
    labels = write_answers(job, job.photos, logits)
    seconds = time.perf_counter() - loaded
    report("torchvision eager fp32", job, job.photos, labels, load_s=loaded - START, seconds=seconds)


if __name__ == "__main__":
    main()
