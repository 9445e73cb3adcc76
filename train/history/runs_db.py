"""The runs of this machine in one SQLite file, written as they happen. Several runs may write to it at once."""

from __future__ import annotations

import json
import logging
import sqlite3
import statistics
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
_REACHED = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
LAST = "last"  # names the newest run


@dataclass(frozen=True, slots=True)
class Run:
    """One training. A killed one stays `running` without an end. Times: ISO 8601, UTC.

    explanation: of the best epoch, its confusion matrix and the validation photos of the highest loss.
    """

    id: str
    status: Status
    started: str
    ended: str | None
    bundle: str
    data: str
    recipe: dict[str, str | int | float | bool | None]
    explanation: dict[str, Any]
    epochs: tuple[EpochRecord, ...] = field(default=())

    @property
    def augmented(self) -> bool:
        """Whether what learnt after the head learnt from augmented photos. The one version that `views` 1 keeps is plain."""
        only_plain = bool(self.recipe.get("freeze_until")) and self.recipe.get("views") == 1
        return self.recipe.get("augment") != "none" and not only_plain

    def best(self) -> EpochRecord | None:
        """Return the epoch of the lowest validation loss; None before the first one ends."""
        return min(self.epochs, key=lambda record: record.validation_loss, default=None)

    def images_per_s(self) -> float | None:
        """Return the median over the epochs of the last phase: the head's own, on features, are far faster."""
        speeds = [record.images_per_s for record in self.epochs if record.phase == self.epochs[-1].phase]
        return statistics.median(speeds) if speeds else None

    def summary(self) -> dict[str, Any]:
        """Return the run in one row of JSON values. Accuracy and losses: of the best epoch; accuracy in [0, 1]."""
        best = self.best()
        return {
            **{name: getattr(self, name) for name in ("id", "status", "started", "ended")},
            "backbone": self.recipe.get("backbone"),
            "epochs": len(self.epochs),
            **{"best_epoch" if name == "epoch" else name: getattr(best, name, None) for name in _REACHED},
            "images_per_s": self.images_per_s(),
            "seconds": sum(record.seconds for record in self.epochs),
            "bundle": self.bundle,
            "data": self.data,
        }


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes one run's story to `db`; nothing where `db` is None."""

    db: Path | None
    run: str

    def start(self, recipe: dict[str, Any], *, data: Path, bundle: Path) -> None:
        """Record the start, or that the run goes on."""
        self._write(
            "INSERT INTO runs (id, status, started, bundle, data, recipe) VALUES (?, 'running', ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET status = 'running', ended = NULL",
            (self.run, _now(), str(bundle.resolve()), str(data.resolve()), json.dumps(recipe)),
        )

    def epoch(self, record: EpochRecord) -> None:
        """Record a finished epoch; one that is repeated after a kill replaces its first record."""
        values = asdict(record) | {"gradient_norms": json.dumps(record.gradient_norms)}
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        sql = f"INSERT OR REPLACE INTO epochs (run, {', '.join(_COLUMNS)}) VALUES ({marks})"
        self._write(sql, (self.run, *(values[name] for name in _COLUMNS)))

    def explain(self, explanation: dict[str, Any]) -> None:
        """Record what the best epoch so far gets wrong."""
        self._write("UPDATE runs SET explanation = ? WHERE id = ?", (json.dumps(explanation), self.run))

    def end(self, status: Status) -> None:
        """Record how the run ended."""
        self._write("UPDATE runs SET status = ?, ended = ? WHERE id = ?", (status, _now(), self.run))

    def _write(self, sql: str, values: tuple[Any, ...]) -> None:
        if self.db is not None:
            with _connect(self.db) as connection:
                connection.execute(sql, values)


def list_runs(db: Path) -> list[Run]:
    """Return all runs with their epochs, the newest first, without damaged ones. Raises VegrtError when there is no such file."""
    with _existing(db) as connection:
        ids = [row["id"] for row in connection.execute("SELECT id FROM runs ORDER BY started DESC, id")]
        return list(_readable(connection, db, ids))


def load_run(db: Path, run: str) -> Run:
    """Return one run by its id, a unique beginning of it, or `last`. Raises VegrtError that lists the known ones."""
    with _existing(db) as connection:
        return _load(connection, db, _find(connection, db, run))


def delete_runs(db: Path, runs: Sequence[str], *, force: bool = False) -> list[str]:
    """Delete the runs with their epochs, all of them or none, and return their ids; their bundles stay.

    force: also those that are recorded as running, because a killed run stays so for ever.
    Raises VegrtError for a run that is not known, or that is running.
    """
    with _existing(db) as connection:
        found = list(dict.fromkeys(_find(connection, db, run) for run in runs))
        for run in found:
            (status,) = connection.execute("SELECT status FROM runs WHERE id = ?", (run,)).fetchone()
            if status == "running" and not force:
                raise VegrtError(f"{db}: run {run} is recorded as running; if it was killed, delete it with --force")
            connection.execute("DELETE FROM runs WHERE id = ?", (run,))
        return found


def compare_runs(db: Path, runs: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return, per row, one value for each run: the recipe entries that differ, then what the best epoch reached.

    Raises VegrtError for fewer than two runs.
    """
    if len(runs) < 2:
        raise VegrtError(f"{db}: one run to compare; expected: vegrt runs compare ID ID...")
    loaded = [load_run(db, run) for run in runs]
    names = list(dict.fromkeys(name for run in loaded for name in run.recipe))
    rows = {name: tuple(run.recipe.get(name) for run in loaded) for name in names}
    differing = {name: values for name, values in rows.items() if any(value != values[0] for value in values)}
    summaries = [run.summary() for run in loaded]
    reached = ("best_epoch", *_REACHED[1:], "images_per_s", "seconds")
    identity = {"run": tuple(run.id for run in loaded)}
    return identity | differing | {name: tuple(summary[name] for summary in summaries) for name in reached}


@contextmanager
def _connect(db: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection in a transaction: committed at the end, rolled back on an exception."""
    try:
        db.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(db, timeout=_BUSY_TIMEOUT_S)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")  # readers and one writer do not wait for each other
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(_SCHEMA)
            with connection:
                yield connection
    except (sqlite3.Error, OSError) as error:
        raise VegrtError(f"{db}: run history cannot be used ({error}); move it away or make it writable") from error


@contextmanager
def _existing(db: Path) -> Iterator[sqlite3.Connection]:
    if not db.is_file():
        raise VegrtError(f"{db}: no run history; `vegrt train` makes it")
    with _connect(db) as connection:
        yield connection


def _find(connection: sqlite3.Connection, db: Path, run: str) -> str:
    """Return the whole id of a run named by it, by a unique beginning, or as `last`."""
    known: list[str] = [row["id"] for row in connection.execute("SELECT id FROM runs ORDER BY started DESC, id")]
    if run in known:
        return run
    found = known[:1] if run == LAST else [one for one in known if run and one.startswith(run)]
    if len(found) > 1:
        raise VegrtError(f"{db}: run {run!r} may be {', '.join(found[:10])}; give more of the id")
    if not found:
        raise VegrtError(f"{db}: no run {run!r}; known are {', '.join(known[:10]) or 'none'}")
    return found[0]


def _readable(connection: sqlite3.Connection, db: Path, ids: Sequence[str]) -> Iterator[Run]:
    for run in ids:
        try:
            yield _load(connection, db, run)
        except VegrtError as error:
            log.warning("%s", error)


def _load(connection: sqlite3.Connection, db: Path, run: str) -> Run:
    row = dict(connection.execute("SELECT * FROM runs WHERE id = ?", (run,)).fetchone())
    found = connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM epochs WHERE run = ? ORDER BY epoch", (run,))
    try:
        epochs = [dict(line) | {"gradient_norms": _json(line["gradient_norms"])} for line in found]
        said = {name: _json(row[name]) for name in ("recipe", "explanation")}
        build(Explanation, said["explanation"])
        return build(Run, row | said | {"epochs": epochs})
    except FormatError as error:
        raise VegrtError(f"{db}: run {run} is damaged ({error}); delete it: vegrt runs delete {run} --force") from error


def _json(text: Any) -> Any:
    """Return a JSON value of ours; a gradient may have been infinite."""
    return parse_json(str(text).encode("utf-8", "surrogatepass"), finite=False)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
