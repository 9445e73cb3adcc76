"""Protects results that took hours from being replaced without --overwrite (docs/decisions/0015)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.entries import MANIFEST
from vegrt.errors import VegrtError

_MEASURED = ("evaluate", "robustness", "bench")


def check_no_file(file: Path, *, overwrite: bool) -> None:
    """Raise VegrtError if the file exists, unless overwriting is allowed."""
    if not overwrite and (file.exists() or file.is_symlink()):
        raise VegrtError(f"{file}: exists; choose another name, or replace it with --overwrite")


def check_no_bundle(path: Path, *, overwrite: bool) -> None:
    """Raise a VegrtError that describes the bundle if `path` holds a finished one, unless overwriting is allowed."""
    if not overwrite and (path / MANIFEST).exists():
        raise VegrtError(f"{path}: holds {describe_bundle(path)}; choose another --out, or replace it with --overwrite")


def check_nothing_invalidated(path: Path, subject: str, *, overwrite: bool) -> None:
    """Raise VegrtError if new models would invalidate results of the current ones, unless overwriting is allowed.

    subject: what would be replaced, as text for the message. Measurements, engines and the search for float layers become
    invalid. Raises BundleError for a bundle that is missing or damaged.
    """
    if overwrite:
        return
    bundle = open_bundle(path)
    if bundle.variants() and (invalidated := [*_engines(bundle), *_searched(bundle), *measurements(path)]):
        raise VegrtError(
            f"{path}: replacing {subject} would invalidate {', '.join(invalidated)}; "
            f"work on a copy of the folder, or replace them with --overwrite"
        )


def describe_bundle(path: Path) -> str:
    """Return a one-line description of the bundle at `path` and its results."""
    try:
        bundle = open_bundle(path, verify=False)
    except VegrtError:
        return "an unreadable bundle"
    training = bundle.manifest.training
    accuracy = training.get("validation_accuracy")
    about = [
        str(bundle.manifest.model.get("backbone") or bundle.manifest.model.get("onnx") or bundle.manifest.name),
        *([f"validation accuracy {accuracy:.2%}"] if isinstance(accuracy, float) else []),
        ", ".join(bundle.variants()) or "not exported",
        *_engines(bundle),
        *(list(measurements(path)) or ["not evaluated"]),
    ]
    return f"a finished bundle ({'; '.join(about)})"


def measurements(path: Path) -> Iterator[str]:
    """Yield kind and names of the measurements of the bundle at `path`, taken from the names of its result files."""
    names = sorted(file.stem for file in (path / "results").glob("*.json"))
    for kind in _MEASURED:
        variants = [name.removeprefix(kind).strip("-") for name in names if name.partition("-")[0] == kind]
        if variants:
            yield f"{kind} {', '.join(filter(None, variants))}".strip()


def _engines(bundle: Bundle) -> Iterator[str]:
    if count := sum(artifact.role == "engine" for artifact in bundle.manifest.artifacts):
        yield f"{count} engine{'s' if count > 1 else ''}"


def _searched(bundle: Bundle) -> Iterator[str]:
    if bundle.manifest.calibration.get("budget_scores"):
        yield "the search for float layers"
