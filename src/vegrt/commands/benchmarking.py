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
from vegrt.commands.options.shared import BundleArgument, Device, JsonOption, RuntimeOption, show
from vegrt.errors import VegrtError

if TYPE_CHECKING:
    from vegrt.bundle.bundle import Bundle
    from vegrt.infer.runtimes.candidates import Candidate
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
TimingDeviceOption = Annotated[Device, typer.Option(help="Device for ONNX Runtime and PyTorch.")]
TimingDataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder or CSV file of test photos; default: golden photos, random pixels."),
]
VariantsOption = Annotated[list[str] | None, typer.Option(help="Time only this variant; repeatable.")]
PresetOption = Annotated[
    PresetName | None, typer.Option(help="Run an MLPerf-style scenario (not compliant) instead of rounds.")
]
DurationOption = Annotated[
    float, typer.Option(min=0.0, help="Shortest time for each candidate in a preset, in seconds.")
]
MemoryOption = Annotated[bool, typer.Option(help="Measure the peak memory of each candidate in a separate process.")]


def bench(
    ctx: typer.Context,
    bundle: BundleArgument,
    rounds: RoundsOption = 30,
    budget_s: BudgetOption = 60.0,
    batch: BatchesOption = "1,4,16",
    threads: ThreadsOption = 0,
    device: TimingDeviceOption = Device.cpu,
    data: TimingDataOption = None,
    variant: VariantsOption = None,
    runtime: RuntimeOption = None,
    preset: PresetOption = None,
    duration_s: DurationOption = 10.0,
    memory: MemoryOption = True,
    as_json: JsonOption = False,
) -> None:
    """Time every variant and runtime on this machine.

    Times the network alone, with copies, and from JPEG to label, in interleaved rounds. Results of some candidates only
    and of presets go to separate files beside results/bench.json.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.evaluate.benchmark.bench import bench as run_bench
    from vegrt.evaluate.benchmark.presets import bench_scenario
    from vegrt.evaluate.benchmark.setup import Conditions
    from vegrt.evaluate.benchmark.tables import bench_table, scenario_table
    from vegrt.results.common import Command
    from vegrt.results.convert import to_dict
    from vegrt.results.files import save_result

    opened = open_bundle(bundle)
    chosen = _select_candidates(opened, variant, runtime, device)
    sizes = parse_numbers(batch, int, option="--batch", example="1,4,16")
    conditions = Conditions(threads, device.value, data, memory)
    if preset is None:
        result = run_bench(opened, chosen, rounds=rounds, batch_sizes=sizes, budget_s=budget_s, conditions=conditions)
    else:
        result = bench_scenario(
            opened, chosen, preset.value, batch_sizes=sizes, duration_s=duration_s, conditions=conditions
        )
    result = replace(result, command=Command(**recorded(ctx)))
    save_result(opened, _result_name(preset, variant, runtime, device), result)
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


def _select_candidates(
    bundle: Bundle, variants: list[str] | None, runtime: str | None, device: Device
) -> list[Candidate]:
    """Return the candidates to time. Raises VegrtError for a variant that no candidate has."""
    from vegrt.infer.runtimes.candidates import candidates, nothing_runs

    runnable = candidates(bundle, runtime, device.value)
    if not runnable:
        raise nothing_runs(bundle, runtime=runtime)
    available = dict.fromkeys(candidate.variant for candidate in runnable)
    if unknown := [name for name in variants or () if name not in available]:
        raise VegrtError(f"--variant {unknown[0]}: no runtime here runs it; expected one of {', '.join(available)}")
    return [candidate for candidate in runnable if not variants or candidate.variant in variants]


def _result_name(preset: PresetName | None, variants: list[str] | None, runtime: str | None, device: Device) -> str:
    """Return the result's name; results of a preset or of some candidates do not replace the result of all candidates."""
    parts: list[str] = [
        *(variants or ()),
        *([runtime] if runtime else []),
        *(["cuda"] if device == Device.cuda else []),
    ]
    return "-".join(["bench", *([preset.value] if preset else []), *(["only", *parts] if parts else [])])
