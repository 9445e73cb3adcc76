"""vegrt.export and vegrt.calibrate: models and engines from a checkpoint, and a new calibration of int8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegrt.api.call import api_function, this_call
from vegrt.commands.options.audits import AuditPath, by_audit
from vegrt.commands.options.calibration import (
    AttentionOption,
    FloatLayersOption,
    FloatTypeOption,
    MaxDropOption,
    MaxFlipsOption,
    PercentileOption,
    PhotosOption,
    RacingOption,
    RequestedAttentionOption,
    RequestedFloatTypeOption,
    settings_of,
)
from vegrt.commands.options.engine import (
    BatchOption,
    Bf16Option,
    BuilderLevelOption,
    EngineOption,
    Fp16Option,
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
from vegrt.commands.options.shared import BundlePath, DataPath, OverwriteModelsOption
from vegrt.errors import ArgumentError
from vegrt.timing import StageTimer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from vegrt.api.outcomes import Calibrated, Exported

FromOnnxPath = Annotated[
    str | Path | None,
    typer.Option("--from-onnx", help="Create BUNDLE from this ONNX classifier; needs --classes and --contract."),
]
ClassesPath = Annotated[
    str | Path | None,
    typer.Option(
        "--classes",
        help="Its class names in the order of its scores: one a line, `INDEX: name`, or JSON (docs/guide/your-own-model.md).",
    ),
]
ContractPath = Annotated[
    str | Path | None,
    typer.Option("--contract", help="TOML file with size, resize, mean and std of its input."),
]
OutputOption = Annotated[
    str | None,
    typer.Option("--output", help="Name of its output with the class scores, if it has several outputs."),
]
QuantizedPaths = Annotated[
    Sequence[str | Path] | None,
    typer.Option(
        "--quantized",
        help="Quantized ONNX model of the same network, made by another tool, to be judged as int8-imported; repeatable.",
    ),
]
UntrainedOption = Annotated[
    bool,
    typer.Option(
        "--untrained",
        help="Accept a network no better than chance, such as random weights; evaluate then accepts it too.",
    ),
]
SensitivityOption = Annotated[
    bool,
    typer.Option("--sensitivity", help="Measure the cost of each layer alone; writes results/sensitivity.json."),
]
CurveOption = Annotated[
    bool,
    typer.Option("--curve", help="Score ranges from 32, 64, ... and all photos; writes results/curve.json."),
]
# With one of these, an analysis is not all that was requested.
_REPLACING = ("--max-drop", "--max-flips", "--float-layers", "--float-type", "--attention", "--engine")


@api_function
def export(
    bundle: BundlePath,
    data: DataPath,
    *,
    engine: EngineOption = None,
    audit: AuditPath = None,
    photos: PhotosOption = 512,
    percentile: PercentileOption = 99.99,
    racing: RacingOption = True,
    max_drop: MaxDropOption = None,
    max_flips: MaxFlipsOption = None,
    float_layers: FloatLayersOption = None,
    float_type: FloatTypeOption = "fp16",
    attention: AttentionOption = "auto",
    opset: OpsetOption = 20,
    fp16: Fp16Option = True,
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
    from_onnx: FromOnnxPath = None,
    classes: ClassesPath = None,
    contract: ContractPath = None,
    output: OutputOption = None,
    quantized: QuantizedPaths = None,
    overwrite: OverwriteModelsOption = False,
    untrained: UntrainedOption = False,
    progress: bool | None = None,
) -> Exported:
    """Write the ONNX variants and engines of a bundle, calibrated on DATA/validation, each compared with its reference.

    The models take `images`, uint8 (N, H, W, 3) RGB pixels as the contract prepares them, and give `logits`, float32 (N, K).
    Raises VegrtError if this would invalidate evaluations, benchmarks, engines or a search for float layers without `overwrite`,
    ModelError for a model that differs from its reference, EngineError for an engine that was requested and cannot be built,
    MissingExtraError without the `export` extra. The bundle is then unchanged.
    """
    _check_import(from_onnx, classes, contract, output)
    timer = StageTimer()
    with timer.stage("packages"):
        _require_packages()
    from vegrt.api.outcomes import Exported
    from vegrt.bundle.change import exclusive
    from vegrt.bundle.overwriting import check_nothing_invalidated
    from vegrt.export.engines.options import BuildOptions, ExportOptions
    from vegrt.export.onnx.model import check_opset
    from vegrt.export.stage import ExportJob
    from vegrt.export.stage import export as run_export

    path, photos_root = Path(bundle), Path(data)
    check_opset(opset)
    build = BuildOptions(workspace, builder_level, version_compatible, hardware_compatible, tf32)
    options = ExportOptions(opset, bf16, fp32_engine, profile_of(preset, batch), build, min_int8, fp16)
    settings = settings_of(photos, percentile, max_drop, max_flips, float_layers, float_type, racing, attention)
    foreign = [Path(file) for file in quantized or ()]
    with _imported(path, from_onnx, classes, contract, output), exclusive(path):
        check_nothing_invalidated(path, "its models", overwrite=overwrite)
        near_test = _near_test(path, photos_root, audit)
        job = ExportJob(engine, near_test, options, settings, untrained, foreign, this_call())
        result = run_export(path, photos_root, job, timer)
    return Exported(result, timer.figures())


@api_function
def calibrate(
    bundle: BundlePath,
    data: DataPath,
    *,
    engine: EngineOption = None,
    audit: AuditPath = None,
    photos: PhotosOption = 512,
    percentile: PercentileOption = 99.99,
    racing: RacingOption = True,
    max_drop: MaxDropOption = None,
    max_flips: MaxFlipsOption = None,
    float_layers: FloatLayersOption = None,
    float_type: RequestedFloatTypeOption = None,
    attention: RequestedAttentionOption = None,
    sensitivity: SensitivityOption = False,
    curve: CurveOption = False,
    overwrite: OverwriteModelsOption = False,
    progress: bool | None = None,
) -> Calibrated:
    """Calibrate int8 and int8-cpu of an exported bundle again, or analyse their calibration.

    With `sensitivity` or `curve` alone, no model changes: only results are written.
    Raises VegrtError if this would invalidate evaluations, benchmarks, engines or a search for float layers without `overwrite`,
    BundleError for a bundle without fp32.onnx, MissingExtraError without the `export` extra. The bundle is then unchanged.
    """
    _require_packages()
    from vegrt.api.outcomes import Calibrated
    from vegrt.bundle.bundle import open_bundle
    from vegrt.bundle.change import exclusive
    from vegrt.bundle.overwriting import check_nothing_invalidated
    from vegrt.calibration.analysis import analyse
    from vegrt.export.stage import ExportJob, load_photos, recalibrate

    path, call = Path(bundle), this_call()
    types = float_type or "fp16", racing, attention or "auto"
    settings = settings_of(photos, percentile, max_drop, max_flips, float_layers, *types)
    job = ExportJob(engine, _near_test(path, Path(data), audit), settings=settings, command=call)
    replaces = not (sensitivity or curve) or any(flag in call["options"] for flag in _REPLACING)
    with exclusive(path):
        if replaces:
            check_nothing_invalidated(path, "int8 and int8-cpu", overwrite=overwrite)
        result = open_bundle(path)
        decoded = load_photos(result, Path(data), job)
        if replaces:
            result = recalibrate(path, decoded, job)
        analyses = analyse(result, decoded, settings, sensitivity=sensitivity, curve=curve)
    return Calibrated(result, analyses, replaces)


def _check_import(
    from_onnx: object | None, classes: object | None, contract: object | None, output: str | None
) -> None:
    if len({from_onnx is None, classes is None, contract is None}) > 1:
        raise ArgumentError("--from-onnx, --classes and --contract belong together; give all three or none")
    if output is not None and from_onnx is None:
        raise ArgumentError(f"--output {output}: names an output of an imported model; add --from-onnx")


def _imported(
    bundle: Path,
    from_onnx: str | Path | None,
    classes: str | Path | None,
    contract: str | Path | None,
    output: str | None,
) -> AbstractContextManager[object]:
    """Return a context in which the imported bundle exists; one without effect if there is nothing to import."""
    from contextlib import nullcontext

    from vegrt.export.imported.source import importing

    if from_onnx is None or classes is None or contract is None:
        return nullcontext()
    return importing(bundle, Path(from_onnx), Path(classes), Path(contract), output or "")


def _require_packages() -> None:
    from vegrt.errors import require

    for module in ("torchvision", "onnx", "onnx_ir", "onnxscript", "onnxruntime"):
        require(module, "export")


def _near_test(bundle: Path, data: Path, audit: str | Path | None) -> set[str]:
    from vegrt.bundle.bundle import open_bundle
    from vegrt.train.data.audit_file import near_test_photos

    names = open_bundle(bundle, verify=False).manifest.classes
    return by_audit(audit, bundle, data, lambda path: near_test_photos(path, data, names)) or set()
