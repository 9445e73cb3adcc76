"""What `vegrt infer` does on one machine: from sources through the pipeline and a runner to lines and files."""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.signature import open_signed
from vegrt.errors import DataError, VegrtError
from vegrt.files.text import json_text
from vegrt.infer.autobatch import find_batch
from vegrt.infer.decode.item import Item
from vegrt.infer.decode.pipeline import Decoded, stream
from vegrt.infer.outputs.extras import PhotoOutputs
from vegrt.infer.outputs.files import OutputFiles, OutputOptions, open_outputs
from vegrt.infer.outputs.rows import AnswerRow, RowFormat, as_line, as_record, rank
from vegrt.infer.runtimes.candidates import Candidate, artifact_of
from vegrt.infer.runtimes.embeddings import EmbeddingRunner, open_embedding_runner
from vegrt.infer.runtimes.objective import DEFAULT, Objective
from vegrt.infer.runtimes.open import open_candidate, open_runner
from vegrt.infer.runtimes.runner import Device, Runner
from vegrt.infer.sources.open import SourceOptions, is_endless, open_sources, reading_threads
from vegrt.terminal.progress import counting

log = logging.getLogger(__name__)

BATCH = 16
Batches = Generator[list[AnswerRow], None, None]


@dataclass(frozen=True, slots=True)
class Request:
    """What `vegrt infer` was asked for; None and 0 leave the choice to us.

    sources: as `vegrt.infer.sources.open` reads them. batch: images that the runner gets at once; 0: the fastest is found first.
    public_key: whose signature the bundle must have.
    """

    sources: tuple[str | Path, ...]
    variant: str | None = None
    runtime: str | None = None
    device: Device | None = None
    threads: int = 0
    batch: int = BATCH
    reading: SourceOptions = field(default_factory=SourceOptions)
    wanted: RowFormat = field(default_factory=RowFormat)
    to: OutputOptions = field(default_factory=OutputOptions)
    extras: PhotoOutputs = field(default_factory=PhotoOutputs)
    objective: Objective = DEFAULT
    public_key: Path | None = None


@dataclass(slots=True)
class _Tally:
    """What has been done so far. total: rows, of which `errors` say why an image is unreadable; first: one of those."""

    total: int = 0
    errors: int = 0
    first: str = ""

    def add(self, rows: Sequence[AnswerRow]) -> None:
        failed = [row.error for row in rows if row.error]
        self.first = self.first or (failed[0] if failed else "")
        self.total += len(rows)
        self.errors += len(failed)


def run(model: Path, request: Request, *, as_json: bool) -> Iterator[str]:
    """Yield the text that `vegrt infer` prints, a batch at a time: a line per image, or the parts of one JSON object.

    Where the rows go to a file and are not to be printed, that is nothing, or one JSON object that sums up.
    Writes what request.to and request.extras name. The bundle, variant and runtime chosen are logged. Raises DataError when not
    one image was readable. A KeyboardInterrupt is raised with how to go on, but ends an endless source in good order.
    """
    items = open_sources(request.sources, request.reading)
    request.to.check()
    request.extras.check()
    bundle = open_signed(model, request.public_key)
    request.wanted.check(bundle.manifest.classes)
    opener = open_embedding_runner if request.to.embeddings else open_candidate
    named = request.variant, request.runtime, request.device
    opened = open_runner(bundle, *named, threads=request.threads, opener=opener, objective=request.objective)
    bundle, runner, candidate = opened.bundle, opened.runner, opened.candidate
    width = runner.width if isinstance(runner, EmbeddingRunner) else 0
    outputs = open_outputs(request.to, request.wanted, len(bundle.manifest.classes), width)
    tally = _Tally()
    try:
        outputs.begin(_identity(bundle, candidate, request))
        with _ending(request):
            batches = _rows(bundle, runner, _missing(items, outputs), request)
            chosen = {"bundle": str(model), "variant": candidate.variant, "runtime": candidate.runtime}
            text = _written(batches, outputs, tally)
            if request.to.prints:
                yield from _printed(text, request.wanted, chosen if as_json else None)
            else:
                deque(text, maxlen=0)
        outputs.finish()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(outputs.going_on()) from None
    finally:
        outputs.close()
    if as_json and not request.to.prints:
        yield json_text({**chosen, **_summary(request.to, tally, outputs)}) + "\n"
    _conclude(request.to, tally, outputs)


def predict(
    bundle: Bundle,
    runner: Runner,
    items: Iterator[Item | None],
    wanted: RowFormat,
    *,
    batch: int = BATCH,
    threads: int = 0,
) -> Iterator[list[AnswerRow]]:
    """Yield a row per item, in order, a batch at a time; an unreadable image is its error and does not stop the others.

    threads: how many decode; 0 for one per core.
    """
    return (rows for _, rows in _answered(bundle, runner, items, wanted, batch, threads, keep=False))


def _answered(
    bundle: Bundle,
    runner: Runner,
    items: Iterator[Item | None],
    wanted: RowFormat,
    batch: int,
    threads: int,
    *,
    keep: bool,
) -> Iterator[tuple[Decoded, list[AnswerRow]]]:
    classes = bundle.manifest.classes
    nothing = np.empty((0, len(classes)), np.float32)
    with closing(stream(items, bundle.manifest.contract, batch, threads=threads, keep=keep)) as parts:
        for part in parts:
            embeddings: NDArray[np.float32] | None = None
            if not part.readable:
                logits = nothing
            elif isinstance(runner, EmbeddingRunner):
                logits, embeddings = runner.answers(part.images)
            else:
                logits = runner.logits(part.images)
            yield part, rank(part, logits, classes, wanted, embeddings)


def _rows(bundle: Bundle, runner: Runner, items: Iterator[Item | None], request: Request) -> Batches:
    batch = request.batch or find_batch(runner, bundle.manifest.contract.size)
    threads = reading_threads(request.sources, request.threads)
    extras = request.extras
    for part, rows in _answered(bundle, runner, items, request.wanted, batch, threads, keep=extras.any):
        extras.make(part, rows, request.wanted)
        yield rows


def _written(batches: Batches, outputs: OutputFiles, tally: _Tally) -> Batches:
    """Append each batch to the outputs, then yield it."""
    with closing(batches), counting("Inferring") as advance:
        for rows in batches:
            outputs.append(rows)
            tally.add(rows)
            advance(len(rows))
            yield rows


def _printed(batches: Batches, wanted: RowFormat, chosen: dict[str, Any] | None) -> Iterator[str]:
    """Yield each batch as text: lines, or parts of an object that begins with `chosen`."""
    between = end = ""
    if chosen is not None:
        yield json_text(chosen)[:-1] + ', "predictions": ['
        end = "]}\n"
    try:
        with closing(batches):
            for rows in batches:
                if chosen is None:
                    yield "".join(as_line(row, wanted) + "\n" for row in rows)
                else:
                    yield between + ", ".join(json_text(as_record(row, wanted)) for row in rows)
                    between = ", "
    except (VegrtError, KeyboardInterrupt):  # what was printed stays one whole object
        yield end
        raise
    yield end


def _missing(items: Iterator[Item | None], outputs: OutputFiles) -> Iterator[Item | None]:
    """Return the items that the outputs do not hold yet."""
    return (item for item in items if item is None or not outputs.holds(item.name))


def _summary(to: OutputOptions, tally: _Tally, outputs: OutputFiles) -> dict[str, Any]:
    """Return as JSON values what was written. images: answered now. rows: in the file, those of earlier runs too."""
    return {
        "out": str(to.out),
        "embeddings": to.embeddings or None,
        "images": tally.total,
        "errors": tally.errors,
        "rows": outputs.rows,
    }


def _identity(bundle: Bundle, candidate: Candidate, request: Request) -> dict[str, Any]:
    """Return what must be the same for a run to go on with another one's files."""
    wanted = request.wanted
    return {
        "model": bundle.manifest.name,
        "artifact_sha256": artifact_of(bundle, candidate).sha256,
        "variant": candidate.variant,
        "runtime": candidate.runtime,
        "top_k": wanted.top_k,
        "scores": wanted.scores,
        "min_probability": wanted.min_probability,
        "embeddings": request.to.embeddings,
        "every": request.reading.every,
    }


@contextmanager
def _ending(request: Request) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM end an endless source, so that all is written; in any case end what waits for more."""
    stop = request.reading.stop
    endless = is_endless(request.sources, request.reading) and threading.current_thread() is threading.main_thread()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if endless else {}

    def end(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, previous[signal.Signals(number)])  # the second time it kills

    for number in previous:
        signal.signal(number, end)
    try:
        yield
    finally:
        stop.set()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _conclude(to: OutputOptions, tally: _Tally, outputs: OutputFiles) -> None:
    if to.out and tally.total:
        log.info("%s: %d rows written, %d of them errors; it holds %d", to.out, tally.total, tally.errors, outputs.rows)
    if tally.errors and tally.errors == tally.total and not len(outputs.done):
        raise DataError(tally.first if tally.total == 1 else f"none of {tally.total} images is readable")
    if tally.errors:
        log.warning("%d of %d images are unreadable; each has its own line", tally.errors, tally.total)
    if not tally.total:
        log.info("nothing new")
