"""vegrt.evaluate and vegrt.robustness: what the exported models answer, against fp32 on the same photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegrt.api.call import api_function, this_call
from vegrt.commands.options.audits import AuditPath, by_audit
from vegrt.commands.options.gate import MarginOption, parse_margin
from vegrt.commands.options.shared import (
    BundlePath,
    DataPath,
    MeasuredDeviceOption,
    ProviderOption,
    RuntimeOption,
    VariantsOption,
    runtime_name,
)

if TYPE_CHECKING:
    from vegrt.bundle.bundle import Bundle
    from vegrt.dataset.photos import Split
    from vegrt.results.analysis import Robustness
    from vegrt.results.evaluation import Evaluation

SplitOption = Annotated[str, typer.Option("--split", help="train, validation or test.")]
OverwriteResultOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace a result of this name even if it is of other photos.")
]
TorchOption = Annotated[
    bool,
    typer.Option("--torch/--no-torch", help="Compare fp32.onnx with the checkpoint too, if PyTorch is installed."),
]
AnswersPaths = Annotated[
    Sequence[str | Path] | None,
    typer.Option(
        "--answers", help="File with answers of another device: CSV, JSON Lines, Parquet or .npz. Repeatable."
    ),
]
DeviceNameOption = Annotated[
    Sequence[str] | None,
    typer.Option(
        "--device-name", help="Name of the device of an --answers file, in the same order; else the file's name."
    ),
]
ForeignPath = Annotated[
    str | Path | None,
    typer.Option(
        "--foreign", metavar="DIR", help="Folder with photos of no class: measure how many vegrt trust accepts."
    ),
]
ShiftedPath = Annotated[
    str | Path | None,
    typer.Option(
        "--shifted",
        metavar="DIR",
        help="Folder with class folders of photos from elsewhere: measure accuracy and what vegrt trust accepts.",
    ),
]
EvaluationNameOption = Annotated[
    str | None,
    typer.Option(
        "--name", help="Name of photos that are not the bundle's own; the result is results/evaluate-NAME.json."
    ),
]
RobustnessNameOption = Annotated[
    str | None,
    typer.Option(
        "--name", help="Name of photos that are not the bundle's own; the result is results/robustness-NAME.json."
    ),
]
ImagesOption = Annotated[
    int, typer.Option("--images", min=1, help="Largest number of photos to corrupt; the same number of each class.")
]


@api_function
def evaluate(
    bundle: BundlePath,
    data: DataPath,
    *,
    split: SplitOption = "test",
    margin: MarginOption = 0.5,
    variant: VariantsOption = None,
    runtime: RuntimeOption = None,
    provider: ProviderOption = None,
    device: MeasuredDeviceOption = None,
    answers: AnswersPaths = None,
    device_name: DeviceNameOption = None,
    audit: AuditPath = None,
    foreign: ForeignPath = None,
    shifted: ShiftedPath = None,
    torch: TorchOption = True,
    name: EvaluationNameOption = None,
    overwrite: OverwriteResultOption = False,
    progress: bool | None = None,
) -> Evaluation:
    """Measure every candidate that infer could choose here against fp32 on the same photos, and judge it.

    Proportions are 0 to 1, with 95 % intervals; `margin_points` is in percentage points. The gate uses Tango's interval of the
    paired difference (docs/guide/statistics.md). The result is also written to results/ in the bundle.
    Raises DataError for photos that cannot be used, BundleError for a bundle without models, VegrtError when nothing runs here
    and for other photos than the bundle's own without `name`.
    """
    margin_points = parse_margin(margin)  # a wrong margin fails before files are read
    from vegrt.bundle.bundle import open_bundle
    from vegrt.dataset.photos import find_split, read_split
    from vegrt.evaluate.device.answers import read_devices
    from vegrt.evaluate.evaluate import candidates_to_evaluate
    from vegrt.evaluate.evaluate import evaluate as run_evaluation
    from vegrt.evaluate.photo_sets import find_set_name
    from vegrt.evaluate.selection import Selection, answers_suffix
    from vegrt.evaluate.trust.assess import OtherPhotos, assess_trust, plan_trust, with_trust
    from vegrt.results.common import Command
    from vegrt.results.evaluation import Evaluation
    from vegrt.results.files import read_result, save_result
    from vegrt.results.predictions import check_predictions_storable

    opened, data, files = open_bundle(Path(bundle)), Path(data), [Path(file) for file in answers or ()]
    selection = Selection(runtime_name(runtime, provider), device, tuple(variant or ()))
    photos, partial = read_split(data, find_split(split), opened.manifest.classes), selection.suffix
    chosen = candidates_to_evaluate(opened, selection, torch=torch)
    if files and selection.is_all:
        chosen = chosen[:1]
    devices = read_devices(files, device_name or (), opened, photos, [str(candidate) for candidate in chosen])
    if devices:
        partial = answers_suffix(selection, [device.name for device in devices])
    set_name = find_set_name(opened, photos, "evaluate", name=name, partial=partial, overwrite=overwrite)
    plan = plan_trust(opened, photos, chosen, OtherPhotos(_path(foreign), _path(shifted)))
    leaked = _leaked(audit, data, photos, opened)
    check_predictions_storable(len(photos))
    evaluation = run_evaluation(
        opened,
        photos,
        chosen,
        margin=None if margin_points == "auto" else margin_points,
        devices=devices,
        leaked=leaked,
        table=opened.path / "results" / f"predictions-{set_name}{partial}.parquet",
        gpu_required=not selection.is_all,
    )
    evaluation = with_trust(evaluation, assess_trust(plan, [row.key for row in evaluation.candidates]))
    evaluation = replace(evaluation, name=set_name, command=Command(**this_call()))
    return read_result(save_result(opened, f"evaluate-{set_name}{partial}", evaluation), Evaluation)


@api_function
def robustness(
    bundle: BundlePath,
    data: DataPath,
    *,
    split: SplitOption = "test",
    runtime: RuntimeOption = None,
    images: ImagesOption = 300,
    name: RobustnessNameOption = None,
    overwrite: OverwriteResultOption = False,
    progress: bool | None = None,
) -> Robustness:
    """Measure int8 against fp32 on corrupted photos: JPEG compression, blur, noise, brightness and rotation at five levels each.

    Proportions are 0 to 1, with 95 % intervals. The result is also written to results/ in the bundle.
    Raises DataError for photos that cannot be used, BundleError for a bundle without models, VegrtError when nothing runs here
    and for other photos than the bundle's own without `name`.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.dataset.photos import find_split, read_split
    from vegrt.evaluate.photo_sets import find_set_name
    from vegrt.evaluate.robustness import robustness_candidates, run_robustness
    from vegrt.evaluate.selection import Selection
    from vegrt.infer.runtimes.candidates import candidates
    from vegrt.results.common import Command
    from vegrt.results.files import save_result

    opened = open_bundle(Path(bundle))
    photos, partial = read_split(Path(data), find_split(split), opened.manifest.classes), Selection(runtime).suffix
    set_name = find_set_name(opened, photos, "robustness", name=name, partial=partial, overwrite=overwrite)
    chosen = robustness_candidates(candidates(opened, runtime, "cpu"), opened)
    result = run_robustness(opened, photos, chosen, images=images)
    result = replace(result, name=set_name, command=Command(**this_call()))
    save_result(opened, f"robustness-{set_name}{partial}", result)
    return result


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


def _leaked(audit: str | Path | None, data: Path, photos: Split, bundle: Bundle) -> set[str] | None:
    """Return the leaked photos from the named audit, or from one found for these photos; None without an audit."""
    from vegrt.train.data.audit_file import leaked_test_photos

    splits = bundle.manifest.data
    trained_on: dict[str, str] = {
        name: splits[name]["fingerprint"] for name in ("train", "validation") if name in splits
    }
    if audit is None and photos.name != "test":
        return None
    return by_audit(audit, bundle.path, data, lambda path: leaked_test_photos(path, photos, trained_on))
