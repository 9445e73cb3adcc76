"""The programs in peers/ run, and the peers give the answers that we give: else a comparison of their speeds means nothing."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vegrt.bundle.bundle import Bundle

PEERS = Path(__file__).parents[2] / "peers"


def call(name: str, *words: object) -> dict[str, Any]:
    command = [sys.executable, str(PEERS / f"{name}.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def labels(out: Path) -> list[tuple[str, str]]:
    with out.open(newline="") as file:
        return [(row["path"], row["label"]) for row in csv.DictReader(file)]


def test_the_peers_give_our_answers(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    answers = {}
    for name in ("ours", "torch_eager", "plain_onnxruntime", "timm_infer"):
        out = tmp_path / f"{name}.csv"
        options = ["--bundle", bundle.path, "--variant", "fp32", "--batch", 7, "--workers", 1, "--out", out]
        line = call(name, photos / "test", *options)
        assert (line["images"], line["batch"]) == (60, 7)
        assert line["images_per_s"] == pytest.approx(60 / line["seconds"], rel=0.02)
        answers[name] = labels(out)
    want = answers.pop("ours")
    for name, found in answers.items():
        assert [path for path, _ in found] == [path for path, _ in want], name
        # the photos are 72 x 64 and are resized to 48: torchvision and timm round pixels differently
        assert sum(mine == theirs for mine, theirs in zip(found, want, strict=True)) >= 57, name
    assert answers["plain_onnxruntime"] == want


def test_the_command_ultralytics_share_photos_and_soak(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    given = ["--bundle", bundle.path, "--variant", "fp32"]
    whole = call("ours", photos / "test", "--process", *given, "--limit", 9)
    assert (whole["images"], whole["load_s"]) == (9, 0.0)
    assert {"skipped", "images"} & set(call("ultralytics_predict", photos / "test", "--bundle", bundle.path))
    share = call("share", photos / "test", *given, "--limit", 8, "--rounds", 1)
    assert share["share"] == pytest.approx(share["files_images_per_s"] / share["memory_images_per_s"], rel=0.05)
    large = call("large_photos", photos / "test", *given, "--limit", 1, "--rounds", 1)
    assert (large["images"], large["same_top1"]) == (1, "1 of 1")
    soak = call("soak", photos / "test", *given, "--soak", 60, "--every", 0.05)
    assert soak["images"] == 60


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(f"peers_{name}", PEERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_medians_of_ratios_within_rounds() -> None:
    module = load("end_to_end")
    seconds = {"ours": [1.0, 2.0, 4.0], "plain": [3.0, 8.0, 4.0]}
    lines = {
        one: [{"name": one, "images": 8, "top1": 0.5, "seconds": value} for value in values]
        for one, values in seconds.items()
    }
    table = module.table(lines, {"ours": 16, "plain": 8}, lambda line: float(line["seconds"]))
    assert table.splitlines()[2:] == [
        "| ours | 16 | 2.00 (1.00 to 4.00) | 4.0 | 1.00 (1.00 to 1.00) | 50.00 |",
        "| plain | 8 | 4.00 (3.00 to 8.00) | 2.0 | 3.00 (1.00 to 4.00) | 50.00 |",
    ]
