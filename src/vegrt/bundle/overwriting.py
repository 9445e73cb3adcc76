"""What took hours is replaced on request only: what a place holds, in words, and the refusals (docs/decisions/0015)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vegrt.bundle.bundle import MANIFEST, Bundle, open_bundle
from vegrt.errors import VegrtError

_MEASURED = ("evaluate", "robustness", "bench")


def check_absent(file: Path, *, overwrite: bool) -> None:
    """Raise VegrtError when there is a file of that name already, unless it may be replaced."""
    if not overwrite and (file.exists() or file.is_symlink()):
        raise VegrtError(f"{file}: exists; choose another name, or replace it with --overwrite")


def check_no_bundle(path: Path, *, overwrite: bool) -> None:
    """Raise VegrtError, saying what is there, when `path` holds a finished bundle, unless it may be replaced."""
    if not overwrite and (path / MANIFEST).exists():
        raise VegrtError(f"{path}: holds {describe_bundle(path)}; choose another --out, or replace it with --overwrite")


def check_nothing_void(path: Path, what: str, *, overwrite: bool) -> None:
    """Raise VegrtError when new models would void what was made with or of those that the bundle holds, unless they may.

    what: what would be replaced. Void are measurements, engines, and a search for the layers that stay in float.
    Raises BundleError for a bundle that is missing or damaged.
    """
    if overwrite:
        return
    bundle = open_bundle(path)
    if bundle.variants() and (void := [*_engines(bundle), *_searched(bundle), *measurements(path)]):
        raise VegrtError(
            f"{path}: {what} would be replaced and this become void: {', '.join(void)}; "
            f"work on a copy of the folder, or replace with --overwrite"
        )


def describe_bundle(path: Path) -> str:
    """Return what the bundle at `path` is and what was made of it, in one line."""
    try:
        bundle = open_bundle(path, verify=False)
    except VegrtError:
        return "a bundle that cannot be read"
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
    """Yield what was measured with the bundle at `path`, by the names of its result files."""
    names = sorted(file.stem for file in (path / "results").glob("*.json"))
    for kind in _MEASURED:
        found = [name.removeprefix(kind).strip("-") for name in names if name.partition("-")[0] == kind]
        if found:
            yield f"{kind} {', '.join(filter(None, found))}".strip()


def _engines(bundle: Bundle) -> Iterator[str]:
    if count := sum(artifact.role == "engine" for artifact in bundle.manifest.artifacts):
        yield f"{count} engine{'s' if count > 1 else ''}"


def _searched(bundle: Bundle) -> Iterator[str]:
    if bundle.manifest.calibration.get("budget_scores"):
        yield "the search for layers in float"
