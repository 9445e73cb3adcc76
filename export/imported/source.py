"""The import of an ONNX classifier into a bundle, and its float32 graph and reference for the export."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import onnx_ir as ir

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import Staging, changing, exclusive
from vegrt.bundle.entries import COMMIT, MANIFEST
from vegrt.bundle.manifest import Manifest
from vegrt.calibration.graph.onnx_graph import serialize
from vegrt.calibration.resume import finish_progress
from vegrt.errors import BundleError, VegrtError
from vegrt.export.imported.class_list import read_classes
from vegrt.export.imported.convert import convert_imported
from vegrt.export.imported.onnx_file import ImportedModel, ImportedRunner, check_dynamic_batch, read_imported
from vegrt.files.locking import locked
from vegrt.files.text import printable
from vegrt.files.toml import read_toml
from vegrt.infer.runtimes.runner import Runner
from vegrt.photo.contract import CHOICES, MAX_SIDE, Contract

log = logging.getLogger(__name__)

SOURCE = "source.onnx"
_RANGE = "pixel_range"
_MEANINGS = {"icc": "the treatment of colour profiles,"}


@dataclass(frozen=True, slots=True)
class Source:
    """An imported network: its float32 graph, and the runner whose answers are the reference. name: of the reference."""

    graph: ir.Model
    reference: Runner
    name: str


def load_imported(bundle: Bundle) -> Source:
    """Return the imported classifier of a bundle. Raises ModelError when it cannot be converted."""
    manifest = bundle.manifest
    output = str(bundle.artifact("source").details.get("output", ""))
    imported = read_imported(bundle.file("source"), len(manifest.classes), manifest.contract, output)
    graph = _converted(imported, manifest.classes, manifest.contract)
    return Source(graph, ImportedRunner(imported, manifest.contract), SOURCE)


@contextmanager
def importing(path: Path, file: Path, classes: Path, contract: Path, output: str = "") -> Iterator[Bundle]:
    """Yield the bundle of `import_onnx`; remove it if the body of the `with` fails, unless it existed before.

    After an interruption the bundle stays, so that its calibration can be resumed.
    """
    had_folder, had_bundle = path.exists(), (path / MANIFEST).exists()
    bundle = None
    try:
        bundle = import_onnx(path, file, classes, contract, output)
        yield bundle
    except Exception:
        if not had_bundle:
            _remove_import(path, bundle, folder=not had_folder)
        raise


def _remove_import(path: Path, bundle: Bundle | None, *, folder: bool) -> None:
    """Remove the files of an import, unless they were changed since, or another process works on the bundle."""
    try:
        if bundle is not None:
            with locked(path):
                if (path / COMMIT).exists() or open_bundle(path, verify=False).manifest != bundle.manifest:
                    return
                for name in (MANIFEST, SOURCE):
                    (path / name).unlink(missing_ok=True)
                finish_progress(path)
        if folder:
            path.rmdir()
    except (OSError, VegrtError) as error:  # the error of the export is the one to report
        log.debug("%s: not removed (%s)", path, error)


def import_onnx(path: Path, file: Path, classes: Path, contract: Path, output: str = "") -> Bundle:
    """Write a bundle with an ONNX classifier as its source, ready to be exported, and return it.

    file: the model; its data in other files is put into the bundle's copy. classes: see `read_classes`. contract: TOML.
    output: the name of the class scores in a model with several outputs; empty for a model with one.
    Importing the same again changes nothing, so that an interrupted command can be repeated. Raises BundleError when `path`
    contains anything else, ModelError for an unsuitable model.
    """
    names, pixels = read_classes(classes), read_contract(contract)
    imported = read_imported(file, len(names), pixels, output)
    if (path / MANIFEST).exists():
        return _check_same(open_bundle(path), imported, names, pixels, output)
    _converted(imported, names, pixels)  # a model that cannot be converted fails before anything is written
    model = {"onnx": file.name, "producer": imported.proto.producer_name or "unknown", "opset": imported.opset}
    with exclusive(path, make=True):
        if (
            path / MANIFEST
        ).exists():  # an import that was killed has just been finished, or another process was faster
            return _check_same(open_bundle(path), imported, names, pixels, output)
        with changing(path) as staging:
            _stage(staging, file, imported, output)
            staging.finish(Manifest(path.resolve().name, names, pixels, model))
    return open_bundle(path)


def _stage(staging: Staging, file: Path, imported: ImportedModel, output: str) -> None:
    """Put the source into a change of the bundle. output: as in `import_onnx`."""
    if imported.embedded:
        staging.file(SOURCE).write_bytes(imported.embedded)
    else:
        shutil.copyfile(file, staging.file(SOURCE))
    chosen = {"output": output} if output else {}
    staging.add(SOURCE, "source", details={"layout": imported.layout, "batch": imported.batch, **chosen})


def read_contract(file: Path) -> Contract:
    """Return the contract of a TOML file. Raises VegrtError for an unknown, missing or invalid key.

    size, mean and std, and for a crop resize, have no default: pixels that are normalised differently than in training cost
    accuracy silently. pixel_range, which only this file has: 255 if mean and std are of pixels in 0..255; the default is 1.
    """
    table, keys = read_toml(file, "contract"), [field.name for field in fields(Contract)]
    if unknown := sorted(table.keys() - {*keys, _RANGE}):
        raise VegrtError(
            f"{file}: unknown key(s) {printable(', '.join(unknown)):.200}; expected some of {', '.join((*keys, _RANGE))}"
        )
    required = ["size", "resize", "mean", "std"] if table.get("fit", "crop") == "crop" else ["size", "mean", "std"]
    if missing := [name for name in required if name not in table]:
        raise VegrtError(
            f"{file}: {', '.join(missing)} missing; expected {', '.join(required)}, as the network was trained"
        )
    channels = 1 if table.get("network_color") == "L" else 3
    for name, value in table.items():
        _check_value(file, name, value, channels)
    divisor = table.pop(_RANGE, 1)
    table |= {name: [number / divisor for number in table[name]] for name in ("mean", "std")}
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    return Contract(**values)


def _converted(imported: ImportedModel, classes: tuple[str, ...], contract: Contract) -> ir.Model:
    """Return the converted graph. Raises ModelError when the batch size is fixed in it and cannot be made dynamic."""
    graph = convert_imported(imported, classes, contract)
    check_dynamic_batch(serialize(graph), imported.subject, contract, len(classes))
    return graph


def _check_value(file: Path, name: str, value: Any, channels: int) -> None:
    """Raise VegrtError for a value of the wrong type; the contract checks the rest. channels: of the network."""
    if name in ("size", "resize"):
        sides = value if isinstance(value, list) and len(value) == 2 else [value]
        fits = all(type(side) is int and 0 < side <= MAX_SIDE for side in sides)
        expected = f"pixels, up to {MAX_SIDE}, such as 224, or height and width, such as [360, 640]"
    elif name in ("mean", "std"):
        fits = isinstance(value, list) and len(value) == channels and all(_is_number(number) for number in value)
        expected = (
            f"{'three numbers' if channels == 3 else 'one number'} for {'RGB' if channels == 3 else 'grey'} pixels"
        )
        expected += f" in [0, 1], such as {[0.485, 0.456, 0.406][:channels]}"
    elif name in ("fill", "background"):
        fits = isinstance(value, list) and len(value) == 3 and all(type(number) is int for number in value)
        expected = "red, green and blue, 0 to 255, such as [114, 114, 114]"
    elif name in CHOICES:
        fits, expected = (
            value in CHOICES[name],
            f"{_MEANINGS.get(name, 'one of')} {', '.join(map(repr, CHOICES[name]))}",
        )
    elif name == _RANGE:
        fits, expected = type(value) is int and value in (1, 255), "1 or 255, the pixel value of white for mean and std"
    else:
        fits, expected = type(value) is bool, "true or false"
    if not fits:
        raise VegrtError(f"{file}: {name} is {value!r:.80}; expected {expected}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e6 < value < 1e6  # false for NaN


def _check_same(
    bundle: Bundle, imported: ImportedModel, classes: tuple[str, ...], contract: Contract, output: str
) -> Bundle:
    """Return the bundle. Raises BundleError unless it is the import of this model and output with these classes and contract."""
    manifest = bundle.manifest
    is_same = (manifest.classes, manifest.contract) == (classes, contract) and bundle.has("source")
    if is_same:
        source = bundle.artifact("source")
        is_same = (source.sha256, source.details.get("output", "")) == (imported.sha256, output)
    if not is_same:
        raise BundleError(
            f"{bundle.path}: holds another model, output, classes or contract; choose another BUNDLE, or delete this one"
        )
    return bundle
