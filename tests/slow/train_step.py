"""Training steps of the default settings against the plain loop that most tutorials write, interleaved: `make bench`.

Plain: float32, eager, NCHW, Adam, normalisation of float images included. Ours: `Learner.step` on uint8 images. Random
pixels, random weights; prints one line per network with the ratio of the medians.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from vegrt.backbones import build_network, contract_of
from vegrt.train.loop.device import device_name, pick_device
from vegrt.train.loop.learner import Learner
from vegrt.train.recipe import Recipe

BATCH, CLASSES, ROUNDS = 32, 15, 7


def plain_step(name: str, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    device = pick_device()
    network = build_network(name, CLASSES).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    contract = contract_of(name, 224)
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (contract.mean, contract.std))

    def step() -> object:
        pixels = (images.permute(0, 3, 1, 2).contiguous().float().to(device) / 255 - mean) / std
        loss = nn.functional.cross_entropy(network(pixels), labels.to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()

    return step


def our_step(name: str, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], object]:
    device = pick_device()
    learner = Learner(build_network(name, CLASSES), Recipe(backbone=name), device, None)
    return lambda: learner.read([learner.step(images.to(device), labels.to(device), lr=1e-4, seed=0)])


def timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main(names: list[str]) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 224, 224, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    sys.stdout.write(f"torch {torch.__version__}, {device_name(pick_device())}, batch {BATCH}, {ROUNDS} rounds\n")
    for name in names:
        steps = plain_step(name, images, labels), our_step(name, images, labels)
        for step in steps:
            step()
        plain_s, our_s = zip(*([timed(step) for step in steps] for _ in range(ROUNDS)), strict=True)
        plain, ours = BATCH / statistics.median(plain_s), BATCH / statistics.median(our_s)
        sys.stdout.write(f"{name}: plain {plain:.1f}, vegrt {ours:.1f} images/s, ratio {ours / plain:.2f}\n")


if __name__ == "__main__":
    main(sys.argv[1:] or ["resnet18", "resnet50"])
