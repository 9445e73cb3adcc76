"""Run by test_processes.py, once alone and once as two processes under torchrun; prints one JSON object in the first process.

The network is vgg16 without dropout: batch norm and dropout are what may differ between one process and two. So is rounding to
bfloat16, which depends on how many photos a process has: computed in float32, whatever the processor has.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from vegrt.backbones import build_network
from vegrt.train.fit import train
from vegrt.train.loop import device
from vegrt.train.loop.learner import Learner
from vegrt.train.loop.processes import ProcessGroup, join_process_group
from vegrt.train.recipe import Recipe


def steps(processes: ProcessGroup, recipe: Recipe) -> dict[str, list[float]]:
    torch.manual_seed(0)
    network = build_network("vgg16", 3)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    learner = Learner(
        processes.prepare(network, "vgg16"), recipe, processes.device, torch.tensor([0.5, 3.0, 1.0]), processes
    )
    learner.connect()
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (3, 8, 32, 32, 3), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (3, 8), generator=generator)
    mine = torch.tensor(processes.share(range(8)))
    measures = [learner.step(images[number][mine], labels[number][mine], lr=1e-3, seed=0) for number in range(3)]
    results = learner.read(measures)
    return {
        "losses": [step.loss for step in results],
        "correct": [step.correct for step in results],
        "norms": [norm for step in results for norm in step.gradient_norms.values()],
        "weights": [parameter.detach().double().norm().item() for parameter in learner.network.parameters()],
    }


def main(data: Path, out: Path, weights: Path) -> None:
    torch.set_num_threads(1)
    device.CPUINFO = Path(os.devnull)
    recipe = Recipe(backbone="vgg16", weights="none", size=32, batch_size=8, epochs_head=0, augment="none")
    frozen = replace(recipe, backbone="resnet18", weights=str(weights), freeze_until="layer4", views=0, epochs=2)
    processes = join_process_group(recipe.batch_size)
    numbers = steps(processes, recipe)
    epochs = train(data, out, frozen).manifest.training["epochs"]
    if processes.is_first:
        numbers["epochs"] = [epoch[key] for epoch in epochs for key in ("train_loss", "validation_loss")]
        sys.stdout.write(json.dumps(numbers))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
