"""vegrt export and calibrate: write models and engines from a checkpoint, and calibrate int8 again."""

from __future__ import annotations

import shlex
from typing import Any

import typer

from vegrt.api.exporting import calibrate as run_calibration
from vegrt.api.exporting import export as run_export
from vegrt.commands.options.calibration import RestOption, without_rest
from vegrt.commands.options.derived import options_of
from vegrt.commands.options.shared import JsonOption, show


@options_of(run_export)
def export(*, rest: RestOption = None, as_json: JsonOption = False, **options: Any) -> None:
    """Write the ONNX variants and engines.

    Writes fp32, fp16, int8 (TensorRT's rules) and int8-cpu, calibrated on DATA/validation; each is compared with its reference.
    With an audit, validation photos that are near duplicates of test photos are not used for calibration.
    An exported bundle needs --overwrite if this invalidates evaluations, benchmarks, engines or a search for float layers.
    """
    exported = run_export(**without_rest(options, rest))
    if as_json:
        show(exported.to_dict(), True)
        return
    from vegrt.export.summary import export_lines, seconds_table

    typer.echo("\n".join(export_lines(exported.bundle)))
    show(seconds_table(exported.seconds), False)
    typer.echo(f"next: {shlex.join(['vegrt', 'evaluate', str(options['bundle']), '--data', str(options['data'])])}")


@options_of(run_calibration)
def calibrate(*, rest: RestOption = None, as_json: JsonOption = False, **options: Any) -> None:
    """Calibrate an exported bundle again, or analyse its calibration.

    Replaces int8 and int8-cpu, their calibration and their engines; needs --overwrite if this invalidates evaluations,
    benchmarks, engines or a search for float layers. A calibration with the same key is not repeated.
    --sensitivity and --curve are analyses: they write results and change no model, unless one of --max-drop, --max-flips,
    --float-layers, --float-type, --attention and --engine also requests a new calibration.
    """
    calibrated = run_calibration(**without_rest(options, rest))
    if as_json:
        show(calibrated.to_dict(), True)
        return
    from vegrt.calibration.tables import analysis_tables, calibration_tables

    analyses = calibrated.analyses
    for table in calibration_tables(calibrated.bundle, analyses) if calibrated.replaced else analysis_tables(analyses):
        show(table, False)
