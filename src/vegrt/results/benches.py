"""The benchmarks of each machine as one: the newest times of each candidate, whichever file holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from vegrt.bundle.bundle import Bundle
from vegrt.results.benchmark import Bench, BenchCandidate, Stages, Timing
from vegrt.results.common import Command
from vegrt.results.files import load_stored
from vegrt.results.rows import IgnoredRow, RowId, row_id, row_key, split_rows, stored_names

_MAIN = "bench"
_Times = TypeVar("_Times", Timing, Stages)


@dataclass(frozen=True, slots=True)
class MergedBench:
    """The rows of one machine that count, as one benchmark. commands: those that measured them, the main file's first.

    runs: by key and batch size, the file that holds the times. Only times of one file can be paired by round.
    """

    bench: Bench
    commands: tuple[Command | None, ...] = ()
    runs: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def processor(self, device: str) -> str:
        """Return the name of the GPU or CPU that ran the rows of a device; empty if it is unknown."""
        return self.bench.gpu_name if device == "cuda" else self.bench.machine.cpu


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    bench: Bench


def read_benches(bundle: Bundle) -> tuple[list[MergedBench], list[IgnoredRow]]:
    """Return the benchmarks of a bundle, one for each machine, and what was ignored.

    The machine of bench.json comes first, then that of the newest file. Of a preset, the rows of candidates count that were not
    measured in rounds.
    """
    files: list[_File] = []
    ignored: list[IgnoredRow] = []
    for name in stored_names(bundle, _MAIN, f"{_MAIN}-*"):
        if (stored := load_stored(bundle, Bench, name)) is not None:
            rows, faults = split_rows(bundle, name, stored.candidates)
            ignored += faults
            files += [_File(name, replace(stored, candidates=rows))] if rows else []
    files.sort(key=lambda file: file.bench.created, reverse=True)
    files.sort(key=lambda file: (file.name != _MAIN, file.bench.preset is not None))
    return [_merged(bundle, group) for group in _by_machine(files)], ignored


def _by_machine(files: Sequence[_File]) -> list[list[_File]]:
    """Return the files grouped by processor and GPU. A file without a GPU belongs to any machine with its processor."""
    groups: list[list[_File]] = []
    for file in files:
        for group in groups:
            gpus = {name for other in (*group, file) if (name := other.bench.gpu_name)}
            if group[0].bench.machine.cpu == file.bench.machine.cpu and len(gpus) < 2:
                group.append(file)
                break
        else:
            groups.append([file])
    return groups


def _merged(bundle: Bundle, files: Sequence[_File]) -> MergedBench:
    """Return the files of one machine as one benchmark. files: the main one first, presets last."""
    main, rows = files[0].bench, _newest_rows(files)
    holders = {id(timing): file.name for file in files for row in file.bench.candidates for timing in row.batches}
    runs = {
        (row_key(bundle, row), timing.batch): holders[id(timing)] for row in rows.values() for timing in row.batches
    }
    used = [file.bench for file in files if file.name in runs.values()]
    noises = sorted((bench.noise for bench in used if bench.noise), key=lambda noise: not noise.is_noisy)
    merged = replace(
        main,
        candidates=tuple(replace(row, key=row_key(bundle, row)) for row in rows.values()),
        noise=next(iter(noises), None),
        gpu=next((bench.gpu for bench in used if bench.gpu), None),
        limits=next((bench.limits for bench in (main, *used) if bench.limits and bench.threads == main.threads), None),
        macs_per_image=next((bench.macs_per_image for bench in (main, *used) if bench.macs_per_image), None),
        machine=replace(main.machine, gpu=next((name for bench in used if (name := bench.machine.gpu)), None)),
    )
    return MergedBench(merged, tuple(bench.command for bench in used), runs)


def _newest_rows(files: Sequence[_File]) -> dict[RowId, BenchCandidate]:
    """Return the newest row of each candidate, in the order of the files.

    Older rows add the batch sizes that it lacks, if they were timed with as many threads. Of presets, only rows of candidates
    that no other file has.
    """
    order = dict.fromkeys(row_id(row) for file in files for row in file.bench.candidates)
    rounds = sorted(
        (file for file in files if not file.bench.preset), key=lambda file: file.bench.created, reverse=True
    )
    newest: dict[RowId, tuple[BenchCandidate, Bench]] = {}
    for file in (*rounds, *(file for file in files if file.bench.preset)):
        for row in file.bench.candidates:
            newer, bench = newest.setdefault(row_id(row), (row, file.bench))
            if newer is not row and not file.bench.preset and bench.threads == file.bench.threads:
                newest[row_id(row)] = (_filled(newer, row), bench)
    return {candidate: newest[candidate][0] for candidate in order}


def _filled(newer: BenchCandidate, older: BenchCandidate) -> BenchCandidate:
    """Return the newer row with the times of batch sizes that only the older one has."""
    return replace(
        newer,
        batches=_by_batch(older.batches, newer.batches),
        copies=_by_batch(older.copies or (), newer.copies or ()),
        end_to_end=_by_batch(older.end_to_end or (), newer.end_to_end or ()),
        stages_ms=_by_batch(older.stages_ms or (), newer.stages_ms or ()),
        load_s=older.load_s if newer.load_s is None else newer.load_s,
        first_answer_s=older.first_answer_s if newer.first_answer_s is None else newer.first_answer_s,
        peak_rss_mib=older.peak_rss_mib if newer.peak_rss_mib is None else newer.peak_rss_mib,
    )


def _by_batch(older: Sequence[_Times], newer: Sequence[_Times]) -> tuple[_Times, ...]:
    times: dict[int, _Times] = {entry.batch: entry for entry in older}
    times |= {entry.batch: entry for entry in newer}
    return tuple(times[batch] for batch in sorted(times))
