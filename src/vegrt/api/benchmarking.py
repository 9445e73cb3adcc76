"""vegrt.bench: how fast a bundle's candidates are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vegrt.api.call import api_function, this_call
from vegrt.commands.options.numbers import parse_numbers
from vegrt.commands.options.shared import (
    BundlePath,
    MeasuredDeviceOption,
    ProviderOption,
    RuntimeOption,
    VariantsOption,
    runtime_name,
)

if TYPE_CHECKING:
    from vegrt.results.benchmark import Bench


def parse_batches(text: str) -> tuple[int, ...]:
    """Return the batch sizes in a text such as 1,4,16. Raises ArgumentError for anything else."""
    return parse_numbers(text, int, option="--batch", example="1,4,16")


RoundsOption = Annotated[
    int, typer.Option("--rounds", min=1, help="Largest number of interleaved rounds; each gives one timing per case.")
]
BudgetOption = Annotated[
    float,
    typer.Option(
        "--budget-s", min=0.0, help="Seconds for all but a preset; cases that do not fit are skipped and listed."
    ),
]
BatchesOption = Annotated[
    Sequence[int], typer.Option("--batch", metavar="N,N,...", parser=parse_batches, help="Batch sizes to time.")
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="Threads of CPU runtimes; 0: all cores that this process may use.")
]
TimingDataPath = Annotated[
    str | Path | None,
    typer.Option("--data", help="Folder or CSV file of test photos; default: golden photos, random pixels."),
]
PresetOption = Annotated[
    Literal["single-stream", "offline"] | None,
    typer.Option("--preset", help="Run an MLPerf-style scenario (not compliant) instead of rounds."),
]
DurationOption = Annotated[
    float, typer.Option("--duration-s", min=0.0, help="Shortest time for each candidate in a preset, in seconds.")
]
MemoryOption = Annotated[
    bool,
    typer.Option(
        "--memory/--no-memory", help="Measure peak memory and the time to the first answer, in processes of their own."
    ),
]
LimitsOption = Annotated[
    bool,
    typer.Option(
        "--limits/--no-limits",
        help="Measure what the CPU can multiply, and each candidate's share of it (5 s of the budget).",
    ),
]


@api_function
def bench(
    bundle: BundlePath,
    *,
    rounds: RoundsOption = 30,
    budget_s: BudgetOption = 60.0,
    batch: BatchesOption = (1, 4, 16),
    threads: ThreadsOption = 0,
    device: MeasuredDeviceOption = None,
    data: TimingDataPath = None,
    variant: VariantsOption = None,
    runtime: RuntimeOption = None,
    provider: ProviderOption = None,
    preset: PresetOption = None,
    duration_s: DurationOption = 10.0,
    memory: MemoryOption = True,
    limits: LimitsOption = True,
    progress: bool | None = None,
) -> Bench:
    """Time every candidate that infer could choose here: the network alone, with copies, and from JPEG to label.

    Candidates take turns in interleaved rounds; quantiles are in ms, with 95 % intervals, sizes of memory in MiB. The result is
    also written to results/ in the bundle.
    Raises BundleError for a bundle without models, VegrtError when nothing runs here, or a named candidate does not.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.evaluate.benchmark.bench import bench as run_bench
    from vegrt.evaluate.benchmark.presets import bench_scenario
    from vegrt.evaluate.benchmark.setup import Conditions
    from vegrt.evaluate.selection import Selection, select_candidates
    from vegrt.results.common import Command
    from vegrt.results.files import save_result

    opened, sizes = open_bundle(Path(bundle)), tuple(batch)
    selection = Selection(runtime_name(runtime, provider), device, tuple(variant or ()))
    chosen = select_candidates(opened, selection)
    photos = None if data is None else Path(data)
    conditions = Conditions(threads, photos, memory, limits, gpu_required=not selection.is_all)
    if preset is None:
        result = run_bench(opened, chosen, rounds=rounds, batch_sizes=sizes, budget_s=budget_s, conditions=conditions)
    else:
        result = bench_scenario(opened, chosen, preset, batch_sizes=sizes, duration_s=duration_s, conditions=conditions)
    result = replace(result, command=Command(**this_call()))
    scenario = f"-{preset}" if preset else ""
    save_result(opened, f"bench{scenario}{selection.suffix}", result)
    return result
