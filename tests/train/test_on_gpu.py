"""What training needs an NVIDIA GPU for. Run by `make gpu-check`, where a missing GPU is a failure and not a skip."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.gpu import without_gpu
from vegrt.backbones import build_network
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import read_split
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image
from vegrt.train.data.loader import Batch, BatchLoader, ordered_batches
from vegrt.train.data.samples import InputTransform, Samples, decode_photos
from vegrt.train.fit import train
from vegrt.train.history.records import EpochRecord
from vegrt.train.loop.averaging import WeightAverage
from vegrt.train.loop.device import number_format, precision, storage_device
from vegrt.train.loop.learner import Learner
from vegrt.train.loop.transfer import on_device
from vegrt.train.recipe import Recipe, make_recipe

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda")
CONTRACT = Contract(32, 32)


@pytest.fixture(autouse=True)
def _needs_torch_with_cuda() -> None:
    if not torch.cuda.is_available():
        without_gpu("torch finds no usable NVIDIA GPU: this torch has no CUDA")


def loader_of(data: Path, workers: int) -> BatchLoader:
    photos = decode_photos(read_split(data, "train"), partial(load_image, contract=CONTRACT), 1 << 30)
    return BatchLoader(Samples(photos, InputTransform(CONTRACT, "none")), workers, GPU)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return images.to(GPU), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1], device=GPU)


def learner_of(recipe: Recipe, dtype: torch.dtype | None = None) -> Learner:
    torch.manual_seed(0)
    return Learner(build_network("resnet18", 3), recipe, GPU, torch.ones(3), dtype=dtype)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_pinned_and_arrive_unchanged(colours: Path, workers: int) -> None:
    loader = loader_of(colours, workers)
    for _ in range(2):
        host: list[Batch] = list(loader.load(ordered_batches(24, 8)))
        assert all(tensor.is_pinned() for images_and_labels in host for tensor in images_and_labels)
        device = list(on_device(loader.load(ordered_batches(24, 8)), GPU))
        assert all(tensor.is_cuda for images_and_labels in device for tensor in images_and_labels)
        for sent, arrived in zip(host, device, strict=True):
            assert torch.equal(arrived[0].cpu(), sent[0])
            assert torch.equal(arrived[1].cpu(), sent[1])


def test_a_batch_that_is_still_in_use_is_not_overwritten_by_the_next_copy() -> None:
    batches = [
        (torch.full((64, 224, 224, 3), number, dtype=torch.uint8).pin_memory(), torch.tensor([number]))
        for number in range(30)
    ]
    busy = torch.randn(4096, 4096, device=GPU)
    sums: list[Tensor] = []
    for images, _ in on_device(batches, GPU):
        busy = (busy @ busy).clamp(-1, 1)  # keeps the computing stream behind the copying one
        sums.append(images.long().sum())
    assert torch.stack(sums).tolist() == [images.long().sum().item() for images, _ in batches]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_step_waits_for_nothing(tiny_recipe: Recipe, dtype: torch.dtype) -> None:
    learner, (images, labels) = learner_of(tiny_recipe, dtype), batch()
    measures = [learner.step(images, labels, lr=1e-3, seed=0)]  # creates the optimizer's state
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")  # a call that waits for the GPU raises
    try:
        for seed in range(1, 4):
            rate = 1e-3 if learner.applied_steps is None else learner.applied_steps * 1e-4
            measures.append(learner.step(images, labels, lr=rate, seed=seed))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(learner.read(measures)) == 4


def test_a_gradient_that_overflows_in_float16_is_skipped(tiny_recipe: Recipe) -> None:
    learner, (images, labels) = learner_of(tiny_recipe, torch.float16), batch()
    learner.restore(learner.state() | {"scaler.scale": torch.tensor(2.0**100, dtype=torch.float64)})
    before = learner.evaluated_weights()["fc.weight"]
    assert learner.read([learner.step(images, labels, lr=1e-3, seed=0)])[0].is_skipped
    assert learner.state()["scaler.scale"] == 2.0**99
    assert torch.equal(learner.evaluated_weights()["fc.weight"], before)
    assert learner.applied_steps == 0


def test_the_number_format_is_the_one_that_the_gpu_has(tiny_recipe: Recipe) -> None:
    capability = torch.cuda.get_device_capability()
    expected = torch.bfloat16 if capability >= (8, 0) else torch.float16 if capability >= (7, 0) else torch.float32
    assert number_format(GPU) == expected
    with precision(GPU):
        assert (torch.ones(8, 8, device=GPU) @ torch.ones(8, 8, device=GPU)).dtype == expected


def test_the_average_is_that_of_a_loop_over_the_tensors() -> None:
    network = build_network("resnet18", 3).to(GPU)
    average = WeightAverage(network, 0.9)
    before = {name: tensor.clone() for name, tensor in average.network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    average.follow()
    for name, mean in average.network.state_dict().items():
        if mean.is_floating_point():
            torch.testing.assert_close(mean, before[name].lerp(network.state_dict()[name], 0.1), rtol=1e-6, atol=1e-7)


def test_features_that_do_not_fit_stay_on_the_cpu() -> None:
    _, total_bytes = torch.cuda.mem_get_info()
    assert storage_device(1 << 20, GPU).type == "cuda"
    assert storage_device(total_bytes, GPU).type == "cpu"


@pytest.mark.parametrize("change", [{}, {"freeze_until": "layer3", "views": 2}], ids=str)
def test_a_training_learns_and_resumes(
    change: dict[str, object], colours: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    save_file(build_network("resnet18", 3).state_dict(), tmp_path / "weights.safetensors")
    recipe = make_recipe(
        **(tiny_recipe.to_dict() | {"weights": str(tmp_path / "weights.safetensors"), "epochs": 6} | change)
    )

    def stop(record: EpochRecord) -> None:
        if record.epoch == 4:
            raise SystemExit

    with pytest.raises(SystemExit):
        train(colours, tmp_path / "out", recipe, on_epoch=stop)
    training = train(colours, tmp_path / "out", recipe, resume=True).manifest.training
    assert training["validation_accuracy"] > 0.5
    assert torch.cuda.get_device_name() in training["device"]


def test_quantization_aware_training_runs(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    recipe = replace(make_recipe(qat=str(bundle.path)), epochs=1, batch_size=12)
    assert train(photos, tmp_path / "out", recipe).manifest.training["epochs"]
