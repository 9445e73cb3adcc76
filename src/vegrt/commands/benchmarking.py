"""vegrt bench and compare: how fast a bundle is here, and what became slower."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegrt.commands.options.gate import InconclusiveOption, exit_code
from vegrt.commands.options.recorded import recorded
from vegrt.commands.options.shared import BundleArgument, Device, JsonOption, RuntimeOption, show
from vegrt.errors import VegrtError

if TYPE_CHECKING:
    from vegrt.bundle.bundle import Bundle
    from vegrt.infer.runtimes.candidates import Candidate
    from vegrt.results.benchmark import Measure


class Preset(str, Enum):
    """What --preset takes."""

    single_stream = "single-stream"
    offline = "offline"


class MeasureName(str, Enum):
    """What --measure takes."""

    alone = "alone"
    copies = "copies"
    jpeg = "jpeg-to-label"


def bench(
    ctx: typer.Context,
    bundle: BundleArgument,
    rounds: Annotated[
        int, typer.Option(min=1, help="Interleaved rounds at most; each gives one timing per case.")
    ] = 30,
    budget_s: Annotated[
        float, typer.Option(min=0.0, help="Seconds for everything but a preset; what does not fit is skipped and said.")
    ] = 60.0,
    batch: Annotated[str, typer.Option(metavar="N,N,...", help="Batch sizes.")] = "1,4,16",
    threads: Annotated[int, typer.Option(min=0, help="0: all cores that this process may use.")] = 0,
    device: Annotated[Device, typer.Option(help="Of ONNX Runtime and torch.")] = Device.cpu,
    data: Annotated[
        Path | None, typer.Option("--data", help="Time on its test photos; default: golden photos, random pixels.")
    ] = None,
    variant: Annotated[list[str] | None, typer.Option(help="Only this one; may be given several times.")] = None,
    runtime: RuntimeOption = None,
    preset: Annotated[
        Preset | None, typer.Option(help="MLPerf-style scenario instead of rounds; not compliant.")
    ] = None,
    duration_s: Annotated[float, typer.Option(min=0.0, help="Of a preset: seconds per candidate at least.")] = 10.0,
    memory: Annotated[bool, typer.Option(help="Peak memory of each, in a process of its own.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Time every variant and runtime here.

    The network alone, with copies, and from JPEG to label, in interleaved rounds. Partial results and presets are written to
    files of their own beside results/bench.json.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.evaluate.benchmark.bench import bench as run_bench
    from vegrt.evaluate.benchmark.bench import bench_table
    from vegrt.evaluate.benchmark.presets import bench_scenario, scenario_table
    from vegrt.evaluate.benchmark.setup import Conditions
    from vegrt.results.common import Command
    from vegrt.results.convert import to_dict
    from vegrt.results.files import save_result

    opened = open_bundle(bundle)
    chosen, sizes = _chosen(opened, variant, runtime, device), _sizes(batch)
    conditions = Conditions(threads, device.value, data, memory)
    if preset is None:
        result = run_bench(opened, chosen, rounds=rounds, batch_sizes=sizes, budget_s=budget_s, conditions=conditions)
    else:
        result = bench_scenario(
            opened, chosen, preset.value, batch_sizes=sizes, duration_s=duration_s, conditions=conditions
        )
    result = replace(result, command=Command(**recorded(ctx)))
    save_result(opened, _name(preset, variant, runtime, device), result)
    if as_json:
        show(to_dict(result), True)
    else:
        show(scenario_table(result) if preset else bench_table(result), False)


def compare(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT...", help="Files of vegrt bench, or bundles.")],
    measure: Annotated[MeasureName, typer.Option(help="Which of the three times.")] = MeasureName.alone,
    fail_if_slower: Annotated[
        float | None, typer.Option(min=0.0, metavar="RATIO", help="Largest ratio new / base that passes, as 1.1.")
    ] = None,
    inconclusive: InconclusiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare benchmarks with the first one.

    Ratios of medians with intervals, per candidate and batch size; of a single result: its candidates with the first. With
    --fail-if-slower: exit 0 when no case is slower, 3 when one is beyond doubt, 4 when the intervals leave it open.
    """
    from vegrt.evaluate.benchmark.compare import compare_benches, comparison_tables
    from vegrt.results.convert import to_dict

    measures: dict[MeasureName, Measure] = {
        MeasureName.alone: "batches",
        MeasureName.copies: "copies",
        MeasureName.jpeg: "end_to_end",
    }
    if fail_if_slower is not None and not 0 < fail_if_slower < float("inf"):
        raise VegrtError(f"--fail-if-slower {fail_if_slower:g}: no limit; expected a ratio above 0, such as 1.1")
    comparison = compare_benches(results, measures[measure], limit=fail_if_slower)
    show(to_dict(comparison) if as_json else comparison_tables(comparison), as_json)
    raise typer.Exit(exit_code(comparison.verdict, inconclusive))


def _chosen(bundle: Bundle, variants: list[str] | None, runtime: str | None, device: Device) -> list[Candidate]:
    """Return the candidates that were asked for. Raises VegrtError for a variant that none of them has."""
    from vegrt.infer.runtimes.candidates import candidates, nothing_runs

    found = candidates(bundle, runtime, device.value)
    if not found:
        raise nothing_runs(bundle, runtime=runtime)
    have = dict.fromkeys(one.variant for one in found)
    if unknown := [name for name in variants or () if name not in have]:
        raise VegrtError(f"--variant {unknown[0]}: nothing runs it here; found {', '.join(have)}")
    return [one for one in found if not variants or one.variant in variants]


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}; expected numbers with commas, such as 1,4,16", param_hint="--batch"
        ) from None


def _name(preset: Preset | None, variants: list[str] | None, runtime: str | None, device: Device) -> str:
    """Return the result's name: a partial result must not replace the whole, nor a scenario the rounds."""
    only: list[Any] = [*(variants or ()), *([runtime] if runtime else []), *(["cuda"] if device == Device.cuda else [])]
    return "-".join(["bench", *([preset.value] if preset else []), *(["only", *only] if only else [])])
