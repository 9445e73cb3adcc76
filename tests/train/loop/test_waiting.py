"""The training never waits for the device in a step: on a GPU every read of a value stops the stream of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vegrt.backbones import build_network
from vegrt.train.fit import train
from vegrt.train.loop import loop
from vegrt.train.loop.head import Features, train_head
from vegrt.train.loop.learner import Learner
from vegrt.train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "nonzero"}
OPERATORS = {"_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "equal"}


class MethodWaits(TorchFunctionMode):
    """Counts the calls from Python that read a tensor's values."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in METHODS:
            self.waits[name] += 1
        return function(*args, **(kwargs or {}))


class OperatorWaits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that read a tensor's values, also those that torch's own code calls."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operator: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = operator.overloadpacket.__name__
        if name in OPERATORS:
            self.waits[name] += 1
        return operator(*args, **(kwargs or {}))


def waits_during(action: Callable[[], object]) -> Counter[str]:
    methods, operators = MethodWaits(), OperatorWaits()
    with methods, operators:
        action()
    return methods.waits + operators.waits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_step_waits_for_nothing(tiny_recipe: Recipe, dtype: torch.dtype) -> None:
    learner = Learner(build_network("resnet18", 3), tiny_recipe, torch.device("cpu"), torch.ones(3), dtype=dtype)
    images, labels = torch.zeros(4, 32, 32, 3, dtype=torch.uint8), torch.tensor([0, 1, 2, 0])
    measures = []
    for _ in range(2):  # the first one creates the optimizer's state
        assert waits_during(lambda: measures.append(learner.step(images, labels, lr=1e-3, seed=0))) == {}
    assert waits_during(lambda: learner.read(measures)) == {"tolist": 1}


def test_a_training_waits_once_for_many_steps(
    colours: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation and saving included: what is no step waits equally often for any number of steps."""
    monkeypatch.setattr(loop, "STEPS_PER_READ", 4)
    waits = {}
    for steps, batch_size in ((3, 8), (4, 6), (12, 2)):  # 24 photos
        recipe = replace(tiny_recipe, epochs_head=0, epochs=1, augment="none", batch_size=batch_size)
        waits[steps] = waits_during(partial(train, colours, tmp_path / str(steps), recipe))
    assert waits[3] == waits[4]
    assert waits[12] - waits[4] == {"tolist": 2}  # 12 steps are read three times
    assert waits[4] - waits[12] == {}


def test_an_epoch_of_the_head_waits_once() -> None:
    generator = torch.Generator().manual_seed(0)
    features = Features(torch.randn(64, 16, generator=generator), torch.randint(0, 3, (64,), generator=generator))
    waits = []
    for batch_size in (32, 4):
        torch.manual_seed(0)
        head, recipe = nn.Linear(16, 3), Recipe(epochs_head=2, lr_head=1e-4, batch_size=batch_size)
        waits.append(waits_during(lambda: list(train_head(head, recipe, features, features, None))))  # noqa: B023
    assert waits[0] == waits[1]
