"""vegrt bench and compare: time a bundle on this machine, and compare benchmarks."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegrt.commands.options.gate import InconclusiveOption, exit_code
from vegrt.commands.options.numbers import parse_numbers
from vegrt.commands.options.recorded import recorded
from vegrt.commands.options.shared import (
    BundleArgument,
    JsonOption,
    MeasuredDeviceOption,
    ProviderOption,
    RuntimeOption,
    VariantsOption,
    runtime_name,
    show,
)
from vegrt.errors import VegrtError

if TYPE_CHECKING:
    from vegrt.results.benchmark import Measure


class PresetName(str, Enum):
    """Values of --preset."""

    single_stream = "single-stream"
    offline = "offline"


class MeasureName(str, Enum):
    """Values of --measure."""

    alone = "alone"
    copies = "copies"
    jpeg = "jpeg-to-label"


_MEASURES: dict[MeasureName, Measure] = {
    MeasureName.alone: "batches",
    MeasureName.copies: "copies",
    MeasureName.jpeg: "end_to_end",
}

RoundsOption = Annotated[
    int, typer.Option(min=1, help="Largest number of interleaved rounds; each gives one timing per case.")
]
BudgetOption = Annotated[
    float, typer.Option(min=0.0, help="Seconds for all but a preset; cases that do not fit are skipped and listed.")
]
BatchesOption = Annotated[str, typer.Option(metavar="N,N,...", help="Batch sizes to time.")]
ThreadsOption = Annotated[
    int, typer.Option(min=0, help="Threads of CPU runtimes; 0: all cores that this process may use.")
]
TimingDataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder or CSV file of test photos; default: golden photos, random pixels."),
]
PresetOption = Annotated[
    PresetName | None, typer.Option(help="Run an MLPerf-style scenario (not compliant) instead of rounds.")
]
DurationOption = Annotated[
    float, typer.Option(min=0.0, help="Shortest time for each candidate in a preset, in seconds.")
]
MemoryOption = Annotated[
    bool, typer.Option(help="Measure peak memory and the time to the first answer, in processes of their own.")
]
LimitsOption = Annotated[
    bool, typer.Option(help="Measure what the CPU can multiply, and each candidate's share of it (5 s of the budget).")
]


def bench(
    ctx: typer.Context,
    bundle: BundleArgument,
    rounds: RoundsOption = 30,
    budget_s: BudgetOption = 60.0,
    batch: BatchesOption = "1,4,16",
    threads: ThreadsOption = 0,
    device: MeasuredDeviceOption = None,
    data: TimingDataOption = None,
    variant: VariantsOption = None,
    runtime: RuntimeOption = None,
    provider: ProviderOption = None,
    preset: PresetOption = None,
    duration_s: DurationOption = 10.0,
    memory: MemoryOption = True,
    limits: LimitsOption = True,
    as_json: JsonOption = False,
) -> None:
    """Time every variant, runtime and device that infer could choose on this machine.

    Times the network alone, with copies, and from JPEG to label, in interleaved rounds. Results of some candidates only
    and of presets go to separate files beside results/bench.json; they are added to it where results are read.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.evaluate.benchmark.bench import bench as run_bench
    from vegrt.evaluate.benchmark.presets import bench_scenario
    from vegrt.evaluate.benchmark.setup import Conditions
    from vegrt.evaluate.benchmark.tables import bench_table, scenario_table
    from vegrt.evaluate.selection import Selection, select_candidates
    from vegrt.results.common import Command
    from vegrt.results.convert import to_dict
    from vegrt.results.files import save_result

    opened = open_bundle(bundle)
    selection = Selection(runtime_name(runtime, provider), device.value if device else None, tuple(variant or ()))
    chosen = select_candidates(opened, selection)
    sizes = parse_numbers(batch, int, option="--batch", example="1,4,16")
    conditions = Conditions(threads, data, memory, limits, gpu_required=not selection.is_all)
    if preset is None:
        result = run_bench(opened, chosen, rounds=rounds, batch_sizes=sizes, budget_s=budget_s, conditions=conditions)
    else:
        result = bench_scenario(
            opened, chosen, preset.value, batch_sizes=sizes, duration_s=duration_s, conditions=conditions
        )
    result = replace(result, command=Command(**recorded(ctx)))
    scenario = f"-{preset.value}" if preset else ""
    save_result(opened, f"bench{scenario}{selection.suffix}", result)
    if as_json:
        show(to_dict(result), True)
    else:
        show(scenario_table(result) if preset else bench_table(result), False)


def compare(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="Result files of vegrt bench, or bundles.")
    ],
    measure: Annotated[MeasureName, typer.Option(help="Measure to compare.")] = MeasureName.alone,
    fail_if_slower: Annotated[
        float | None, typer.Option(min=0.0, metavar="RATIO", help="Largest ratio new / base that passes, such as 1.1.")
    ] = None,
    inconclusive: InconclusiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare benchmarks with the first one.

    Shows ratios of medians with intervals for each candidate and batch size. A single result: compares its candidates with its
    first one. With --fail-if-slower: exit 0 when no case is slower, 3 when one is significantly slower, 4 when undecided.
    """
    from vegrt.evaluate.benchmark.compare import compare_benches
    from vegrt.evaluate.benchmark.tables import comparison_tables
    from vegrt.results.convert import to_dict

    if fail_if_slower is not None and not 0 < fail_if_slower < float("inf"):
        raise VegrtError(f"--fail-if-slower {fail_if_slower:g}; expected a ratio above 0, such as 1.1")
    comparison = compare_benches(results, _MEASURES[measure], limit=fail_if_slower)
    show(to_dict(comparison) if as_json else comparison_tables(comparison), as_json)
    raise typer.Exit(exit_code(comparison.verdict, inconclusive))
