"""float16, as on GPUs without bfloat16: the loss is scaled, and a step whose gradient overflows changes nothing but the scale.

Runs on the CPU, which computes in float16 too. A gradient overflows here because the scale is too large, as on a GPU.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vegrt.backbones import build_network
from vegrt.errors import DivergedError
from vegrt.train.history.records import TrainingProgress
from vegrt.train.history.runs_db import Recorder
from vegrt.train.loop.checkpoint import Checkpoints
from vegrt.train.loop.learner import Learner, Step
from vegrt.train.loop.loop import Loop
from vegrt.train.loop.processes import ProcessGroup
from vegrt.train.recipe import Recipe
from vegrt.train.start import data_facts, open_loop, read_data

pytestmark = pytest.mark.usefixtures("one_thread")

TOO_LARGE = 2.0**100
FITTING = 2.0**10  # a random ResNet18 at 32x32 pixels overflows from 2**14 on


def learner_of(recipe: Recipe, scale: float | None = None) -> Learner:
    torch.manual_seed(0)
    learner = Learner(build_network(recipe.backbone, 3), recipe, torch.device("cpu"), None, dtype=torch.float16)
    if scale is not None:
        set_scale(learner, scale)
    return learner


def set_scale(learner: Learner, scale: float) -> None:
    learner.restore(learner.state() | {"scaler.scale": torch.tensor(scale, dtype=torch.float64)})


def scale_of(learner: Learner) -> float:
    return learner.state()["scaler.scale"].item()


def take_step(learner: Learner, seed: int = 0) -> Step:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return learner.read([learner.step(images, torch.tensor([0, 1, 2, 0]), lr=1e-3, seed=seed)])[0]


def applied_steps(learner: Learner) -> float:
    assert learner.applied_steps is not None
    return learner.applied_steps.item()


def moved(before: dict[str, Tensor], learner: Learner) -> set[str]:
    """Return the first part of the names of all tensors that are new or differ; without statistics and scale."""
    after = {name: value for name, value in learner.state().items() if not name.startswith("scaler")}
    weights = {name for name in after if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    return {name.split(".")[0] for name in weights if name not in before or not torch.equal(after[name], before[name])}


def test_a_finite_gradient_is_unscaled_before_it_is_measured_and_clipped(tiny_recipe: Recipe) -> None:
    recipe = replace(tiny_recipe, clip_norm=0.01)
    small, large = take_step(learner_of(recipe, 1.0)), take_step(learner_of(recipe, FITTING))
    assert not small.is_skipped
    assert not large.is_skipped
    assert large.objective == small.objective
    for stage, norm in small.gradient_norms.items():
        assert large.gradient_norms[stage] == pytest.approx(norm, rel=0.02), stage  # float16 rounds to 11 bits


def test_a_step_that_overflows_halves_the_scale_and_changes_nothing_else(tiny_recipe: Recipe) -> None:
    learner = learner_of(tiny_recipe, FITTING)
    take_step(learner)
    set_scale(learner, TOO_LARGE)
    before = learner.state()
    step = take_step(learner, seed=1)
    assert step.is_skipped
    assert math.isfinite(step.objective)
    assert moved(before, learner) == set()
    assert applied_steps(learner) == 1
    assert scale_of(learner) == TOO_LARGE / 2
    set_scale(learner, FITTING)
    assert not take_step(learner, seed=1).is_skipped
    assert moved(before, learner) == {"network", "averaged", "optimizer"}
    assert applied_steps(learner) == 2


def test_a_loss_that_overflows_is_no_skipped_step(tiny_recipe: Recipe) -> None:
    learner = learner_of(tiny_recipe)
    with torch.no_grad():
        learner.network.get_parameter("fc.bias")[0] = float("inf")
    step = take_step(learner)
    assert not step.is_skipped
    assert not step.is_finite()


def test_the_scale_is_part_of_the_saved_state(tiny_recipe: Recipe, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "out")
    checkpoints.start()
    first, second = learner_of(tiny_recipe, TOO_LARGE), learner_of(replace(tiny_recipe, seed=3))
    take_step(first)
    checkpoints.save_last(first.state(), TrainingProgress("run", {}, {}))
    second.restore(checkpoints.load_last())
    assert scale_of(second) == TOO_LARGE / 2
    for learner in (first, second):
        set_scale(learner, 2.0**12)
        take_step(learner, seed=2)
    before, after = first.state(), second.state()
    assert before.keys() == after.keys() >= {"scaler.scale", "scaler.growth_tracker"}
    assert before["scaler.growth_tracker"] == 1
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_state_resumes_on_a_device_of_another_number_format(tiny_recipe: Recipe) -> None:
    scaled, plain = learner_of(tiny_recipe, 2.0**10), learner_of(tiny_recipe)
    plain = Learner(plain.network, tiny_recipe, torch.device("cpu"), None, dtype=torch.float32)
    take_step(scaled)
    take_step(plain)
    assert not any(name.startswith("scaler") for name in plain.state())
    plain.restore(scaled.state())
    assert not take_step(plain).is_skipped
    scaled.restore(plain.state())
    assert scale_of(scaled) == 2.0**10


@contextmanager
def loop_in_float16(data: Path, recipe: Recipe, out: Path, scale: float) -> Iterator[Loop]:
    splits = read_data(data, recipe)
    progress = TrainingProgress("run", recipe.to_dict(), data_facts(splits))
    loop = open_loop(
        splits,
        recipe,
        progress,
        Checkpoints(out),
        Recorder(None, "run"),
        ProcessGroup(),
        resumed=False,
        on_epoch=lambda record: None,
    )
    yield replace(loop, learner=learner_of(recipe, scale))


def test_skipped_steps_do_not_advance_the_learning_rate(
    colours: Path, tiny_recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = replace(tiny_recipe, epochs_head=0, epochs=1, batch_size=4, augment="none", warmup=1.0)  # 6 steps
    with (
        loop_in_float16(colours, recipe, tmp_path / "out", 2.0**17) as loop,
        caplog.at_level(logging.INFO, "vegrt"),
    ):
        loop.run()
    optimizer = loop.learner.optimizer
    applied = applied_steps(loop.learner)
    assert 0 < applied < 6, "a scale of 2**17 is too large at first, and not for all six steps"
    rate = optimizer.param_groups[0]["lr"].item()
    assert rate == pytest.approx(recipe.lr * applied / 6)  # it rises by the same amount in every applied step
    assert f"epoch 1: skipped {6 - applied:.0f} of 6 steps: float16 overflowed" in caplog.text
    record = loop.progress.epochs[0]
    assert all(map(math.isfinite, (record.train_loss, *record.gradient_norms.values())))


def test_a_gradient_that_overflows_at_any_scale_has_diverged(
    colours: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = replace(tiny_recipe, epochs_head=0, batch_size=4, augment="none")
    with loop_in_float16(colours, recipe, tmp_path / "out", 1.0) as loop:
        weight = loop.learner.network.get_parameter("conv1.weight")
        weight.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]
        with pytest.raises(DivergedError, match=r"not finite at step 6 of epoch 1 \(lr "):
            loop.run()
