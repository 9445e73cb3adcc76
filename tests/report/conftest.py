"""A bundle with results that vegrt's own evaluation and benchmark code computed, from seeded logits and times.

The artifacts are dummy bytes: a report reads the manifest and the result files, never a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.dataset.photos import Split, read_split
from vegrt.evaluate import evaluate
from vegrt.evaluate.benchmark.statistics import summarize_times
from vegrt.evaluate.statistics import mcnemar, tango, wilson
from vegrt.infer.runtimes.candidates import Candidate, candidate_row
from vegrt.photo.contract import Contract
from vegrt.report.write import ReportFiles, Sources, write_report
from vegrt.results.analysis import Curve, Robustness, Sensitivity
from vegrt.results.benchmark import Bench, BenchCandidate
from vegrt.results.convert import fields_of, from_dict, to_dict
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result, save_result
from vegrt.results.header import header_fields

CLASSES = ("Bean", "Carrot", "Cucumber", "Papaya", "Potato", "Radish")
PHOTOS_PER_CLASS = 150  # 900 in all: the least at which a loss-free candidate can pass a margin of 0.5 points is 765
MARGIN = 0.5
SPEED_MS = {"fp32/onnxruntime": 14.0, "fp16/onnxruntime": 19.0, "int8/onnxruntime": 9.5, "int8-cpu/onnxruntime": 4.4}
SPEED_MS |= {"fp32/openvino": 12.1, "int8/openvino": 5.2, "int8-cpu/openvino": 3.3}
NOISE = {"fp32": 0.0, "fp16": 0.001, "int8": 0.03, "int8-cpu": 0.03}  # of logits that spread by 1.3
SIZE_BYTES = {"fp32": 4470, "fp16": 2240, "int8": 1130, "int8-cpu": 1140}
BINS = 15
CORRUPTIONS = {"jpeg": (25, 18, 15, 10, 7), "blur": (1, 2, 3, 4, 6)}
_ROW = ("brier", "margin_mean", "classes", "reliability")
_PAIRED = ("kl", "detectable_drop", "classes")
_POINT = ("p50_low_ms", "p50_high_ms", "images_per_s_low", "images_per_s_high")
_BENCH = ("peak_rss_mib", "copies", "end_to_end", "stages_ms")


@dataclass
class Case:
    """The properties of a bundle that a test can choose. noise: standard deviation added to the logits of a variant or key."""

    noise: Mapping[str, float] = field(default_factory=dict)
    speed_ms: Mapping[str, float] = field(default_factory=lambda: SPEED_MS)
    evaluated: bool = True
    measured: bool = True
    provenance: bool = True
    audited: bool = False
    older: bool = False  # result files without the fields that later versions added


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


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Bundle:
    """A bundle with everything in it, whose int8 loses photos. Read only."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "resnet18", data, Case(noise={"int8": 0.5}))


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory, data: Path, usual: Bundle) -> Path:
    """The page of the usual bundle, with photos. Read only."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    write_report([usual], ReportFiles(out), sources=Sources(data))
    return out


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
            kind = Sensitivity if name == "sensitivity" else Curve
            body = {"candidates": used, "images": 64, "rows": rows}
            save_result(bundle, name, from_dict(kind, to_dict(header_fields(bundle, name)) | body))
    if case.measured:
        save_result(bundle, "bench", benchmark(bundle, chosen, case))
    (make_older if case.older else make_newer)(bundle)
    return bundle


def candidate_of(key: str) -> Candidate:
    variant, runtime = key.split("/")
    return Candidate(variant, runtime)  # type: ignore[arg-type]


def evaluation(bundle: Bundle, split: Split, chosen: list[Candidate], case: Case) -> Evaluation:
    """Return an evaluation made by vegrt's own function, so that it always has the current format."""
    labels = np.array([photo.label for photo in split.photos])
    logits = {candidate: noisy(labels, len(split.classes), candidate, case) for candidate in chosen}
    leaked = [split.relative(split.photos[index]) for index in range(0, len(split), 5)] if case.audited else None
    return evaluate.evaluate_logits(bundle, split, [*range(len(split))], logits, margin=MARGIN, leaked=leaked)


def noisy(labels: NDArray[np.int_], classes: int, candidate: Candidate, case: Case) -> NDArray[np.float32]:
    """Return logits of about 98 % accuracy, with the candidate's noise added."""
    base = np.random.default_rng(1).normal(0, 1.3, (len(labels), classes))
    base[np.arange(len(labels)), labels] += 4.9
    noise = {**NOISE, **case.noise}
    spread = noise.get(str(candidate), noise[candidate.variant])
    return (base + np.random.default_rng(crc32(str(candidate).encode())).normal(0, spread, base.shape)).astype(
        np.float32
    )


def benchmark(bundle: Bundle, chosen: list[Candidate], case: Case) -> Bench:
    random = np.random.default_rng(3)

    def row(candidate: Candidate) -> BenchCandidate:
        first = case.speed_ms[str(candidate)] / 1e3
        seconds = {batch: list(first * batch**0.88 * random.lognormal(0, 0.06, 60)) for batch in (1, 16)}
        timings = tuple(summarize_times(batch, samples) for batch, samples in seconds.items())
        return BenchCandidate(**fields_of(candidate_row(bundle, candidate)), load_s=0.4, batches=timings)

    rows = tuple(map(row, chosen))
    return Bench(**header_fields(bundle, Bench.KIND), rounds=60, warm_up=3, candidates=rows)


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
    stops = {"minmax": {"images": 64, "reason": "flips"}, "percentile": {"images": 96, "reason": "KL"}}
    tournament = [
        {"method": method, "encoding": encoding, "agreement": agreement, "kl": 1 - agreement}
        | ({"stopped": stops[method]} if method in stops else {})
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


def rewrite(bundle: Bundle, name: str, change: Any) -> None:
    """Apply `change` to the content of a result file, if it exists."""
    file = bundle.path / f"results/{name}.json"
    if file.is_file():
        result = json.loads(file.read_text(encoding="utf-8"))
        change(result)
        file.write_text(json.dumps(result), encoding="utf-8")


def make_newer(bundle: Bundle) -> None:
    """Add the fields of newer results where they are missing, and a robustness result."""
    rewrite(bundle, "evaluate-test", _newer_evaluation)
    rewrite(bundle, "bench", _newer_bench)
    if (evaluation := load_result(bundle, Evaluation, "evaluate-test")) is not None:
        body = to_dict(header_fields(bundle, Robustness.KIND)) | _robustness(to_dict(evaluation))
        save_result(bundle, "robustness-test", from_dict(Robustness, body))


def make_older(bundle: Bundle) -> None:
    """Remove the fields that older results do not have."""
    rewrite(bundle, "evaluate-test", _older_evaluation)
    rewrite(bundle, "bench", _older_bench)
    (bundle.path / "results/robustness-test.json").unlink(missing_ok=True)


def _newer_evaluation(result: dict[str, Any]) -> None:
    predictions, rows = result["predictions"], result["candidates"]
    labels = np.array(predictions["labels"])
    reference = np.array(predictions["candidates"][rows[0]["key"]]["top1"])
    for row in rows:
        answers = predictions["candidates"][row["key"]]
        answers.setdefault("margin", [round(max(0.0, 2 * value - 1), 6) for value in answers["probability"]])
        top1, probability = np.array(answers["top1"]), np.array(answers["probability"])
        for name in ("nll", "ece"):
            row[name] = row[name] if isinstance(row[name], dict) else _around(row[name])
        row.setdefault("brier", _around(float(np.mean((1 - probability) ** 2))))
        row.setdefault("margin_mean", _around(0.9))
        row.setdefault("reliability", _bins(probability, top1 == labels))
        classes = range(len(result["classes"]))
        row.setdefault("classes", [_class(labels == label, top1 == label) for label in classes])
        row["paired"].setdefault("kl", _around(0.002))
        row["paired"].setdefault("detectable_drop", 0.0042)
        changes = [_change(labels == label, reference == labels, top1 == labels) for label in classes]
        row["paired"].setdefault("classes", changes)


def _newer_bench(result: dict[str, Any]) -> None:
    for row in result["candidates"]:
        for point in row["batches"]:
            for name in ("p50_ms", "images_per_s"):
                low, high = _POINT[:2] if name == "p50_ms" else _POINT[2:]
                point.setdefault(low, point[name] * 0.96)
                point.setdefault(high, point[name] * 1.05)
        stages = {"decode": 0.4, "prepare": 0.1, "post": 0.05}
        added = [
            stages | {"batch": point["batch"], "run": point["p50_ms"] / point["batch"]} for point in row["batches"]
        ]
        more = {"peak_rss_mib": 300.0, "copies": row["batches"], "end_to_end": row["batches"], "stages_ms": added}
        row.update({name: value for name, value in more.items() if name not in row})


def _robustness(evaluation: dict[str, Any]) -> dict[str, Any]:
    chosen = [evaluation["candidates"][0], *evaluation["candidates"][2:4]]
    cells: list[tuple[str, int, int | None]] = [("clean", 0, None)]
    cells += [(name, level, value) for name, values in CORRUPTIONS.items() for level, value in enumerate(values, 1)]
    rows = [
        {"corruption": name, "level": level, "parameter": value, "candidate": row["key"], "flips": 2 * level}
        | {"top1": asdict(wilson(890 - 9 * level, 900)), "drop": asdict(tango(level, 1, 900))}
        | {"newly_wrong": level, "newly_right": 1}
        for name, level, value in cells
        for row in chosen
    ]
    summary = [{"candidate": row["key"], "extra_drop": _around(0.003)} for row in chosen[1:]]
    named = [
        {name: row[name] for name in ("key", "variant", "runtime", "artifact_sha256", "size_bytes")} for row in chosen
    ]
    return {"images": 900, "confidence": 0.95, "candidates": named, "rows": rows, "summary": summary}


def _older_evaluation(result: dict[str, Any]) -> None:
    for answers in result["predictions"]["candidates"].values():
        answers.pop("margin", None)
    for row in result["candidates"]:
        for name in _ROW:
            row.pop(name, None)
        for name in _PAIRED:
            row["paired"].pop(name, None)
        row["gate"].pop("images_to_decide", None)
        for name in ("nll", "ece"):
            row[name] = row[name]["value"] if isinstance(row[name], dict) else row[name]


def _older_bench(result: dict[str, Any]) -> None:
    for row in result["candidates"]:
        for name in _BENCH:
            row.pop(name, None)
        for point in row["batches"]:
            for name in _POINT:
                point.pop(name, None)


def _around(value: float) -> dict[str, float]:
    return {"value": value, "low": value * 0.9, "high": value * 1.1}


def _class(truth: Any, answered: Any) -> dict[str, Any]:
    hits, support, answers = int((truth & answered).sum()), int(truth.sum()), int(answered.sum())
    return {
        "support": support,
        "precision": asdict(wilson(hits, answers)) if answers else None,
        "recall": asdict(wilson(hits, support)),
        "f1": _around(2 * hits / (support + answers)),
    }


def _change(true: Any, before: Any, now: Any) -> dict[str, Any]:
    wrong, right = int((true & before & ~now).sum()), int((true & ~before & now).sum())
    p = mcnemar(wrong, right)
    drop = asdict(tango(wrong, right, int(true.sum())))
    return {"newly_wrong": wrong, "newly_right": right, "drop": drop, "p": p, "p_holm": min(1.0, 6 * p)}


def _bins(probability: Any, right: Any) -> list[dict[str, Any]]:
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = place == number
        some = bool(inside.any())
        figures = (
            {"confidence": float(probability[inside].mean()), "accuracy": float(right[inside].mean())} if some else {}
        )
        empty: dict[str, Any] = {"low": number / BINS, "high": (number + 1) / BINS, "count": int(inside.sum())}
        bins.append(empty | {"confidence": None, "accuracy": None} | figures)
    return bins
