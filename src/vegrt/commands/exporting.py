"""vegrt export and calibrate: a checkpoint becomes models and engines, and int8 is calibrated anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.audits import AuditOption, by_audit
from vegrt.commands.options.calibration import (
    FloatLayersOption,
    FloatType,
    MaxDropOption,
    MaxFlipsOption,
    PercentileOption,
    PhotosOption,
    RestOption,
    settings_of,
)
from vegrt.commands.options.engine import (
    BatchOption,
    Bf16Option,
    BuilderLevelOption,
    Fp32EngineOption,
    HardwareCompatibleOption,
    MinInt8Option,
    OpsetOption,
    VersionCompatibleOption,
    WorkspaceOption,
)
from vegrt.commands.options.recorded import recorded
from vegrt.commands.options.shared import BundleArgument, DataOption, JsonOption, OverwriteModelsOption, show

EngineOption = Annotated[
    bool | None,
    typer.Option("--engine/--no-engine", help="TensorRT engines too, or an error; default: where they can be built."),
]


def export(
    ctx: typer.Context,
    bundle: BundleArgument,
    data: DataOption,
    engine: EngineOption = None,
    audit: AuditOption = None,
    photos: PhotosOption = 512,
    percentile: PercentileOption = 99.99,
    max_drop: MaxDropOption = None,
    max_flips: MaxFlipsOption = None,
    float_layers: FloatLayersOption = None,
    rest: RestOption = FloatType.fp16,
    opset: OpsetOption = 20,
    bf16: Bf16Option = False,
    fp32_engine: Fp32EngineOption = False,
    batch: BatchOption = "1,8,32",
    workspace: WorkspaceOption = 1024,
    builder_level: BuilderLevelOption = None,
    version_compatible: VersionCompatibleOption = False,
    hardware_compatible: HardwareCompatibleOption = False,
    min_int8: MinInt8Option = None,
    from_onnx: Annotated[
        Path | None, typer.Option(help="Make BUNDLE of this ONNX classifier; needs --classes and --contract.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="Its class names, one a line, in the order of its scores.")
    ] = None,
    contract: Annotated[Path | None, typer.Option(help="TOML with size, resize, mean and std of its input.")] = None,
    overwrite: OverwriteModelsOption = False,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained", help="Let evaluate judge by a network no better than chance, such as random weights."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the ONNX variants and engines.

    fp32, fp16, int8 (TensorRT's rules) and int8-cpu, calibrated on DATA/validation; each checked against its reference.
    With an audit, validation photos that nearly are test photos do not calibrate.
    Over an exported bundle: needs --overwrite where evaluations, benchmarks, engines or a search for float layers become void.
    """
    given = [option for option in (from_onnx, classes, contract) if option is not None]
    if len(given) not in (0, 3):
        raise typer.BadParameter("--from-onnx, --classes and --contract belong together")
    _require_packages()
    from contextlib import nullcontext

    from vegrt.bundle.change import exclusive
    from vegrt.bundle.overwriting import check_nothing_void
    from vegrt.export.engines.build import BuildOptions, Profile
    from vegrt.export.engines.options import Options
    from vegrt.export.imported.source import importing
    from vegrt.export.onnx.model import check_opset
    from vegrt.export.stage import ExportJob, describe_export, export_lines
    from vegrt.export.stage import export as run_export

    check_opset(opset)
    build = BuildOptions(workspace, builder_level, version_compatible, hardware_compatible)
    options = Options(opset, bf16, fp32_engine, Profile.parse(batch), build, min_int8)
    settings = settings_of(photos, percentile, max_drop, max_flips, float_layers, rest)
    with importing(bundle, *given) if given else nullcontext(), exclusive(bundle):
        check_nothing_void(bundle, "its models", overwrite=overwrite)
        near_test = _near_test(bundle, data, audit)
        result = run_export(bundle, data, ExportJob(engine, near_test, options, settings, untrained, recorded(ctx)))
    show(describe_export(result), as_json) if as_json else typer.echo("\n".join(export_lines(result)))


def calibrate(
    ctx: typer.Context,
    bundle: BundleArgument,
    data: DataOption,
    engine: EngineOption = None,
    audit: AuditOption = None,
    photos: PhotosOption = 512,
    percentile: PercentileOption = 99.99,
    max_drop: MaxDropOption = None,
    max_flips: MaxFlipsOption = None,
    float_layers: FloatLayersOption = None,
    rest: RestOption = FloatType.fp16,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Measure what each layer alone costs: results/sensitivity.json.")
    ] = False,
    curve: Annotated[
        bool, typer.Option("--curve", help="Measure how many photos are enough, 32, 64 ... all: results/curve.json.")
    ] = False,
    overwrite: OverwriteModelsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Calibrate an exported bundle anew, or analyse its calibration.

    Replaces int8 and int8-cpu, their calibration and their engines; needs --overwrite where evaluations, benchmarks, engines
    or a search for float layers become void by it. A calibration with the same key is not repeated.
    --sensitivity and --curve are analyses: they write results and change no model, unless one of --max-drop, --max-flips,
    --float-layers, --rest and --engine asks for a new calibration too.
    """
    _require_packages()
    from vegrt.bundle.change import exclusive
    from vegrt.bundle.overwriting import check_nothing_void
    from vegrt.export.evidence import analyse, calibration_tables, extra_tables, measure_extras
    from vegrt.export.stage import ExportJob, recalibrate

    settings = settings_of(photos, percentile, max_drop, max_flips, float_layers, rest)
    job = ExportJob(engine, _near_test(bundle, data, audit), settings=settings, command=recorded(ctx))
    only_analyses = (sensitivity or curve) and not _asks_to_replace(ctx)
    if only_analyses:
        result, extras = analyse(bundle, data, job, sensitivity=sensitivity, curve=curve)
    else:
        with exclusive(bundle):
            check_nothing_void(bundle, "int8 and int8-cpu", overwrite=overwrite)
            result = recalibrate(bundle, data, job)
            extras = measure_extras(result, data, job, sensitivity=sensitivity, curve=curve)
    if as_json:
        show({"bundle": str(bundle), "calibration": result.manifest.calibration} | extras, True)
        return
    for table in extra_tables(extras) if only_analyses else calibration_tables(result, extras):
        show(table, False)


def _asks_to_replace(ctx: typer.Context) -> bool:
    """Return whether a flag was given that makes no sense without a new calibration."""
    given = any(ctx.params[name] is not None for name in ("max_drop", "max_flips", "float_layers"))
    rest = ctx.get_parameter_source("rest")
    return given or bool(ctx.params["engine"]) or (rest is not None and rest.name == "COMMANDLINE")


def _require_packages() -> None:
    from vegrt.errors import require

    for module in ("torchvision", "onnx", "onnx_ir", "onnxscript", "onnxruntime"):
        require(module, "export")


def _near_test(bundle: Path, data: Path, audit: Path | None) -> set[str]:
    from vegrt.bundle.bundle import open_bundle
    from vegrt.train.data.audit_file import near_test_photos

    names = open_bundle(bundle, verify=False).manifest.classes
    return by_audit(audit, bundle, data, lambda path: near_test_photos(path, data, names)) or set()
