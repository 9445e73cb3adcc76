"""A data set that a network can learn in seconds: noise whose strongest colour is the class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vegrt.train.recipe import Recipe

COUNTS = {"train": 8, "validation": 4, "test": 2}


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 40x44 JPEGs. Read only: copy it to change it."""
    root = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    for split, count in COUNTS.items():
        for channel, name in enumerate(("Beet", "Cress", "Eggplant")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 140, (40, 44, 3))
                pixels[..., channel] += 90
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02d}.jpg")
    return root


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """ResNet18 from random weights on 32x32 pixels, with all options that have a state."""
    return Recipe(weights="none", size=32, epochs_head=2, epochs=3, batch_size=8, lr=1e-3, ema=0.8, patience=0)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Use one thread: at 32x32 pixels a second one is no faster, and it waits when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
