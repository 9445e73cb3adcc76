"""The counters of a device: they count the judged answers of one candidate, look at them, and store both in a file."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vegrt.bundle.bundle import Bundle
from vegrt.errors import DataError, FormatError, VegrtError
from vegrt.files.atomic import write_text
from vegrt.files.locking import queued
from vegrt.files.text import json_text
from vegrt.infer.drift.looks import Looks
from vegrt.infer.drift.periods import Periods, Tally, empty_period
from vegrt.infer.drift.record import Alarms, CountersFile, Kind
from vegrt.infer.runtimes.candidates import Candidate, artifact_of
from vegrt.infer.trust.histograms import Binned, Edges, Reference, binned
from vegrt.infer.trust.judge import Judge, Judged
from vegrt.schema import read_json

log = logging.getLogger(__name__)

EVERY_S = 60.0  # between two writings while photos arrive
LIMIT_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Subject:
    """What counters are about: a candidate, its file, and the trust.json by whose thresholds its answers are judged."""

    bundle: str
    key: str
    artifact_sha256: str
    trust_sha256: str
    classes: tuple[str, ...]
    reference: Reference

    @classmethod
    def of(cls, bundle: Bundle, candidate: Candidate, judge: Judge) -> Subject:
        """Return the subject of a candidate. Raises VegrtError where trust.json is too old to have a reference."""
        if judge.trust.reference is None:
            raise VegrtError(
                f"{bundle.path}: its trust.json has no histograms to compare with; make it again: "
                f"vegrt trust {bundle.path} --data DATA"
            )
        sha256 = artifact_of(bundle, candidate).sha256
        trust, name = bundle.artifact("trust").sha256, bundle.manifest.name
        return cls(name, str(candidate), sha256, trust, tuple(bundle.manifest.classes), judge.trust.reference)

    def fresh(self, now: int) -> CountersFile:
        """Return counters without photos. now: in seconds since 1970."""
        edges = self.reference.edges
        return CountersFile(
            created=now,
            updated=now,
            bundle=self.bundle,
            key=self.key,
            artifact_sha256=self.artifact_sha256,
            trust_sha256=self.trust_sha256,
            classes=self.classes,
            edges=edges,
            photos=0,
            total=empty_period(0, len(self.classes), edges),
        )

    def check(self, stored: CountersFile, path: Path) -> None:
        """Raise DataError unless stored counters are about this subject."""
        if (stored.key, stored.artifact_sha256) != (self.key, self.artifact_sha256):
            raise DataError(
                f"{path}: counts {stored.key} of {stored.bundle}; this is {'another ' if stored.key == self.key else ''}"
                f"{self.key} of {self.bundle}; choose another file"
            )
        if (stored.trust_sha256, stored.classes, stored.edges) != (
            self.trust_sha256,
            self.classes,
            self.reference.edges,
        ):
            raise DataError(f"{path}: counted by an earlier trust.json of {self.bundle}; choose another file")


class Counters:
    """Counts answers in memory; `save` writes them. Safe to use from several threads.

    clock: gives the time in seconds since 1970.
    """

    def __init__(
        self, subject: Subject, path: Path, stored: CountersFile | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._subject, self.path, self._clock = subject, path, clock
        self._lock = threading.Lock()
        self._version = _version(path)
        state = stored or subject.fresh(int(clock()))
        classes, edges = len(subject.classes), subject.reference.edges
        self._created, self._total = state.created, Tally.of(state.total)
        self._periods = Periods(state.periods, classes, edges)
        reference = subject.reference.histogram(classes)
        alarms: dict[Kind, Alarms] = {"photos": state.photos_alarms, "classes": state.classes_alarms}
        self._looks = Looks.resumed(reference, edges, state.levels, alarms, state.photos)
        self._looks.last_look = state.last_look
        self._saved_s = clock()

    def count(self, judged: Judged) -> None:
        """Count the answers to N photos; those without a finite probability are left out."""
        photos = bins_of(judged, self._subject.reference.edges)
        now = int(self._clock())
        with self._lock:
            had_alarm = self._looks.alarms["photos"].first is not None
            self._looks.count(photos, now)
            if not had_alarm and self._looks.alarms["photos"].first is not None:
                log.warning("%s: photos look different from those of validation; see vegrt drift", self.path)
            self._periods.count(photos, now)
            self._total.count(photos)

    def state(self) -> CountersFile:
        """Return what has been counted until now."""
        subject, looks = self._subject, self._looks
        with self._lock:
            return CountersFile(
                created=self._created,
                updated=int(self._clock()),
                bundle=subject.bundle,
                key=subject.key,
                artifact_sha256=subject.artifact_sha256,
                trust_sha256=subject.trust_sha256,
                classes=subject.classes,
                edges=subject.reference.edges,
                photos=looks.photos,
                total=self._total.period(),
                periods=self._periods.all(),
                levels=looks.levels(),
                last_look=looks.last_look,
                photos_alarms=looks.alarms["photos"],
                classes_alarms=looks.alarms["classes"],
            )

    def save(self) -> None:
        """Write the file. Raises VegrtError if it cannot be written, or if something else has written it meanwhile."""
        with queued(self.path.parent):  # between the look and the writing nobody else may write
            self._write()

    def _write(self) -> None:
        if _version(self.path) != self._version:
            raise VegrtError(f"{self.path}: changed by another process; give every process a file of its own")
        write_text(self.path, json_text(self.state().to_dict()) + "\n")
        self._version, self._saved_s = _version(self.path), self._clock()

    @classmethod
    def resumed(cls, subject: Subject, path: Path, clock: Callable[[], float] = time.time) -> Counters:
        """Return counters that go on where the file ends; without a file, new ones, and the file is written.

        Raises DataError for a file of another candidate or trust.json, VegrtError for one that cannot be written.
        """
        with queued(path.parent):
            stored = read_counters(path) if path.exists() else None
            if stored is not None:
                subject.check(stored, path)
            counters = cls(subject, path, stored, clock)
            counters._write()
        return counters

    def save_sometimes(self) -> None:
        """Write the file if it has not been written for EVERY_S. Raises VegrtError as `save` does."""
        if not 0 <= self._clock() - self._saved_s < EVERY_S:
            self.save()


def bins_of(judged: Judged, edges: Edges) -> Binned:
    """Return the bins of the answers to N photos; those without a finite probability are left out."""
    finite = np.isfinite(judged.probabilities).all(axis=1)
    probabilities = judged.probabilities[finite]
    unsure = np.array([judgement.decision == "unsure" for judgement in judged.judgements], np.bool_)[finite]
    labels = probabilities.argmax(axis=1)
    return binned(edges, labels, probabilities.max(axis=1), judged.foreign_scores[finite], unsure)


class Saver:
    """A thread that saves counters now and then; what prevents it is logged once, and counting goes on."""

    def __init__(self, counters: Counters) -> None:
        self._counters, self._stop, self._has_failed = counters, threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="counters", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Save for the last time, and end the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stop.wait(EVERY_S)
            try:
                self._counters.save()
            except VegrtError as error:
                if not self._has_failed:
                    log.warning("%s", error)
                self._has_failed = True


def open_counters(
    path: Path, bundle: Bundle, candidate: Candidate, judge: Judge, clock: Callable[[], float] = time.time
) -> Counters:
    """Return the counters of a file, which go on where it ends; new ones where there is none, and the file is then written.

    They count what `judge` judges from now on. Raises DataError for a file of another candidate or trust.json, VegrtError for one
    that cannot be written and for a trust.json without a reference.
    """
    counters = Counters.resumed(Subject.of(bundle, candidate, judge), path, clock)
    judge.on_judged = counters.count
    return counters


def read_counters(path: Path) -> CountersFile:
    """Return the content of a counters file. Raises DataError for one that is missing or is none."""
    try:
        return CountersFile.from_dict(read_json(path, limit_bytes=LIMIT_BYTES))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); make it: vegrt infer IMAGES --reject --counters {path}"
        ) from error
    except FormatError as error:
        raise DataError(f"{path}: is no counters file ({error}); choose another file") from error


def _version(path: Path) -> tuple[int, int] | None:
    """Return what differs once a file has been replaced; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
