"""timm's network, data set, transform and loader with the bundle's weights, as in timm's own inference.py."""

from __future__ import annotations

import time

START = time.perf_counter()

import timm  # noqa: E402
import torch  # noqa: E402
from peer import read_job, report, skip, write_answers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from timm.data import ImageDataset, create_loader  # noqa: E402

NAME = "timm fp32"


def main() -> None:
    """Classify the photos."""
    job = read_job(__doc__)
    backbone, contract = job.manifest["model"]["backbone"], job.contract
    if not backbone.startswith(("resnet", "timm:")):
        skip(NAME, f"timm's {backbone} has a different head than the bundle's")
    network = timm.create_model(backbone.removeprefix("timm:"), num_classes=len(job.classes))
    network.load_state_dict(load_file(job.bundle / "weights.safetensors"))
    network.eval()
    loaded = time.perf_counter()
    loader = create_loader(
        ImageDataset("", reader=[(path, 0) for path in job.photos]),
        input_size=(3, contract["size"], contract["size"]),
        batch_size=job.batch,
        use_prefetcher=False,
        interpolation="bilinear",
        mean=contract["mean"],
        std=contract["std"],
        crop_pct=contract["size"] / contract["resize"],
        num_workers=job.workers,
        device=torch.device("cpu"),
    )
    with torch.inference_mode():
        logits = torch.cat([network(images) for images, _ in loader]).numpy()
    labels = write_answers(job, job.photos, logits)
    seconds = time.perf_counter() - loaded
    report(NAME, job, job.photos, labels, load_s=loaded - START, seconds=seconds)


if __name__ == "__main__":
    main()
