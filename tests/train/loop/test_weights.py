from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from vegrt.backbones import build_network
from vegrt.errors import ModelError
from vegrt.train.loop.weights import initial_network, load_weights

SHARED = Path(os.environ.get("VEGRT_SHARED", Path(__file__).parents[4] / "shared")) / "weights"


@pytest.fixture(scope="module")
def source() -> nn.Module:
    torch.manual_seed(1)
    return build_network("resnet18", 10)


def test_takes_the_backbone_and_leaves_a_head_of_other_classes(tmp_path: Path, source: nn.Module) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": {f"module.{name}": value.half() for name, value in source.state_dict().items()}}, file)
    network = initial_network("resnet18", 3, head="gap", weights=str(file)).state_dict()
    expected = source.state_dict()["layer4.1.conv2.weight"].half().float()
    assert torch.equal(network["layer4.1.conv2.weight"], expected)
    assert network["fc.weight"].shape == (3, 512)


def test_takes_a_head_that_fits_and_does_without_one(tmp_path: Path, source: nn.Module) -> None:
    whole, bare = tmp_path / "whole.safetensors", tmp_path / "bare.safetensors"
    save_file(source.state_dict(), whole)
    save_file({name: value for name, value in source.state_dict().items() if not name.startswith("fc.")}, bare)
    fitting = initial_network("resnet18", 10, head="gap", weights=str(whole)).state_dict()
    assert torch.equal(fitting["fc.weight"], source.state_dict()["fc.weight"])
    network = build_network("resnet18", 10)
    fresh = network.state_dict()["fc.weight"].clone()
    load_weights(network, "resnet18", bare)
    assert torch.equal(network.state_dict()["fc.weight"], fresh)


def test_mismatch_names_the_tensors(tmp_path: Path, source: nn.Module) -> None:
    state = source.state_dict()
    del state["conv1.weight"], state["bn1.num_batches_tracked"]  # the second: old checkpoints have none
    state |= {"stem.weight": torch.zeros(1), "layer1.0.bn1.bias": torch.zeros(7)}
    file = tmp_path / "weights.safetensors"
    save_file(state, file)
    network = build_network("resnet18", 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    words = r"missing: conv1.weight; unexpected: stem.weight; of another shape: layer1.0.bn1.bias; expected the tensor names"
    with pytest.raises(ModelError, match=words):
        load_weights(network, "resnet18", file)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with pytest.raises(ModelError, match=r"missing: features.0.bias, .* and \d+ more; unexpected: bn1.bias, "):
        initial_network("vgg16", 3, head="gap", weights=str(file))


class Payload:
    """Executes code when it is unpickled, as a malicious checkpoint does."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("executed"),)


def test_never_executes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Payload()}, "hostile.pth")
    with pytest.raises(ModelError, match=r"hostile.pth: not a file of plain tensors"):
        initial_network("resnet18", 3, head="gap", weights="hostile.pth")
    assert not Path("executed").exists()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_refuses_damaged_files_in_one_line(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights.{suffix}"
    file.write_bytes(b"not weights at all")
    with pytest.raises(ModelError, match=f"weights.{suffix}") as caught:
        initial_network("resnet18", 3, head="gap", weights=str(file))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no such file; expected imagenet, none"):
        initial_network("resnet18", 3, head="gap", weights="imagnet")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED}")
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "vgg16", "mobilenet_v2"])
def test_shared_backbones_fit(backbone: str) -> None:
    network = initial_network(backbone, 15, head="gap", weights=str(SHARED / f"{backbone}.safetensors"))
    assert all(value.isfinite().all() for value in network.state_dict().values())
