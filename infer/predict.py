"""What `vegrt infer` does on one machine: sources -> decode -> answer -> write -> print, in one loop."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.signature import open_signed
from vegrt.errors import DataError
from vegrt.files.text import json_text
from vegrt.infer.autobatch import find_batch
from vegrt.infer.autostreams import MIN_PHOTOS, with_streams
from vegrt.infer.decode.crew import Way
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pipeline import Decoded, Stream, stream
from vegrt.infer.outputs.files import OutputFiles, OutputOptions, open_outputs
from vegrt.infer.outputs.photos import PhotoOutputs
from vegrt.infer.outputs.printed import Sink, Write, json_sink, line_sink, no_sink
from vegrt.infer.outputs.rows import AnswerRow, RowFormat, answer_rows, error_rows
from vegrt.infer.runtimes.candidates import artifact_of
from vegrt.infer.runtimes.objective import Objective, Work
from vegrt.infer.runtimes.open import LoadedModel, open_runner
from vegrt.infer.runtimes.overlap import answered
from vegrt.infer.runtimes.runner import BundleRunner, Device
from vegrt.infer.sources.count import PhotoCount, count_photos
from vegrt.infer.sources.open import SourceOptions, fetches, is_endless, open_sources, reading_threads
from vegrt.infer.trust.judge import Judge
from vegrt.infer.trust.store import needs_embeddings, open_judge
from vegrt.terminal.progress import counting

log = logging.getLogger(__name__)

BATCH = 16


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of `vegrt infer`; None and 0 leave the choice to the program.

    sources: as `vegrt.infer.sources.open` reads them. batch: images per call of the runner; 0: the fastest size is measured
    first. objective: None for the shortest time for all photos, loading included, where their number is known. public_key: file
    with the key whose signature the bundle must have. decode: who decodes photos. decode_workers: threads or processes for that;
    0: `threads`, and one per core where that is 0 too.
    """

    sources: tuple[str | Path, ...]
    variant: str | None = None
    runtime: str | None = None
    device: Device | None = None
    threads: int = 0
    batch: int = BATCH
    reading: SourceOptions = field(default_factory=SourceOptions)
    row_format: RowFormat = field(default_factory=RowFormat)
    output: OutputOptions = field(default_factory=OutputOptions)
    photo_outputs: PhotoOutputs = field(default_factory=PhotoOutputs)
    objective: Objective | None = None
    public_key: Path | None = None
    decode: Way = "auto"
    decode_workers: int = 0


def run(bundle_path: Path, request: Request, write: Write, *, as_json: bool) -> None:
    """Classify all images of the request's sources; write its output files and print through `write`.

    Printed is a line per image, or one JSON object; with an output file nothing, or a JSON object that sums up, unless the rows
    are to be printed too. The chosen variant and runtime are logged. Raises DataError when no image was readable. Ctrl-C raises
    KeyboardInterrupt with the way to resume; it ends an endless source in good order instead.
    """
    items = open_sources(request.sources, request.reading)
    request.output.check()
    request.photo_outputs.check()
    items, count = count_photos(items, request.sources, request.reading)
    model = _load(bundle_path, request, count)
    judge = _judge(model, request)
    classes = model.bundle.manifest.classes
    outputs = open_outputs(request.output, request.row_format, len(classes), model.embedding_width)
    head = {"bundle": str(bundle_path), "variant": model.candidate.variant, "runtime": model.candidate.runtime}
    tally = _Tally()
    try:
        outputs.begin(_identity(model, request))
        missing = (item for item in items if item is None or not outputs.holds(item.name))
        with (
            _stopping(request),
            _sink(request, write, head if as_json else None) as print_rows,
            closing(_decoded(missing, model, request)) as batches,
            counting("Inferring") as advance,
        ):
            for batch, rows in _answered(batches, model.runner, classes, request.row_format, judge):
                request.photo_outputs.make(batch, rows, request.row_format)
                outputs.append(rows)
                print_rows(rows)
                tally.add(rows)
                advance(len(rows))
        outputs.finish()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(outputs.how_to_resume()) from None
    finally:
        outputs.close()
    if as_json and not request.output.prints:
        write(json_text({**head, **_summary(request.output, tally, outputs)}) + "\n")
    _conclude(request.output, tally, outputs)


def predict(
    bundle: Bundle,
    runner: BundleRunner,
    items: Iterator[Item | None],
    row_format: RowFormat,
    *,
    batch: int = BATCH,
    threads: int = 0,
) -> Iterator[list[AnswerRow]]:
    """Yield a row per item, in order, a batch at a time; an unreadable image gives its error and does not stop the others.

    threads: number of decode threads; 0 for one per core.
    """
    with closing(stream(items, bundle.manifest.contract, batch, workers=threads)) as batches:
        for _, rows in _answered(batches, runner, bundle.manifest.classes, row_format):
            yield rows


def _load(bundle_path: Path, request: Request, count: PhotoCount | None) -> LoadedModel:
    bundle = open_signed(bundle_path, request.public_key)
    request.row_format.check(bundle.manifest.classes)
    model = open_runner(
        bundle,
        request.variant,
        request.runtime,
        request.device,
        threads=request.threads,
        embeddings=bool(request.output.embeddings) or (request.row_format.reject and needs_embeddings),
        objective=request.objective,
        work=Work(count.images, request.batch or BATCH, count.more) if count else None,
        begun=request.output.begun_with(),
    )
    if not _is_batch_work(request, count):
        return model
    return with_streams(model, request.batch or BATCH, threads=request.threads)


def _judge(model: LoadedModel, request: Request) -> Judge | None:
    """Return what decides on the model's answers, if it was requested. Raises VegrtError where nothing is known of the model."""
    if request.row_format.reject:
        return open_judge(model.bundle, model.candidate)
    if request.row_format.min_probability:
        cure = (
            "add --reject"
            if model.bundle.has("trust")
            else f"vegrt trust {model.bundle.path} --data DATA, then --reject"
        )
        log.info("--min-probability: the probabilities are not calibrated; calibrated ones: %s", cure)
    return None


def _is_batch_work(request: Request, count: PhotoCount | None) -> bool:
    """Return whether images per second count, and not how soon one photo is answered: as asked, or by the number of photos."""
    if request.objective is not None:
        return request.objective == "throughput"
    return count is not None and count.images >= MIN_PHOTOS


def _sink(request: Request, write: Write, head: dict[str, Any] | None) -> AbstractContextManager[Sink]:
    """Return where rows are printed. head: members of the JSON object before the rows; None for lines."""
    if not request.output.prints:
        return no_sink()
    return line_sink(write, request.row_format) if head is None else json_sink(write, request.row_format, head)


def _decoded(items: Iterator[Item | None], model: LoadedModel, request: Request) -> Stream:
    contract = model.bundle.manifest.contract
    batch = request.batch or find_batch(model.runner, contract.shape)
    way, workers = request.decode, request.decode_workers or request.threads
    if fetches(request.sources):  # not a matter of cores
        if way == "processes":
            log.info("--decode processes: photos behind URLs are fetched and decoded in threads")
        way, workers = "threads", request.decode_workers or reading_threads(request.sources, request.threads)
    return stream(items, contract, batch, way=way, workers=workers, keep=request.photo_outputs.any)


def _answered(
    batches: Stream,
    runner: BundleRunner,
    classes: Sequence[str],
    row_format: RowFormat,
    judge: Judge | None = None,
) -> Iterator[tuple[Decoded, list[AnswerRow]]]:
    """Yield each batch with its rows, in order. The batch's images may be those of a later one by then."""
    for batch, answers in answered(runner, batches, _readable_images, batches.is_ready):
        yield batch, error_rows(batch) if answers is None else answer_rows(batch, answers, classes, row_format, judge)


def _readable_images(batch: Decoded) -> NDArray[np.uint8] | None:
    return batch.images if batch.readable else None


@dataclass(slots=True)
class _Tally:
    """Counts of this run. total: rows; errors: rows of unreadable images; first_error: the first of their reasons."""

    total: int = 0
    errors: int = 0
    first_error: str = ""

    def add(self, rows: Sequence[AnswerRow]) -> None:
        reasons = [row.error for row in rows if row.error]
        self.first_error = self.first_error or (reasons[0] if reasons else "")
        self.total += len(rows)
        self.errors += len(reasons)


def _identity(model: LoadedModel, request: Request) -> dict[str, Any]:
    """Return what must be equal for a run to resume the files of another run."""
    row_format = request.row_format
    trust = {"trust_sha256": model.bundle.artifact("trust").sha256} if row_format.reject else {}
    return trust | {
        "model": model.bundle.manifest.name,
        "artifact_sha256": artifact_of(model.bundle, model.candidate).sha256,
        "variant": model.candidate.variant,
        "runtime": model.candidate.runtime,
        "top_k": row_format.top_k,
        "scores": row_format.scores,
        "min_probability": row_format.min_probability,
        "embeddings": request.output.embeddings,
        "every": request.reading.every,
    }


@contextmanager
def _stopping(request: Request) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end an endless source so that all rows are written; at the end, stop every waiting source."""
    stop = request.reading.stop
    endless = is_endless(request.sources, request.reading) and threading.current_thread() is threading.main_thread()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if endless else {}

    def end(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, previous[signal.Signals(number)])  # a second signal kills

    for number in previous:
        signal.signal(number, end)
    try:
        yield
    finally:
        stop.set()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _summary(output: OutputOptions, tally: _Tally, outputs: OutputFiles) -> dict[str, Any]:
    """Return what was written as JSON values. images: of this run. rows: in the file, those of earlier runs included."""
    return {
        "out": str(output.out),
        "embeddings": output.embeddings or None,
        "images": tally.total,
        "errors": tally.errors,
        "rows": outputs.rows,
    }


def _conclude(output: OutputOptions, tally: _Tally, outputs: OutputFiles) -> None:
    """Log what was written and how much was unreadable. Raises DataError when nothing was readable."""
    if output.out and tally.total:
        log.info(
            "%s: %d rows written, %d of them errors; %d rows in total",
            output.out,
            tally.total,
            tally.errors,
            outputs.rows,
        )
    if tally.errors and tally.errors == tally.total and not len(outputs.done):
        raise DataError(tally.first_error if tally.total == 1 else f"none of {tally.total} images is readable")
    if tally.errors:
        log.warning("%d of %d images are unreadable; each has an error in its own line", tally.errors, tally.total)
    if not tally.total:
        log.info("nothing new")
