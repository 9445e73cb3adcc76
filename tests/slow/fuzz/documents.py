"""Documents: manifest, results, calibration, trust, counters and audit in JSON; recipes and contracts in TOML; lists in text."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.slow.fuzz.mutate_text import LISTED_CLASSES
from tests.slow.fuzz.target import Mutate, Target, as_json, as_lines
from vegrt.bundle.manifest import parse_manifest
from vegrt.calibration.saved import read_calibration
from vegrt.dataset.listing import read_listing
from vegrt.export.imported.class_list import read_classes
from vegrt.export.imported.source import read_contract
from vegrt.infer.drift.counters import read_counters
from vegrt.infer.trust.record import Trust
from vegrt.results.analysis import Curve, Robustness, Sensitivity
from vegrt.results.benchmark import Bench
from vegrt.results.convert import AnyResult
from vegrt.results.evaluation import Evaluation, Predictions, PredictionsFile
from vegrt.results.files import parse_result
from vegrt.results.predictions import read_predictions, store_predictions
from vegrt.schema import parse_json
from vegrt.train.data.audit_file import read_audit_file, read_reported_audit
from vegrt.train.recipe import make_recipe

KINDS: tuple[type[AnyResult], ...] = (Evaluation, Bench, Robustness, Sensitivity, Curve)


def read_result(data: bytes, folder: Path) -> str:
    """Read a result as the kind that it claims to be, or as an evaluation."""
    kind = next((kind for kind in KINDS if f'"vegrt-{kind.KIND}"'.encode() in data), Evaluation)
    return type(parse_result(data, kind)).__name__


def from_file(read: Callable[[Path], object], name: str) -> Callable[[bytes, Path], object]:
    """Return a reader of bytes for a reader of files."""

    def run(data: bytes, folder: Path) -> str:
        (folder / name).write_bytes(data)
        return type(read(folder / name)).__name__

    return run


def read_audits(file: Path) -> object:
    """Read an audit as the training and as the report do."""
    read_reported_audit(file)
    return read_audit_file(file)


def read_trust(data: bytes, folder: Path) -> str:
    """Read trust.json."""
    return str(len(Trust.from_dict(parse_json(data)).candidates))


def document(
    name: str, files: Sequence[str], run: Callable[[bytes, Path], object], mutate: Mutate = as_json, weight: float = 1.0
) -> Target:
    """Return a target whose seeds are files of the base, or of its bundle."""

    def seeds(base: Path) -> list[bytes]:
        return [file.read_bytes() for pattern in files for file in sorted(base.glob(pattern))]

    return Target(name, seeds, run, mutate, weight)


def read_manifest(data: bytes, folder: Path) -> str:
    """Read a manifest."""
    return str(len(parse_manifest(data, Path("manifest.json")).artifacts))


class StoredPredictions:
    """The predictions of many photos, in a Parquet file to which the evaluation of the base refers, with its right hash."""

    evaluation: Evaluation

    def seeds(self, base: Path) -> list[bytes]:
        """Return the file of the predictions of the base."""
        self.evaluation = parse_result((base / "bundle/results/evaluate-test.json").read_bytes(), Evaluation)
        with tempfile.TemporaryDirectory() as name:
            stored = store_predictions(Path(name, "x.json"), self.evaluation, max_inline=1).predictions
            assert isinstance(stored, PredictionsFile)
            return [Path(name, stored.file).read_bytes()]

    def run(self, data: bytes, folder: Path) -> str:
        """Read them."""
        (folder / "x.parquet").write_bytes(data)
        whole = self.evaluation.predictions
        assert isinstance(whole, Predictions)
        stored = PredictionsFile("x.parquet", hashlib.sha256(data).hexdigest(), len(whole.paths), whole.photos_sha256)
        return str(len(read_predictions(folder, replace(self.evaluation, predictions=stored)).paths))


PREDICTIONS = StoredPredictions()
TARGETS = (
    document("manifest", ["bundle/manifest.json"], read_manifest, weight=3.0),
    document("results", ["bundle/results/*.json"], read_result, weight=3.0),
    Target("predictions", PREDICTIONS.seeds, PREDICTIONS.run),
    document("calibration", ["bundle/calibration.json"], from_file(read_calibration, "calibration.json"), weight=2.0),
    document("trust", ["bundle/trust.json"], read_trust, weight=2.0),
    document("counters", ["counters.json"], from_file(read_counters, "counters.json"), weight=2.0),
    document("audit", ["audit/audit.json"], from_file(read_audits, "audit.json")),
    document("data-sets", ["data/photos.csv"], from_file(read_listing, "photos.csv"), as_lines, 2.0),
    document("recipes", ["recipe.toml"], from_file(make_recipe, "recipe.toml"), as_lines),
    document("contracts", ["contract.toml"], from_file(read_contract, "contract.toml"), as_lines),
    Target("class-lists", lambda base: LISTED_CLASSES, from_file(read_classes, "classes.txt"), as_lines, 2.0),
)
