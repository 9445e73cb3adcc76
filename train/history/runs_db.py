"""The history of runs in one SQLite file, written during training. Several runs may write to it at the same time."""

from __future__ import annotations

import json
import logging
import sqlite3
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from vegrt.errors import FormatError, VegrtError
from vegrt.schema import build, parse_json
from vegrt.train.history.mistakes import Explanation
from vegrt.train.history.records import EpochRecord

log = logging.getLogger(__name__)

Status = Literal["running", "finished", "interrupted", "pruned", "failed"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, started TEXT NOT NULL, ended TEXT,
    bundle TEXT NOT NULL, data TEXT NOT NULL, recipe TEXT NOT NULL, explanation TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS epochs (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, epoch INTEGER NOT NULL, phase TEXT NOT NULL,
    train_loss REAL, train_accuracy REAL, validation_loss REAL, validation_accuracy REAL,
    lr REAL, images_per_s REAL, seconds REAL, gradient_norms TEXT, PRIMARY KEY (run, epoch)
);
"""
_COLUMNS = tuple(item.name for item in fields(EpochRecord))
_BUSY_TIMEOUT_S = 30
_BUSY_PAUSE_S = 0.01
_BEST_COLUMNS = (
    "best_epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "images_per_s",
    "seconds",
)
LAST = "last"  # the id that names the newest run


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in one row. Losses and accuracies: of the best epoch, None before the first one; accuracies in [0, 1]."""

    id: str
    status: Status
    started: str
    ended: str | None
    backbone: str | int | float | bool | None
    epochs: int
    best_epoch: int | None
    train_loss: float | None
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    images_per_s: float | None
    seconds: float
    bundle: str
    data: str


@dataclass(frozen=True, slots=True)
class Run:
    """One training run. A killed run stays `running` without an end. Times: ISO 8601, UTC.

    explanation: confusion matrix and mistakes of the best epoch.
    """

    id: str
    status: Status
    started: str
    ended: str | None
    bundle: str
    data: str
    recipe: dict[str, str | int | float | bool | None]
    explanation: Explanation
    epochs: tuple[EpochRecord, ...] = field(default=())

    @property
    def augmented(self) -> bool:
        """Whether the second phase used augmented photos. With `views` 1 only the version without augmentation is cached."""
        is_plain = bool(self.recipe.get("freeze_until")) and self.recipe.get("views") == 1
        return self.recipe.get("augment") != "none" and not is_plain

    def best(self) -> EpochRecord | None:
        """Return the epoch with the lowest validation loss; None before the first epoch ends."""
        return min(self.epochs, key=lambda record: record.validation_loss, default=None)

    def images_per_s(self) -> float | None:
        """Return the median speed of the last phase's epochs: those of the head alone, on features, are far faster."""
        speeds = [record.images_per_s for record in self.epochs if record.phase == self.epochs[-1].phase]
        return statistics.median(speeds) if speeds else None

    def summary(self) -> RunSummary:
        """Return the run in one row."""
        best = self.best()
        return RunSummary(
            id=self.id,
            status=self.status,
            started=self.started,
            ended=self.ended,
            backbone=self.recipe.get("backbone"),
            epochs=len(self.epochs),
            best_epoch=best.epoch if best else None,
            train_loss=best.train_loss if best else None,
            train_accuracy=best.train_accuracy if best else None,
            validation_loss=best.validation_loss if best else None,
            validation_accuracy=best.validation_accuracy if best else None,
            images_per_s=self.images_per_s(),
            seconds=sum(record.seconds for record in self.epochs),
            bundle=self.bundle,
            data=self.data,
        )


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes one run to the history `db`; writes nothing where `db` is None."""

    db: Path | None
    run: str

    def start(self, recipe: dict[str, Any], *, data: Path, bundle: Path) -> None:
        """Record the start of the run, or that it was resumed."""
        self._write(
            "INSERT INTO runs (id, status, started, bundle, data, recipe) VALUES (?, 'running', ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET status = 'running', ended = NULL",
            (self.run, _now(), str(bundle.resolve()), str(data.resolve()), json.dumps(recipe)),
        )

    def epoch(self, record: EpochRecord) -> None:
        """Record a finished epoch. An epoch that is repeated after a kill replaces its first record."""
        values = asdict(record) | {"gradient_norms": json.dumps(record.gradient_norms)}
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        sql = f"INSERT OR REPLACE INTO epochs (run, {', '.join(_COLUMNS)}) VALUES ({marks})"
        self._write(sql, (self.run, *(values[name] for name in _COLUMNS)))

    def explain(self, explanation: Explanation) -> None:
        """Record the mistakes of the best epoch so far."""
        self._write("UPDATE runs SET explanation = ? WHERE id = ?", (json.dumps(asdict(explanation)), self.run))

    def end(self, status: Status) -> None:
        """Record the end of the run."""
        self._write("UPDATE runs SET status = ?, ended = ? WHERE id = ?", (status, _now(), self.run))

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        if self.db is not None:
            with _connect(self.db) as connection:
                connection.execute(sql, values)


def list_runs(db: Path) -> list[Run]:
    """Return all runs that are not damaged, with their epochs, newest first. Raises VegrtError when the file does not exist."""
    with _existing(db) as connection:
        ids = [row["id"] for row in connection.execute("SELECT id FROM runs ORDER BY started DESC, id")]
        return list(_readable(connection, db, ids))


def load_run(db: Path, run: str) -> Run:
    """Return one run by its id, a unique prefix of it, or `last`. Raises VegrtError, which lists the recorded runs."""
    with _existing(db) as connection:
        return _load(connection, db, _find(connection, db, run))


def delete_runs(db: Path, runs: Sequence[str], *, force: bool = False) -> list[str]:
    """Delete the runs with their epochs, all of them or none, and return their ids. Their bundles stay.

    force: also delete runs recorded as running, because a killed run keeps that status.
    Raises VegrtError for a run that is not recorded, or that is running.
    """
    with _existing(db) as connection:
        ids = list(dict.fromkeys(_find(connection, db, run) for run in runs))
        for run in ids:
            (status,) = connection.execute("SELECT status FROM runs WHERE id = ?", (run,)).fetchone()
            if status == "running" and not force:
                raise VegrtError(f"{db}: run {run} is recorded as running; if it was killed, delete it with --force")
            connection.execute("DELETE FROM runs WHERE id = ?", (run,))
        return ids


def compare_runs(db: Path, runs: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return rows of one value for each run: the recipe entries that differ, then the results of the best epoch.

    Raises VegrtError for fewer than two runs.
    """
    if len(runs) < 2:
        raise VegrtError(f"{db}: expected at least two runs; compare them with: vegrt runs compare ID ID...")
    loaded = [load_run(db, run) for run in runs]
    names = list(dict.fromkeys(name for run in loaded for name in run.recipe))
    rows = {name: tuple(run.recipe.get(name) for run in loaded) for name in names}
    differing = {name: values for name, values in rows.items() if any(value != values[0] for value in values)}
    summaries = [run.summary() for run in loaded]
    results = {name: tuple(getattr(summary, name) for summary in summaries) for name in _BEST_COLUMNS}
    return {"run": tuple(run.id for run in loaded)} | differing | results


@contextmanager
def _connect(db: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection in a transaction: committed at the end, rolled back on an exception."""
    try:
        db.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(db, timeout=_BUSY_TIMEOUT_S)) as connection:
            connection.row_factory = sqlite3.Row
            _keep_readers_unblocked(connection)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(_SCHEMA)
            with connection:
                yield connection
    except (sqlite3.Error, OSError) as error:
        raise VegrtError(
            f"{db}: cannot be used as a run history ({error}); move it away or make it writable"
        ) from error


def _keep_readers_unblocked(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log, waiting for other writers: SQLite's own timeout does not apply to this switch."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_PAUSE_S)
        else:
            return


@contextmanager
def _existing(db: Path) -> Iterator[sqlite3.Connection]:
    if not db.is_file():
        raise VegrtError(f"{db}: no such run history; `vegrt train` creates it")
    with _connect(db) as connection:
        yield connection


def _find(connection: sqlite3.Connection, db: Path, run: str) -> str:
    """Return the whole id of a run from the id, a unique prefix of it, or `last`."""
    ids: list[str] = [row["id"] for row in connection.execute("SELECT id FROM runs ORDER BY started DESC, id")]
    if run in ids:
        return run
    matches = ids[:1] if run == LAST else [candidate for candidate in ids if run and candidate.startswith(run)]
    if len(matches) > 1:
        raise VegrtError(f"{db}: run {run!r} is ambiguous, it matches {', '.join(matches[:10])}; give more of the id")
    if not matches:
        raise VegrtError(f"{db}: no run {run!r}; recorded runs: {', '.join(ids[:10]) or 'none'}")
    return matches[0]


def _readable(connection: sqlite3.Connection, db: Path, ids: Sequence[str]) -> Iterator[Run]:
    for run in ids:
        try:
            yield _load(connection, db, run)
        except VegrtError as error:
            log.warning("%s", error)


def _load(connection: sqlite3.Connection, db: Path, run: str) -> Run:
    row = dict(connection.execute("SELECT * FROM runs WHERE id = ?", (run,)).fetchone())
    lines = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM epochs WHERE run = ? ORDER BY epoch", (run,))
    try:
        epochs = [dict(line) | {"gradient_norms": _json(line["gradient_norms"])} for line in lines]
        parsed = {name: _json(row[name]) for name in ("recipe", "explanation")}
        return build(Run, row | parsed | {"epochs": epochs})
    except FormatError as error:
        raise VegrtError(
            f"{db}: run {run} is damaged ({error}); delete it with: vegrt runs delete {run} --force"
        ) from error


def _json(text: Any) -> Any:
    """Return the JSON value of a column. Infinity is accepted: a gradient may have been infinite."""
    return parse_json(str(text).encode("utf-8", "surrogatepass"), finite=False)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
