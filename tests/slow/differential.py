"""Random small classifiers through a whole export, each file in every runtime that is here, against an oracle.

    make differential        or: python tests/slow/differential.py WORK [--networks 300] [--rtx]

Oracles: fp32: torch. int8 and int8-cpu: ONNX Runtime without optimizations, which computes QuantizeLinear and DequantizeLinear
as they are written. A runtime is wrong when a logit is further from the oracle than EXACT of the logits' spread for fp32, or
than ROUNDING times what quantization itself changed the logits for 8 bits. Another class within that is a near tie; any other
is unexplained. With --rtx, TensorRT-RTX builds int8 plans, in which every quantized layer must compute in Int8. Networks with a
result in WORK are left out: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from tests.random_networks import RandomClassifier, random_classifier
from tests.slow.sweep import class_names, import_module, make_data, say
from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.export.engines.options import ExportOptions, Profile
from vegrt.export.stage import ExportJob, export
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.open import open_candidate
from vegrt.networks import WithPreprocessing
from vegrt.photo.preprocess import load_image

EXACT = 1e-3  # of the spread of the logits
ROUNDING = 3  # 8-bit kernels round at other places than the file states, as often as quantization itself does
Logits = NDArray[np.float32]
CANDIDATES = {
    "fp32": ("onnxruntime", "openvino", "mnn"),
    "int8": ("onnxruntime", "openvino"),
    "int8-cpu": ("onnxruntime", "openvino"),
}


@dataclass(frozen=True)
class Outcome:
    """What was found of one network. error: of the export. faults: what no runtime may do. flips: explained, by candidate.

    difference: largest to the oracle, by candidate; of the logits' spread for fp32, of what quantization changed for 8 bits.
    """

    seed: int
    blocks: str
    error: str = ""
    plan: str = ""
    faults: list[str] = field(default_factory=list)
    flips: dict[str, int] = field(default_factory=dict)
    difference: dict[str, float] = field(default_factory=dict)


def outcome_of(seed: int, data: Path, *, rtx: bool) -> Outcome:
    """Export the network of a seed, and compare what the runtimes answer to the test photos and to noise."""
    classes = class_names(data)
    classifier = random_classifier(seed, len(classes))
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundle = exported(classifier, classes, data, Path(folder))
            contract = bundle.manifest.contract
            photos = [load_image(path, contract) for path in sorted((data / "test").rglob("*.jpg"))]
            noise = np.random.default_rng(seed).integers(0, 256, (len(photos), *contract.shape), np.uint8)
            images = np.concatenate([np.stack(photos), noise])
            with torch.inference_mode():
                exact = WithPreprocessing(classifier.network, contract)(torch.from_numpy(images)).numpy()
            found = [compare(bundle, variant, images, exact, classifier.batch) for variant in CANDIDATES]
            plan, fault = audited(bundle) if rtx else ("", "")
        except VegrtError as error:
            return Outcome(seed, classifier.blocks, str(error).replace(folder, "WORK"))
    faults = [fault for part in found for fault in part.faults] + ([fault] if fault else [])
    flips = {key: count for part in found for key, count in part.flips.items()}
    difference = {key: size for part in found for key, size in part.difference.items()}
    return Outcome(seed, classifier.blocks, plan=plan, faults=faults, flips=flips, difference=difference)


def exported(classifier: RandomClassifier, classes: tuple[str, ...], data: Path, folder: Path) -> Bundle:
    """Return the bundle of a network that was imported from the ONNX file that torch writes, and exported."""
    height, width = classifier.size
    contract = f'size = [{height}, {width}]\nfit = "stretch"\nmean = [0.5, 0.4, 0.45]\nstd = [0.25, 0.2, 0.3]\n'
    import_module(classifier.network, classifier.size, contract, folder / "bundle", classes)
    options = ExportOptions(profile=Profile(1, 1, max(8, classifier.batch)))
    return export(folder / "bundle", data, ExportJob(False, untrained=True, options=options))


@dataclass(frozen=True)
class Compared:
    """The comparison of the candidates of one variant; as in Outcome."""

    faults: list[str]
    flips: dict[str, int]
    difference: dict[str, float]


def compare(bundle: Bundle, variant: str, images: NDArray[np.uint8], exact: Logits, batch: int) -> Compared:
    """Compare every candidate of a variant with its oracle. exact: the logits of torch."""
    oracle = exact if variant == "fp32" else as_written(bundle.file("model", variant), images)
    tolerance = EXACT * float(np.ptp(exact)) if variant == "fp32" else ROUNDING * float(np.abs(oracle - exact).max())
    result = Compared([], {}, {})
    for runtime in CANDIDATES[variant]:
        if runtime == "mnn" and not bundle.has("mnn"):
            result.faults.append(f"{variant}/{runtime}: no model was made")
            continue
        key = f"{variant}/{runtime}"
        answers = answered(bundle, Candidate(variant, runtime), images, batch)  # type: ignore[arg-type]
        largest = float(np.abs(answers - oracle).max())
        result.difference[key] = largest / tolerance * (EXACT if variant == "fp32" else ROUNDING)
        flipped, unexplained = flips(answers, oracle, tolerance)
        result.flips[key] = flipped - unexplained
        if largest > tolerance or unexplained:
            result.faults.append(
                f"{key}: logits {largest:.4g} apart, allowed {tolerance:.4g}; {unexplained} unexplained"
            )
    return result


def as_written(model: Path, images: NDArray[np.uint8]) -> Logits:
    """Return the (N, K) logits that a file states, without any optimization."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {session.get_inputs()[0].name: images})
    return np.asarray(logits)


def answered(bundle: Bundle, candidate: Candidate, images: NDArray[np.uint8], batch: int) -> Logits:
    """Return the (N, K) logits of a candidate, which gets the images in batches."""
    runner = open_candidate(bundle, candidate)
    parts = [runner.logits(images[start : start + batch]).copy() for start in range(0, len(images), batch)]
    return np.concatenate(parts)


def flips(answers: Logits, oracle: Logits, tolerance: float) -> tuple[int, int]:
    """Return how many images have another class than the oracle gives, and how many of these are no near tie."""
    own, right, rows = answers.argmax(axis=1), oracle.argmax(axis=1), np.arange(len(oracle))
    gap = oracle[rows, right] - oracle[rows, own]
    return int((own != right).sum()), int((gap > 2 * tolerance).sum())


def audited(bundle: Bundle) -> tuple[str, str]:
    """Return the layers of TensorRT-RTX's int8 plan in words, and a fault: not built, or a layer in another type."""
    import tensorrt_rtx

    from vegrt.export.engines.audit import audit_model
    from vegrt.export.engines.build import build_engine

    model = bundle.file("model", "int8").read_bytes()
    try:
        engine = build_engine(tensorrt_rtx, "int8", model, Profile(1, 1, 8))
    except VegrtError as error:
        return "", str(error)
    audit = audit_model(engine.layers, model, "Int8")
    return str(audit), f"plan: {audit}" if audit.fallbacks else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--networks", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="number of the first network")
    parser.add_argument("--rtx", action="store_true", help="also build int8 plans with TensorRT-RTX")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # of networks no better than chance
    make_data(options.work / "data")
    outcomes = []
    for seed in range(options.first, options.first + options.networks):
        file = options.work / f"{seed}.json"
        if not file.exists():
            file.write_text(json.dumps(asdict(outcome_of(seed, options.work / "data", rtx=options.rtx)), indent=1))
        outcome = Outcome(**json.loads(file.read_text()))
        outcomes.append(outcome)
        for fault in [*outcome.faults, *([outcome.error] if outcome.error else [])]:
            say(f"{seed} ({outcome.blocks}): {fault}")
    summarize(outcomes)
    return int(any(outcome.faults or outcome.error for outcome in outcomes))


def summarize(outcomes: list[Outcome]) -> None:
    failed, faulty = (sum(bool(getattr(outcome, name)) for outcome in outcomes) for name in ("error", "faults"))
    say(
        f"{len(outcomes)} networks: {failed} not exported, {faulty} with faults, {sum(bool(o.plan) for o in outcomes)} plans"
    )
    flipped = sum((Counter(outcome.flips) for outcome in outcomes), Counter[str]())
    for key in sorted({key for outcome in outcomes for key in outcome.difference}):
        sizes = [outcome.difference[key] for outcome in outcomes if key in outcome.difference]
        unit = "of the spread" if key.startswith("fp32") else "of the error of quantization"
        say(
            f"{key}: {len(sizes)} networks, {flipped[key]} near ties decided otherwise; "
            f"largest difference {max(sizes):.2g} {unit}"
        )


if __name__ == "__main__":
    sys.exit(main())
