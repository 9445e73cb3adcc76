"""Photos to predictions: the images a user named, what the model says of each, and the file that keeps it."""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vegrt.bundle import Bundle, open_bundle
from vegrt.dataset import image_files
from vegrt.errors import DataError, VegrtError, require
from vegrt.files import printable, replacing
from vegrt.infer.evaluate import softmax
from vegrt.infer.open import choose, open_candidate
from vegrt.infer.pipeline import Batch, batches
from vegrt.infer.runner import Device, Runner
from vegrt.preprocess import SUFFIXES
from vegrt.progress import track

log = logging.getLogger(__name__)

BATCH = 16
FORMATS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one photo. probability: of `label`, 0 to 1. error: why there is no label, else empty."""

    path: str
    label: str
    probability: float | None
    error: str


@dataclass(frozen=True, slots=True)
class Request:
    """What `vegrt infer` was asked for; None and 0 leave the choice to us."""

    sources: tuple[Path, ...]
    variant: str | None = None
    runtime: str | None = None
    device: Device = "cpu"
    threads: int = 0
    out: Path | None = None


def run(model: Path, request: Request, *, as_json: bool) -> Iterator[str]:
    """Yield the lines that `vegrt infer` prints: one per image, or one JSON object in all. Writes request.out.

    The bundle, variant and runtime chosen are logged. Raises DataError when not one image was readable.
    """
    if request.out is not None:
        check_format(request.out)
    paths = find_images(request.sources)
    bundle = open_bundle(model)
    choice = choose(bundle, request.variant, request.runtime, request.device)
    log.info("%s: %s on %s (%s)", model, choice.candidate.variant, choice.candidate.runtime, choice.reason)
    runner = open_candidate(bundle, choice.candidate, device=request.device, threads=request.threads)
    rows: list[Prediction] = []
    for prediction in track(predict(bundle, runner, paths), "Inferring", len(paths)):
        rows.append(prediction)
        if not as_json:
            yield as_line(prediction)
    if request.out is not None:
        write_predictions(rows, request.out)
    if as_json:
        chosen = {"bundle": str(model), "variant": choice.candidate.variant, "runtime": choice.candidate.runtime}
        yield json.dumps(chosen | {"predictions": [asdict(row) for row in rows]}, ensure_ascii=False)
    if errors := [row for row in rows if row.error]:
        if len(errors) == len(rows):
            raise DataError(errors[0].error if len(rows) == 1 else f"none of {len(rows)} images is readable")
        log.warning("%d of %d images are unreadable; each has its own line", len(errors), len(rows))


def as_line(prediction: Prediction) -> str:
    """Return `path<TAB>class<TAB>probability`, or the error in place of the last two, on one line."""
    path = prediction.path.replace("\n", "\\n").replace("\t", "\\t")
    if prediction.error:
        return f"{path}\terror\t{' '.join(prediction.error.split())}"
    return f"{path}\t{prediction.label}\t{prediction.probability:.4f}"


def find_images(sources: Sequence[Path]) -> list[Path]:
    """Return the image files that `sources` name, folders searched recursively in sorted order.

    A file that was named itself is kept whatever its suffix; if it is no image, its own line will say so.
    Raises DataError for a source that does not exist and for a folder without images.
    """
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = image_files(source)
            if not inside:
                raise DataError(f"{source}: no images in it; expected {', '.join(sorted(SUFFIXES))} files")
            found += inside
        elif os.path.lexists(source):
            found.append(source)
        else:
            raise DataError(f"{source}: no such file or folder; expected images or folders of images")
    return found


def predict(bundle: Bundle, runner: Runner, paths: Sequence[Path]) -> Iterator[Prediction]:
    """Yield one Prediction per path, in order; an unreadable image yields its error and does not stop the others."""
    classes = bundle.manifest.classes
    start = 0
    for batch in batches(paths, bundle.manifest.contract, BATCH):
        rows = _predict_batch(runner, batch, paths, classes)
        count = len(batch.indices) + len(batch.errors)
        yield from (rows[index] for index in range(start, start + count))
        start += count


def _predict_batch(
    runner: Runner, batch: Batch, paths: Sequence[Path], classes: Sequence[str]
) -> dict[int, Prediction]:
    rows = {index: Prediction(printable(paths[index]), "", None, reason) for index, reason in batch.errors}
    if batch.indices:
        probabilities = softmax(runner.logits(batch.images))
        for index, row in zip(batch.indices, probabilities, strict=True):
            best = int(row.argmax())
            rows[index] = Prediction(printable(paths[index]), classes[best], round(float(row[best]), 6), "")
    return rows


def write_predictions(predictions: Iterable[Prediction], out: Path) -> list[Prediction]:
    """Write predictions to `out`, CSV, JSON Lines or Parquet by its suffix, atomically; return them."""
    check_format(out)
    rows = list(predictions)
    with replacing(out) as temporary:
        if out.suffix == ".parquet":
            _write_parquet(rows, temporary)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                _write_text(rows, file, out.suffix)
    return rows


def check_format(out: Path) -> None:
    """Raise VegrtError unless `out` has a suffix that we write and, for Parquet, pyarrow is there."""
    if out.suffix not in FORMATS:
        raise VegrtError(f"{out}: suffix {out.suffix or 'missing'!r}; expected one of {', '.join(FORMATS)}")
    if out.suffix == ".parquet":
        require("pyarrow", "parquet")


def _write_text(rows: list[Prediction], file: Any, suffix: str) -> None:
    if suffix == ".jsonl":
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
        return
    table = csv.DictWriter(file, [field.name for field in fields(Prediction)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)


def _write_parquet(rows: list[Prediction], path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Prediction)}
    types = {"path": "string", "label": "string", "probability": "float64", "error": "string"}
    schema = pyarrow.schema([(name, getattr(pyarrow, kind)()) for name, kind in types.items()])
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), path)
