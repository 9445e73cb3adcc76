"""The state of an unfinished run in OUT/.train: `last.safetensors` to resume from, `best.safetensors` to use.

The resume state is a single file (with the progress as JSON in its metadata), so one rename replaces it.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vegrt.bundle.entries import MANIFEST
from vegrt.bundle.overwriting import check_no_bundle
from vegrt.errors import BundleError, FormatError, VegrtError
from vegrt.files.atomic import replacing
from vegrt.schema import parse_json
from vegrt.train.history.records import TrainingProgress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The files with the state of the unfinished training of the bundle `out`."""

    out: Path

    @property
    def folder(self) -> Path:
        """The folder of the state, inside the bundle; removed when the training is finished."""
        return self.out / ".train"

    @property
    def best(self) -> Path:
        """The weights of the best epoch so far."""
        return self.folder / "best.safetensors"

    @property
    def last(self) -> Path:
        """The resume state."""
        return self.folder / "last.safetensors"

    def start(self) -> None:
        """Create an empty folder; delete the state of an earlier run. Raises BundleError when it cannot be written."""
        if self.last.is_file():
            log.warning("%s: discarding the unfinished training in it", self.out)
        self.remove()
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise BundleError(f"{self.out}: cannot be written ({error.strerror}); choose another --out") from error

    def save_best(self, weights: Mapping[str, Tensor]) -> None:
        """Write the best weights, atomically."""
        _save(self.best, weights)

    def save_last(self, tensors: Mapping[str, Tensor], progress: TrainingProgress) -> None:
        """Write the resume state, atomically."""
        _save(self.last, tensors, {"progress": json.dumps(progress.to_dict())})

    def load_progress(self) -> TrainingProgress | None:
        """Return the progress of the unfinished run; None without one."""
        if not self.last.is_file():
            return None
        with _opened(self.last) as file:
            metadata = file.metadata() or {}
        try:
            return TrainingProgress.from_dict(parse_json(metadata.get("progress", "").encode(), finite=False))
        except FormatError as error:
            raise VegrtError(
                f"{self.last}: damaged ({error}); start over with --overwrite instead of --resume"
            ) from error

    def load_last(self) -> dict[str, Tensor]:
        """Return the tensors of the resume state."""
        with _opened(self.last) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    def remove(self) -> None:
        """Delete the state."""
        shutil.rmtree(self.folder, ignore_errors=True)


def resumable_progress(checkpoints: Checkpoints, *, resume: bool, overwrite: bool) -> TrainingProgress | None:
    """Return the progress of the unfinished run to resume; None for a new run.

    Raises VegrtError, which describes the training in OUT, when a new run would replace it and `overwrite` is false.
    """
    out = checkpoints.out
    if resume:
        saved = checkpoints.load_progress()
        if saved is None and (out / MANIFEST).is_file() and not overwrite:
            raise VegrtError(
                f"{out}: its training is finished; omit --resume and choose another --out, or replace it with --overwrite"
            )
        if saved is None:
            log.warning("%s: no training to resume; starting a new one", out)
        return saved
    if not overwrite and checkpoints.last.is_file():
        raise VegrtError(f"{out}: holds {_describe_unfinished(checkpoints)}, or choose another --out")
    check_no_bundle(out, overwrite=overwrite)
    return None


def _describe_unfinished(checkpoints: Checkpoints) -> str:
    """Return a description of the unfinished training, and the options that work for it."""
    try:
        saved = checkpoints.load_progress()
    except VegrtError:
        return "a damaged unfinished training, which cannot be resumed; discard it with --overwrite"
    if saved is None:
        details = ""
    else:
        epochs = saved.recipe.get("epochs_head", 0) + saved.recipe.get("epochs", 0)
        details = f" (run {saved.run}, {len(saved.epochs)} of {epochs} epochs)"
    return f"an unfinished training{details}; resume it with --resume, discard it with --overwrite"


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    with replacing(path) as temporary:
        try:
            save_file(_unshared(tensors), temporary, dict(metadata or {}) | {"format": "pt"})
        except SafetensorError as error:  # such as a full disk
            raise VegrtError(f"{path}: cannot be written ({error}); the previous file is unchanged") from error


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors; those that share memory, as layers with common weights do, as copies: safetensors refuses them."""
    addresses = Counter(tensor.untyped_storage().data_ptr() for tensor in tensors.values())
    return {
        name: tensor.clone() if addresses[tensor.untyped_storage().data_ptr()] > 1 else tensor
        for name, tensor in tensors.items()
    }


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise VegrtError(f"{path}: damaged ({error}); start over with --overwrite instead of --resume") from error
