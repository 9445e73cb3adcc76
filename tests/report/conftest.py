"""A bundle with results that vegrt's own evaluation and benchmark code computed, from seeded logits and times.

The artifacts are dummy bytes: a report reads the manifest and the result files, never a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vegrt.bundle import Bundle, Manifest, changing, open_bundle
from vegrt.dataset import Split, read_split
from vegrt.infer import bench, evaluate
from vegrt.infer.open import Candidate
from vegrt.infer.results import save_result
from vegrt.preprocess import Contract

CLASSES = ("Bean", "Carrot", "Cucumber", "Papaya", "Potato", "Radish")
PHOTOS_PER_CLASS = 150  # 900 in all: the least at which a loss-free candidate can pass a margin of 0.5 points is 765
MARGIN = 0.5
SPEED_MS = {"fp32/onnxruntime": 14.0, "fp16/onnxruntime": 19.0, "int8/onnxruntime": 9.5, "int8-cpu/onnxruntime": 4.4}
SPEED_MS |= {"fp32/openvino": 12.1, "int8/openvino": 5.2, "int8-cpu/openvino": 3.3}
NOISE = {"fp32": 0.0, "fp16": 0.001, "int8": 0.03, "int8-cpu": 0.03}  # of logits that spread by 1.3
SIZE_BYTES = {"fp32": 4470, "fp16": 2240, "int8": 1130, "int8-cpu": 1140}


@dataclass
class Case:
    """What a test wants to differ. noise: standard deviation added to the logits of a variant, or of a key."""

    noise: Mapping[str, float] = field(default_factory=dict)
    speed_ms: Mapping[str, float] = field(default_factory=lambda: SPEED_MS)
    evaluated: bool = True
    measured: bool = True
    provenance: bool = True
    audited: bool = False


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test split as tiny photos. Read only."""
    root = tmp_path_factory.mktemp("data")
    draw_photos(root, CLASSES)
    return root


@pytest.fixture
def make(tmp_path: Path, data: Path) -> Callable[..., Bundle]:
    """Return a function that makes the bundle of a case, given by the fields of Case."""

    def made(*, name: str = "resnet18", photos: Path = data, **wanted: Any) -> Bundle:
        return make_bundle(tmp_path / name, photos, Case(**wanted))

    return made


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A data folder in which a class name is a script."""
    draw_photos(tmp_path / "hostile", ("<script>alert(1)<", "Carrot"), 60)
    return tmp_path / "hostile"


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Bundle:
    """A bundle with everything in it, whose int8 loses photos. Read only."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "resnet18", data, Case(noise={"int8": 0.5}))


def draw_photos(root: Path, classes: tuple[str, ...], count: int = PHOTOS_PER_CLASS) -> None:
    random = np.random.default_rng(0)
    for name in classes:
        folder = root / "test" / name
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:04d}.jpg")


def make_bundle(path: Path, data: Path, case: Case) -> Bundle:
    split = read_split(data, "test")
    facts: dict[str, Any] = provenance(split) if case.provenance else {}
    manifest = Manifest(path.name, split.classes, Contract(), {"backbone": "resnet18", "head": "gap"}, **facts)
    with changing(path) as staging:
        staging.file("weights.safetensors").write_bytes(b"weights")
        staging.add("weights.safetensors", "weights")
        for variant, size in SIZE_BYTES.items():
            staging.file(f"{variant}.onnx").write_bytes(bytes(size))
            staging.add(f"{variant}.onnx", "model", variant)
        if case.provenance:
            staging.file("engines/rtx/int8.engine").write_bytes(b"plan")
            details = {"builder": "tensorrt_rtx", "version": "1.7", "convolutions": 20, "matched": 20, "wanted": "Int8"}
            staging.add("engines/rtx/int8.engine", "engine", "int8", details)
        staging.finish(manifest)
    bundle = open_bundle(path)
    chosen = [candidate_of(key) for key in case.speed_ms]
    if case.evaluated:
        save_result(bundle, "evaluate-test", evaluation(bundle, split, chosen, case))
    if case.provenance:
        used = [{"artifact_sha256": bundle.artifact("model", "fp32").sha256}]
        for name, rows in calibration_extras().items():
            save_result(bundle, name, {"candidates": used, "images": 64, "rows": rows})
    if case.measured:
        save_result(bundle, "bench", benchmark(bundle, chosen, case))
    return bundle


def candidate_of(key: str) -> Candidate:
    variant, runtime = key.split("/")
    return Candidate(variant, runtime)  # type: ignore[arg-type]


def evaluation(bundle: Bundle, split: Split, chosen: list[Candidate], case: Case) -> dict[str, Any]:
    """Return what `evaluate` returns, by its own function, so that the schema cannot drift."""
    labels = np.array([photo.label for photo in split.photos])
    logits = {one: noisy(labels, len(split.classes), one, case) for one in chosen}
    leaked = [split.relative(split.photos[index]) for index in range(0, len(split), 5)] if case.audited else None
    return {"unreadable": []} | evaluate.judged(
        bundle, split, [*range(len(split))], logits, margin=MARGIN, leaked=leaked
    )


def noisy(labels: NDArray[np.int_], classes: int, candidate: Candidate, case: Case) -> NDArray[np.float32]:
    """Return logits that are right about 98 times in 100, and those of a candidate near them."""
    base = np.random.default_rng(1).normal(0, 1.3, (len(labels), classes))
    base[np.arange(len(labels)), labels] += 4.9
    noise = {**NOISE, **case.noise}
    spread = noise.get(str(candidate), noise[candidate.variant])
    return (base + np.random.default_rng(crc32(str(candidate).encode())).normal(0, spread, base.shape)).astype(
        np.float32
    )


def benchmark(bundle: Bundle, chosen: list[Candidate], case: Case) -> dict[str, Any]:
    random = np.random.default_rng(3)

    def row(one: Candidate) -> dict[str, Any]:
        first = case.speed_ms[str(one)] / 1e3
        seconds = {batch: list(first * batch**0.88 * random.lognormal(0, 0.06, 60)) for batch in (1, 16)}
        return bench._row(bundle, one, 0.4, seconds)

    return {"rounds": 60, "warm_up": 3, "candidates": [row(one) for one in chosen]}


def calibration_extras() -> dict[str, list[dict[str, Any]]]:
    layers = [f"layer{stage}.{block}.conv{number}" for stage in (1, 2, 3, 4) for block in (0, 1) for number in (1, 2)]
    figures = {"sqnr_db": 30.0, "flips": 1, "agreement": 0.99}
    return {
        "sensitivity": [
            {"layer": layer, "encoding": encoding, "kl": 1e-3 / (index + 1) ** power} | figures
            for power, encoding in ((1, "signed"), (0.5, "unsigned"))
            for index, layer in enumerate(layers)
        ],
        "curve": [{"images": 32, "encoding": "signed", "kl": 2e-3} | figures],
    }


def provenance(split: Split) -> dict[str, Any]:
    epochs: list[dict[str, Any]] = [
        {
            "epoch": epoch,
            "phase": "head" if epoch <= 8 else "all",
            "train_loss": 0.25 + 1.9 * 0.7**epoch,
            "train_accuracy": 0.95 - 0.6 * 0.7**epoch,
            "validation_loss": 0.08 + 1.6 * 0.7**epoch,
            "validation_accuracy": 0.985 - 0.5 * 0.7**epoch,
            "lr": 1e-3,
            "images_per_s": 100.0,
            "seconds": 30.0,
            "gradient_norms": {},
        }
        for epoch in range(1, 13)
    ]
    methods = {"minmax": 0.991, "percentile": 0.994, "entropy": 0.993, "mse": 0.997}
    tournament = [
        {"method": method, "encoding": encoding, "agreement": agreement, "kl": 1 - agreement}
        for encoding in ("signed", "unsigned")
        for method, agreement in methods.items()
    ]
    return {
        "data": {"test": {"photos": len(split), "counts": split.counts(), "fingerprint": split.fingerprint()}},
        "training": {"best_epoch": 12, "seconds": 360.0, "device": "2 CPU cores", "epochs": epochs},
        "calibration": {
            "method": {"signed": "mse", "unsigned": "mse"},
            "images": 450,
            "judged_images": 450,
            "tournament": tournament,
            "float_layers": {"int8": ["layer4.1.conv2"], "int8-cpu": []},
            "int8_macs_share": {"int8": 0.9, "int8-cpu": 1.0},
            "outliers": [{"tensor": "relu", "layers": ["layer1.0.conv1"], "channel": 7, "peak": 60.0, "typical": 1.0}],
        },
        "tools": {"torch": "2.9.1"},
    }
