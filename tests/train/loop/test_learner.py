from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vegrt.backbones import BACKBONES, build_network
from vegrt.errors import ModelError
from vegrt.train.loop.freeze import check_stage, parameters_by_stage, stage_names
from vegrt.train.loop.learner import Learner, Step
from vegrt.train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return images, torch.tensor([0, 1, 2, 0])


def learner_of(recipe: Recipe, class_weights: Tensor | None = None) -> Learner:
    torch.manual_seed(recipe.seed)
    return Learner(build_network(recipe.backbone, 3), recipe, CPU, class_weights)


def weights_of(learner: Learner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.network.state_dict().items()}


def take_step(learner: Learner, *, lr: float = 1e-3, seed: int = 0) -> Step:
    return learner.read([learner.step(*batch(), lr=lr, seed=seed)])[0]


def test_a_step_that_overflows_leaves_the_weights_alone(tiny_recipe: Recipe) -> None:
    learner = learner_of(replace(tiny_recipe, ema=0.0))
    with torch.no_grad():
        learner.network.get_parameter("fc.bias")[0] = float("inf")
    before = weights_of(learner)
    step = take_step(learner)
    assert not step.is_finite()
    parameters = dict(learner.network.named_parameters())
    assert all(torch.equal(parameters[name], before[name]) for name in parameters)


def test_frozen_stages_keep_weights_and_statistics(tiny_recipe: Recipe) -> None:
    learner = learner_of(replace(tiny_recipe, weights="imagenet", freeze_until="layer2"))
    before = weights_of(learner)
    step = take_step(learner, lr=1e-2)
    after = weights_of(learner)
    frozen = ("conv1.", "bn1.", "layer1.", "layer2.")
    assert all(torch.equal(before[name], after[name]) for name in after if name.startswith(frozen))
    assert not torch.equal(before["layer3.0.bn1.running_mean"], after["layer3.0.bn1.running_mean"])
    assert list(step.gradient_norms) == ["layer3", "layer4", "head"]


def test_the_average_follows_its_formula_and_is_evaluated(tiny_recipe: Recipe) -> None:
    learner = learner_of(tiny_recipe)
    start = weights_of(learner)["fc.weight"]
    learner.step(*batch(), lr=1e-2, seed=0)
    moved = weights_of(learner)["fc.weight"]
    expected = tiny_recipe.ema * start + (1 - tiny_recipe.ema) * moved
    torch.testing.assert_close(learner.evaluated_weights()["fc.weight"], expected)
    learner.restart_average()
    assert torch.equal(learner.evaluated_weights()["fc.weight"], moved)


def test_clipping_bounds_the_whole_gradient(tiny_recipe: Recipe) -> None:
    learner = learner_of(replace(tiny_recipe, clip_norm=0.01))
    step = take_step(learner)
    assert sum(norm**2 for norm in step.gradient_norms.values()) ** 0.5 > 0.1
    total = torch.nn.utils.get_total_norm([p.grad for p in learner.network.parameters() if p.grad is not None])
    assert total.item() == pytest.approx(0.01, rel=1e-3)


def test_class_weights_change_the_objective_and_not_the_reported_loss(tiny_recipe: Recipe) -> None:
    plain = take_step(learner_of(tiny_recipe))
    weighted = take_step(learner_of(tiny_recipe, torch.tensor([0.5, 5.0, 1.0])))
    assert weighted.loss == plain.loss
    assert weighted.objective != plain.objective


def test_a_restored_learner_continues_bit_for_bit(tiny_recipe: Recipe) -> None:
    recipe = replace(tiny_recipe, backbone="mobilenet_v2")  # has dropout
    learner, other = learner_of(recipe), learner_of(replace(recipe, seed=9))
    learner.step(*batch(1), lr=1e-3, seed=1)
    other.restore(learner.state())
    for this in (learner, other):
        this.step(*batch(2), lr=1e-3, seed=2)
    first, second = learner.state(), other.state()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_belongs_to_one_stage(name: str) -> None:
    network = build_network(name, 3)
    parameters = [parameter for group in parameters_by_stage(network, BACKBONES[name]).values() for parameter in group]
    assert sorted(map(id, parameters)) == sorted(map(id, network.parameters()))
    for stage in stage_names(BACKBONES[name]):
        check_stage(BACKBONES[name], stage)
    with pytest.raises(ModelError, match="freeze_until 'layer9': no such stage of"):
        check_stage(BACKBONES[name], "layer9")
