"""Two processes under torchrun take the steps that one process takes on the same batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vegrt.backbones import build_network
from vegrt.bundle.bundle import find_bundles
from vegrt.errors import VegrtError
from vegrt.train.loop.processes import ProcessGroup, join_process_group

SCRIPT = str(Path(__file__).with_name("two_processes.py"))
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def start(options: list[str], data: Path, out: Path, weights: Path) -> subprocess.Popen[str]:
    command = [sys.executable, *options, SCRIPT, str(data), str(out), str(weights)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_two_processes_train_like_one(colours: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    save_file(build_network("resnet18", 3).state_dict(), weights)
    started = [start(options, colours, tmp_path / name, weights) for name, options in (("one", []), ("two", TORCHRUN))]
    outputs = [process.communicate(timeout=300) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    single, pair = (json.loads(out) for out, _ in outputs)
    assert single.keys() == pair.keys() >= {"losses", "epochs"}
    for name in single:
        assert pair[name] == pytest.approx(single[name], rel=2e-4, abs=2e-5), name
    assert len(find_bundles(tmp_path)) == 2


def test_a_batch_that_does_not_divide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(VegrtError, match="batch_size 32 does not divide among 3 processes"):
        join_process_group(32)


def test_shares_are_equal_and_portions_complete() -> None:
    groups = []
    for rank in range(3):
        group = ProcessGroup()
        group.rank, group.size = rank, 3
        groups.append(group)
    assert [group.share(range(8)) for group in groups] == [[0, 3], [1, 4], [2, 5]]
    assert [group.portion(range(8)) for group in groups] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert [group.portion(range(2)) for group in groups] == [[0], [1], []]
