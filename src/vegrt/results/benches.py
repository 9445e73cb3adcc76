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
        return gpu_name(self.bench) if device == "cuda" else self.bench.machine.cpu


def read_benches(bundle: Bundle) -> tuple[list[MergedBench], list[IgnoredRow]]:
    """Return the benchmarks of a bundle, one for each machine, and what was ignored.

    The machine of bench.json comes first, then that of the newest file. Of a preset, the rows of candidates count that were not
    measured in rounds.
    """
    files: list[tuple[str, Bench]] = []
    ignored: list[IgnoredRow] = []
    for file in stored_names(bundle, _MAIN, f"{_MAIN}-*"):
        if (stored := load_stored(bundle, Bench, file)) is not None:
            rows, faults = split_rows(bundle, file, stored.candidates)
            ignored += faults
            files += [(file, replace(stored, candidates=rows))] if rows else []
    files.sort(key=lambda file: file[1].created, reverse=True)
    files.sort(key=lambda file: (file[0] != _MAIN, file[1].preset is not None))
    return [_merged(bundle, group) for group in _by_machine(files)], ignored


def _by_machine(files: Sequence[tuple[str, Bench]]) -> list[list[tuple[str, Bench]]]:
    """Return the files grouped by processor and GPU. A file without a GPU belongs to any machine with its processor."""
    groups: list[list[tuple[str, Bench]]] = []
    for name, bench in files:
        for group in groups:
            gpus = {gpu for _, other in group if (gpu := gpu_name(other))}
            if group[0][1].machine.cpu == bench.machine.cpu and gpus <= {gpu_name(bench) or next(iter(gpus), "")}:
                group.append((name, bench))
                break
        else:
            groups.append([(name, bench)])
    return groups


def gpu_name(bench: Bench) -> str:
    """Return the name of the GPU that ran; empty if none did or it is unknown."""
    return bench.machine.gpu or (bench.gpu.name if bench.gpu and bench.gpu.name else "")


def _merged(bundle: Bundle, files: Sequence[tuple[str, Bench]]) -> MergedBench:
    """Return the files of one machine as one benchmark. files: the main one first, presets last."""
    main = files[0][1]
    rounds = sorted((file for file in files if file[1].preset is None), key=lambda file: file[1].created, reverse=True)
    presets = [file for file in files if file[1].preset is not None]
    rows: dict[RowId, BenchCandidate] = {row_id(row): row for row in main.candidates}  # in the order of the main file
    sources: dict[RowId, list[tuple[str, Bench]]] = {}
    for name, bench in [*rounds, *presets]:
        for row in bench.candidates:
            earlier = sources.setdefault(row_id(row), [])
            if not earlier:
                rows[row_id(row)] = row
            elif bench.preset is None and bench.threads == earlier[0][1].threads:
                rows[row_id(row)] = _filled(rows[row_id(row)], row)
            else:
                continue
            earlier.append((name, bench))
    used = [bench for _, bench in files if any(bench is source for found in sources.values() for _, source in found)]
    runs = {
        (row_key(bundle, row), timing.batch): _source(timing, sources[candidate])
        for candidate, row in rows.items()
        for timing in row.batches
    }
    bench = replace(
        main,
        candidates=tuple(replace(row, key=row_key(bundle, row)) for row in rows.values()),
        noise=next((bench.noise for bench in used if bench.noise and bench.noise.is_noisy), main.noise),
        gpu=next((bench.gpu for bench in used if bench.gpu), None),
        machine=replace(main.machine, gpu=next((bench.machine.gpu for bench in used if bench.machine.gpu), None)),
    )
    return MergedBench(bench, tuple(bench.command for bench in used), runs)


def _filled(newer: BenchCandidate, older: BenchCandidate) -> BenchCandidate:
    """Return the newer row with the times of batch sizes that only the older one has."""
    return replace(
        newer,
        batches=_by_batch(older.batches, newer.batches),
        copies=_by_batch(older.copies or (), newer.copies or ()),
        end_to_end=_by_batch(older.end_to_end or (), newer.end_to_end or ()),
        stages_ms=_by_batch(older.stages_ms or (), newer.stages_ms or ()),
        load_s=older.load_s if newer.load_s is None else newer.load_s,
        peak_rss_mib=older.peak_rss_mib if newer.peak_rss_mib is None else newer.peak_rss_mib,
    )


def _by_batch(older: Sequence[_Times], newer: Sequence[_Times]) -> tuple[_Times, ...]:
    times: dict[int, _Times] = {entry.batch: entry for entry in older}
    times |= {entry.batch: entry for entry in newer}
    return tuple(times[batch] for batch in sorted(times))


def _source(timing: Timing, files: Sequence[tuple[str, Bench]]) -> str:
    """Return the name of the file that holds these times."""
    return next(
        name for name, bench in files if any(timing is entry for row in bench.candidates for entry in row.batches)
    )
