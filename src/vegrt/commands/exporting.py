"""vegrt export and calibrate: write models and engines from a checkpoint, and calibrate int8 again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.audits import AuditOption, by_audit
from vegrt.commands.options.calibration import (
    Attention,
    AttentionOption,
    FloatLayersOption,
    FloatType,
    FloatTypeOption,
    MaxDropOption,
    MaxFlipsOption,
    PercentileOption,
    PhotosOption,
    RacingOption,
    RestOption,
    renamed_rest,
    settings_of,
)
from vegrt.commands.options.engine import (
    BatchOption,
    Bf16Option,
    BuilderLevelOption,
    EngineOption,
    Fp32EngineOption,
    HardwareCompatibleOption,
    MinInt8Option,
    OpsetOption,
    PresetOption,
    Tf32Option,
    VersionCompatibleOption,
    WorkspaceOption,
    profile_of,
)
from vegrt.commands.options.recorded import recorded
from vegrt.commands.options.shared import BundleArgument, DataOption, JsonOption, OverwriteModelsOption, show
from vegrt.timing import StageTimer


def export(
    ctx: typer.Context,
    bundle: BundleArgument,
    data: DataOption,
    engine: EngineOption = None,
    audit: AuditOption = None,
    photos: PhotosOption = 512,
    percentile: PercentileOption = 99.99,
    racing: RacingOption = True,
    max_drop: MaxDropOption = None,
    max_flips: MaxFlipsOption = None,
    float_layers: FloatLayersOption = None,
    float_type: FloatTypeOption = FloatType.fp16,
    attention: AttentionOption = Attention.auto,
    rest: RestOption = None,
    opset: OpsetOption = 20,
    bf16: Bf16Option = False,
    fp32_engine: Fp32EngineOption = False,
    preset: PresetOption = None,
    batch: BatchOption = None,
    workspace: WorkspaceOption = 1024,
    builder_level: BuilderLevelOption = None,
    tf32: Tf32Option = False,
    version_compatible: VersionCompatibleOption = False,
    hardware_compatible: HardwareCompatibleOption = False,
    min_int8: MinInt8Option = None,
    from_onnx: Annotated[
        Path | None, typer.Option(help="Create BUNDLE from this ONNX classifier; needs --classes and --contract.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Its class names, in the order of its scores: one per line, `INDEX: name`, or JSON (see README)."
        ),
    ] = None,
    contract: Annotated[
        Path | None, typer.Option(help="TOML file with size, resize, mean and std of its input.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Name of its output with the class scores, if it has several outputs.")
    ] = None,
    quantized: Annotated[
        list[Path] | None,
        typer.Option(
            help="Quantized ONNX model of the same network, made by another tool, to be judged as int8-imported; repeatable."
        ),
    ] = None,
    overwrite: OverwriteModelsOption = False,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained",
            help="Accept a network no better than chance, such as random weights; evaluate then accepts it too.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the ONNX variants and engines.

    Writes fp32, fp16, int8 (TensorRT's rules) and int8-cpu, calibrated on DATA/validation; each is compared with its reference.
    With an audit, validation photos that are near duplicates of test photos are not used for calibration.
    An exported bundle needs --overwrite if this invalidates evaluations, benchmarks, engines or a search for float layers.
    """
    if len({from_onnx is None, classes is None, contract is None}) > 1:
        raise typer.BadParameter("--from-onnx, --classes and --contract belong together")
    if output is not None and from_onnx is None:
        raise typer.BadParameter("--output needs --from-onnx")
    timer = StageTimer()
    with timer.stage("packages"):
        _require_packages()
    from contextlib import nullcontext

    from vegrt.bundle.change import exclusive
    from vegrt.bundle.overwriting import check_nothing_invalidated
    from vegrt.export.engines.options import BuildOptions, ExportOptions
    from vegrt.export.imported.source import importing
    from vegrt.export.onnx.model import check_opset
    from vegrt.export.stage import ExportJob
    from vegrt.export.stage import export as run_export
    from vegrt.export.summary import describe_export, export_lines, seconds_table

    check_opset(opset)
    build = BuildOptions(workspace, builder_level, version_compatible, hardware_compatible, tf32)
    options = ExportOptions(opset, bf16, fp32_engine, profile_of(preset, batch), build, min_int8)
    float_type = renamed_rest(ctx, float_type, rest)
    settings = settings_of(photos, percentile, max_drop, max_flips, float_layers, float_type, racing, attention)
    imported = (
        importing(bundle, from_onnx, classes, contract, output or "") if from_onnx and classes and contract else None
    )
    with imported or nullcontext(), exclusive(bundle):
        check_nothing_invalidated(bundle, "its models", overwrite=overwrite)
        near_test = _near_test(bundle, data, audit)
        job = ExportJob(engine, near_test, options, settings, untrained, quantized or (), recorded(ctx))
        result = run_export(bundle, data, job, timer)
    if as_json:
        show(describe_export(result) | {"seconds": timer.figures()}, True)
        return
    typer.echo("\n".join(export_lines(result)))
    show(seconds_table(timer), False)


def calibrate(
    ctx: typer.Context,
    bundle: BundleArgument,
    data: DataOption,
    engine: EngineOption = None,
    audit: AuditOption = None,
    photos: PhotosOption = 512,
    percentile: PercentileOption = 99.99,
    racing: RacingOption = True,
    max_drop: MaxDropOption = None,
    max_flips: MaxFlipsOption = None,
    float_layers: FloatLayersOption = None,
    float_type: FloatTypeOption = FloatType.fp16,
    attention: AttentionOption = Attention.auto,
    rest: RestOption = None,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Measure the cost of each layer alone; writes results/sensitivity.json."),
    ] = False,
    curve: Annotated[
        bool,
        typer.Option("--curve", help="Score ranges from 32, 64, ... and all photos; writes results/curve.json."),
    ] = False,
    overwrite: OverwriteModelsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Calibrate an exported bundle again, or analyse its calibration.

    Replaces int8 and int8-cpu, their calibration and their engines; needs --overwrite if this invalidates evaluations,
    benchmarks, engines or a search for float layers. A calibration with the same key is not repeated.
    --sensitivity and --curve are analyses: they write results and change no model, unless one of --max-drop, --max-flips,
    --float-layers, --float-type, --attention and --engine also requests a new calibration.
    """
    _require_packages()
    from vegrt.bundle.bundle import open_bundle
    from vegrt.bundle.change import exclusive
    from vegrt.bundle.overwriting import check_nothing_invalidated
    from vegrt.calibration.analysis import analyse
    from vegrt.calibration.tables import analysis_tables, calibration_tables
    from vegrt.export.stage import ExportJob, load_photos, recalibrate

    float_type = renamed_rest(ctx, float_type, rest)
    settings = settings_of(photos, percentile, max_drop, max_flips, float_layers, float_type, racing, attention)
    job = ExportJob(engine, _near_test(bundle, data, audit), settings=settings, command=recorded(ctx))
    only_analyses = (sensitivity or curve) and not _replaces_models(ctx)
    with exclusive(bundle):
        if not only_analyses:
            check_nothing_invalidated(bundle, "int8 and int8-cpu", overwrite=overwrite)
        result = open_bundle(bundle)
        decoded = load_photos(result, data, job)
        if not only_analyses:
            result = recalibrate(bundle, decoded, job)
        analyses = analyse(result, decoded, settings, sensitivity=sensitivity, curve=curve)
    if as_json:
        show({"bundle": str(bundle), "calibration": result.manifest.calibration} | analyses.to_dict(), True)
        return
    for table in analysis_tables(analyses) if only_analyses else calibration_tables(result, analyses):
        show(table, False)


def _replaces_models(ctx: typer.Context) -> bool:
    """Return whether an option was given that only has an effect on a new calibration."""
    sets_floats = any(ctx.params[name] is not None for name in ("max_drop", "max_flips", "float_layers"))
    sources = [ctx.get_parameter_source(name) for name in ("float_type", "attention", "rest")]
    return (
        sets_floats or bool(ctx.params["engine"]) or any(source and source.name == "COMMANDLINE" for source in sources)
    )


def _require_packages() -> None:
    from vegrt.errors import require

    for module in ("torchvision", "onnx", "onnx_ir", "onnxscript", "onnxruntime"):
        require(module, "export")


def _near_test(bundle: Path, data: Path, audit: Path | None) -> set[str]:
    from vegrt.bundle.bundle import open_bundle
    from vegrt.train.data.audit_file import near_test_photos

    names = open_bundle(bundle, verify=False).manifest.classes
    return by_audit(audit, bundle, data, lambda path: near_test_photos(path, data, names)) or set()
