"""vegrt bench and compare: time a bundle on this machine, and compare benchmarks."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegrt.api.benchmarking import bench as run_bench
from vegrt.commands.options.derived import options_of
from vegrt.commands.options.gate import InconclusiveOption, exit_code
from vegrt.commands.options.shared import JsonOption, show
from vegrt.errors import VegrtError

if TYPE_CHECKING:
    from vegrt.results.benchmark import Measure


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


@options_of(run_bench)
def bench(*, as_json: JsonOption = False, **options: Any) -> None:
    """Time every variant, runtime and device that infer could choose on this machine.

    Times the network alone, with copies, and from JPEG to label, in interleaved rounds. Results of some candidates only
    and of presets go to separate files beside results/bench.json; they are added to it where results are read.
    """
    result = run_bench(**options)
    if as_json:
        show(result.to_dict(), True)
        return
    from vegrt.evaluate.benchmark.tables import bench_table, scenario_table

    show(scenario_table(result) if options["preset"] else bench_table(result), False)


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
