"""Writes the epochs as TensorBoard scalars to FOLDER/<run id>, next to other runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vegrt.errors import VegrtError, require
from vegrt.train.history.records import EpochRecord, TrainingProgress
from vegrt.train.loop.loop import EpochCallback


@contextmanager
def tensorboard_callback(
    folder: Path | None, progress: TrainingProgress, on_epoch: EpochCallback
) -> Iterator[EpochCallback]:
    """Yield a callback that also writes every epoch to `folder`; `on_epoch` itself when `folder` is None.

    Writes the epochs of `progress` again; they replace those of an interrupted run.
    Raises MissingExtraError without the `tensorboard` extra, VegrtError when the folder cannot be written.
    """
    if folder is None:
        yield on_epoch
        return
    require("tensorboard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    try:
        writer = SummaryWriter(str(folder / progress.run), purge_step=0)
    except OSError as error:
        raise VegrtError(f"{folder}: cannot be written ({error.strerror}); choose another --tensorboard") from error

    def write(record: EpochRecord) -> None:
        for tag, value in epoch_scalars(record).items():
            writer.add_scalar(tag, value, record.epoch)
        writer.flush()

    def write_and_call(record: EpochRecord) -> None:
        write(record)
        on_epoch(record)

    try:
        for record in progress.epochs:
            write(record)
        yield write_and_call
    finally:
        writer.close()


def epoch_scalars(record: EpochRecord) -> dict[str, float]:
    """Return the numbers of an epoch by tag. TensorBoard shows tags with the same first part side by side."""
    measured = {
        f"{measure}/{split}": getattr(record, f"{split}_{measure}")
        for measure in ("loss", "accuracy")
        for split in ("train", "validation")
    }
    norms = {f"gradient_norm/{stage}": norm for stage, norm in record.gradient_norms.items()}
    return measured | {"lr": record.lr, "images_per_s": record.images_per_s} | norms
