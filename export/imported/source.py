"""An ONNX classifier that someone else exported, as what an export starts from."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.bundle.entries import MANIFEST
from vegrt.bundle.manifest import Manifest
from vegrt.calibration.stage import finish_progress
from vegrt.dataset.classes import classes_fault
from vegrt.errors import BundleError, DataError, ModelError, VegrtError
from vegrt.export.imported.convert import convert_imported
from vegrt.export.imported.onnx_file import ForeignRunner, ImportedModel, read_foreign, run_session
from vegrt.export.onnx.model import serialize
from vegrt.files.toml import read_toml
from vegrt.infer.runtimes.onnxruntime import open_session
from vegrt.infer.runtimes.runner import Runner
from vegrt.photo.preprocess import MAX_SIDE, Contract

log = logging.getLogger(__name__)

SOURCE = "source.onnx"


@dataclass(frozen=True, slots=True)
class Source:
    """A network as a float32 graph, and the runner that says what it has to answer. name: of the reference."""

    graph: ir.Model
    reference: Runner
    name: str


def load_foreign(bundle: Bundle) -> Source:
    """Return the foreign classifier that a bundle holds. Raises ModelError when it cannot become such a graph."""
    manifest = bundle.manifest
    foreign = read_foreign(bundle.file("source"), len(manifest.classes), manifest.contract)
    graph = _adopted(foreign, manifest.classes, manifest.contract)
    return Source(graph, ForeignRunner(foreign, manifest.contract), SOURCE)


@contextmanager
def importing(path: Path, file: Path, classes: Path, contract: Path) -> Iterator[Bundle]:
    """Yield the bundle of `import_onnx`, and take it away again when what is done with it fails and it was not there before.

    After an interruption it stays, so that a calibration goes on where it was.
    """
    there, known = path.exists(), (path / MANIFEST).exists()
    bundle = None
    try:
        bundle = import_onnx(path, file, classes, contract)
        yield bundle
    except Exception:
        if not known:
            _take_away(path, bundle, folder=not there)
        raise


def _take_away(path: Path, bundle: Bundle | None, *, folder: bool) -> None:
    """Remove what an import wrote, unless it is no longer as it was written, or another process works on it."""
    try:
        if bundle is not None:
            with exclusive(path):
                if open_bundle(path, verify=False).manifest != bundle.manifest:
                    return
                for name in (MANIFEST, SOURCE):
                    (path / name).unlink(missing_ok=True)
                finish_progress(path)
        if folder:
            path.rmdir()
    except (OSError, VegrtError) as error:  # what failed before is what has to be said
        log.debug("%s: stays (%s)", path, error)


def import_onnx(path: Path, file: Path, classes: Path, contract: Path) -> Bundle:
    """Write a bundle that holds a foreign ONNX classifier as its source, to be exported, and return it.

    file: the model; data that it keeps beside itself goes into the bundle's file. classes: names, one a line. contract: TOML. The
    same once more changes nothing, so that an interrupted command can be repeated. Raises BundleError when `path` holds anything
    else, ModelError for an unfit model.
    """
    names, pixels = read_classes(classes), read_contract(contract)
    foreign = read_foreign(file, len(names), pixels)
    if (path / MANIFEST).exists():
        return _same(open_bundle(path), foreign, names, pixels)
    _adopted(foreign, names, pixels)  # what cannot be converted shall fail before anything is written
    model = {"onnx": file.name, "producer": foreign.proto.producer_name or "unknown", "opset": foreign.opset}
    with exclusive(path, make=True), changing(path) as staging:
        if (path / MANIFEST).exists():
            raise BundleError(f"{path}: another process made a bundle of it meanwhile; choose another BUNDLE")
        if foreign.embedded:
            staging.file(SOURCE).write_bytes(foreign.embedded)
        else:
            shutil.copyfile(file, staging.file(SOURCE))
        staging.add(SOURCE, "source", details={"layout": foreign.layout, "batch": foreign.batch})
        staging.finish(Manifest(path.resolve().name, names, pixels, model))
    return open_bundle(path)


def read_classes(file: Path) -> tuple[str, ...]:
    """Return class names from a text file, one a line. Raises DataError unless there are two or more, each once."""
    try:
        names = tuple(line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n") if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); expected class names, one a line") from error
    if fault := classes_fault(names):
        raise DataError(f"{file}: {fault}; expected every name once, one a line, in the order of the scores")
    return names


def read_contract(file: Path) -> Contract:
    """Return the contract of a TOML file with all its keys. Raises VegrtError for unknown, missing or odd ones.

    There are no defaults but that of `icc`: pixels that are normalised otherwise than in training cost accuracy in silence.
    """
    given, known = read_toml(file, "contract"), [field.name for field in fields(Contract)]
    if unknown := sorted(given.keys() - set(known)):
        raise VegrtError(f"{file}: unknown key(s) {', '.join(unknown)}; known are {', '.join(known)}")
    if missing := [name for name in known if name not in given and name != "icc"]:
        raise VegrtError(
            f"{file}: {', '.join(missing)} missing; expected {', '.join(known)}, as the network was trained"
        )
    for name, value in given.items():
        _check_value(file, name, value)
    return Contract(given["size"], given["resize"], tuple(given["mean"]), tuple(given["std"]), given.get("icc", "srgb"))


def _adopted(foreign: ImportedModel, classes: tuple[str, ...], contract: Contract) -> ir.Model:
    """Return the adopted graph. Raises ModelError when the exported batch is baked into it and could not be freed."""
    graph = convert_imported(foreign, classes, contract)
    session = open_session(serialize(graph))
    for count in (1, 2, 3):
        images = np.zeros((count, contract.size, contract.size, 3), np.uint8)
        try:
            found = run_session(session, foreign.subject, "logits", "images", images).shape
        except ModelError as error:
            raise ModelError(f"{error}; its batch is baked in: export it with a dynamic batch") from error
        if found != (count, len(classes)):
            raise ModelError(f"{foreign.subject}: {found} for {count} images, the batch is baked in: export it dynamic")
    return graph


def _check_value(file: Path, name: str, value: Any) -> None:
    if name in ("size", "resize"):
        fits, expected = type(value) is int and 0 < value <= MAX_SIDE, f"pixels, up to {MAX_SIDE}, such as 224"
    elif name == "icc":
        fits, expected = (
            value in ("srgb", "ignore"),
            "what becomes of colour profiles, 'srgb' (the default) or 'ignore'",
        )
    else:
        fits = isinstance(value, list) and len(value) == 3 and all(_is_number(one) for one in value)
        expected = "three numbers, of RGB pixels in [0, 1], such as [0.485, 0.456, 0.406]"
    if not fits:
        raise VegrtError(f"{file}: {name} is {value!r:.80}; expected {expected}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e6 < value < 1e6  # which no NaN is


def _same(bundle: Bundle, foreign: ImportedModel, classes: tuple[str, ...], contract: Contract) -> Bundle:
    manifest = bundle.manifest
    known = (manifest.classes, manifest.contract) == (classes, contract) and bundle.has("source")
    if not known or bundle.artifact("source").sha256 != foreign.sha256:
        raise BundleError(
            f"{bundle.path}: a bundle of another model, classes or contract; choose another BUNDLE, or delete this one"
        )
    return bundle
