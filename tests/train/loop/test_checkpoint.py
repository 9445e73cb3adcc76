from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from vegrt.errors import BundleError, VegrtError
from vegrt.train.history.records import EpochRecord, EpochSums, SplitRecord, TrainingProgress
from vegrt.train.loop.checkpoint import Checkpoints

DATA = {name: SplitRecord(2, {"Beet": 2}, "ab") for name in ("train", "validation", "test")}


def progress() -> TrainingProgress:
    record = EpochRecord(1, "all", 0.1, 0.2, 0.3, 0.4, 1e-4, 50.0, 3.0, {"layer1": 1 / 3})
    return TrainingProgress("run", {"lr": 0.1}, DATA, [record], 1, 0.3, EpochSums(8, 1, 2 / 3, 4, 1.5, {"head": 0.7}))


def test_progress_and_tensors_come_back_exactly(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "bundle")
    assert checkpoints.load_progress() is None
    checkpoints.start()
    tensors = {"a": torch.randn(3, 4), "count": torch.tensor(7)}
    tensors |= {"tied": tensors["a"], "view": tensors["a"].view(-1)[:6]}  # layers may have common weights
    for saved in (progress(), TrainingProgress("fresh", {}, DATA)):
        checkpoints.save_last(tensors, saved)
        assert checkpoints.load_progress() == saved
    loaded = checkpoints.load_last()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_full_disk_keeps_the_last_good_state(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "bundle")
    checkpoints.start()
    checkpoints.save_last({"a": torch.ones(5)}, progress())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(VegrtError, match=r"last.safetensors: cannot be written"):
            checkpoints.save_last({"a": torch.zeros(1 << 20)}, progress())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoints.load_last()["a"].tolist() == [1.0] * 5
    assert [path.name for path in checkpoints.folder.iterdir()] == ["last.safetensors"]


def test_refuses_a_damaged_state_and_an_unwritable_place(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "bundle")
    checkpoints.start()
    checkpoints.last.write_bytes(b"damaged")
    with pytest.raises(VegrtError, match=r"damaged .* with --overwrite"):
        checkpoints.load_progress()
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"cannot be written .*choose another --out"):
        Checkpoints(tmp_path / "file" / "bundle").start()
