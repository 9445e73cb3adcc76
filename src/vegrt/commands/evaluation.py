"""vegrt evaluate, robustness and verify: measure and check an exported bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegrt.commands.options.audits import AuditOption, by_audit
from vegrt.commands.options.gate import InconclusiveOption, MarginOption, exit_code, parse_margin
from vegrt.commands.options.recorded import recorded
from vegrt.commands.options.shared import (
    BundleArgument,
    DataOption,
    JsonOption,
    MeasuredDeviceOption,
    PublicKeyOption,
    RuntimeOption,
    VariantsOption,
    show,
    warn_renamed,
)
from vegrt.errors import VegrtError

if TYPE_CHECKING:
    from vegrt.bundle.bundle import Bundle
    from vegrt.dataset.photos import Split

SplitOption = Annotated[str, typer.Option("--split", help="train, validation or test.")]
OverwriteResultOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace a result of this name even if it is of other photos.")
]
TorchOption = Annotated[bool, typer.Option(help="Compare fp32.onnx with the checkpoint too, if PyTorch is installed.")]
AnswersOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--answers", help="File with answers of another device: CSV, JSON Lines, Parquet or .npz. Repeatable."
    ),
]
DeviceNameOption = Annotated[
    list[str] | None,
    typer.Option(
        "--device-name", help="Name of the device of an --answers file, in the same order; else the file's name."
    ),
]
ForeignOption = Annotated[
    Path | None,
    typer.Option(
        "--foreign", metavar="DIR", help="Folder with photos of no class: measure how many vegrt trust accepts."
    ),
]
ShiftedOption = Annotated[
    Path | None,
    typer.Option(
        "--shifted",
        metavar="DIR",
        help="Folder with class folders of photos from elsewhere: measure accuracy and what vegrt trust accepts.",
    ),
]
EvaluationNameOption = Annotated[
    str | None,
    typer.Option(help="Name of photos that are not the bundle's own; the result is results/evaluate-NAME.json."),
]
RobustnessNameOption = Annotated[
    str | None,
    typer.Option(help="Name of photos that are not the bundle's own; the result is results/robustness-NAME.json."),
]
ImagesOption = Annotated[
    int, typer.Option(min=1, help="Largest number of photos to corrupt; the same number of each class.")
]


def evaluate(
    ctx: typer.Context,
    bundle: BundleArgument,
    data: DataOption,
    split: SplitOption = "test",
    margin: MarginOption = "0.5",
    inconclusive: InconclusiveOption = None,
    variant: VariantsOption = None,
    runtime: RuntimeOption = None,
    device: MeasuredDeviceOption = None,
    answers: AnswersOption = None,
    device_name: DeviceNameOption = None,
    audit: AuditOption = None,
    foreign: ForeignOption = None,
    shifted: ShiftedOption = None,
    torch: TorchOption = True,
    robustness_flag: Annotated[bool, typer.Option("--robustness", hidden=True)] = False,
    robustness_images: Annotated[int, typer.Option(min=1, hidden=True)] = 300,
    name: EvaluationNameOption = None,
    overwrite: OverwriteResultOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy and give the gate's verdict.

    Compares every variant, runtime and device that infer could choose here with fp32 on the same photos. Exit 0 PASS, 3 FAIL, 4
    INCONCLUSIVE. With --variant, --runtime or --device, only some of them; the result is added to that of the others.
    The result on the bundle's own test split decides what infer runs and what the report concludes; a result on other photos
    needs a --name and decides nothing. With an audit, every figure is also given without the test photos that leaked from train
    or validation.
    If the bundle has what vegrt trust learned, that is judged too: its sets, its thresholds, and how it treats other photos.
    With --answers, judges what another device answered: it is compared with fp32, which alone runs here unless candidates are
    named. docs/answers.md has the format.
    """
    if robustness_flag:
        warn_renamed("vegrt evaluate --robustness", "vegrt robustness")
        robustness(ctx, bundle, data, split, runtime, robustness_images, name, overwrite, as_json)
        return
    margin_points = parse_margin(margin)  # a wrong margin fails before files are read
    from vegrt.bundle.bundle import open_bundle
    from vegrt.dataset.photos import find_split, read_split
    from vegrt.evaluate.device.answers import read_devices
    from vegrt.evaluate.evaluate import candidates_to_evaluate
    from vegrt.evaluate.evaluate import evaluate as run_evaluation
    from vegrt.evaluate.photo_sets import find_set_name
    from vegrt.evaluate.selection import Selection, answers_suffix
    from vegrt.evaluate.tables import evaluation_table
    from vegrt.evaluate.trust.assess import OtherPhotos, assess_trust, plan_trust, with_trust
    from vegrt.evaluate.trust.tables import trust_figures_table
    from vegrt.results.common import Command
    from vegrt.results.files import save_result
    from vegrt.results.predictions import check_predictions_storable
    from vegrt.results.verdict import worst_verdict
    from vegrt.schema import read_json

    opened = open_bundle(bundle)
    selection = Selection(runtime, device.value if device else None, tuple(variant or ()))
    photos, partial = read_split(data, find_split(split), opened.manifest.classes), selection.suffix
    chosen = candidates_to_evaluate(opened, selection, torch=torch)
    if answers and selection.is_all:
        chosen = chosen[:1]
    devices = read_devices(answers or (), device_name or (), opened, photos, [str(candidate) for candidate in chosen])
    if devices:
        partial = answers_suffix(selection, [device.name for device in devices])
    set_name = find_set_name(opened, photos, "evaluate", name=name, partial=partial, overwrite=overwrite)
    plan = plan_trust(opened, photos, chosen, OtherPhotos(foreign, shifted))
    leaked = _leaked(audit, data, photos, opened)
    check_predictions_storable(len(photos))
    table = opened.path / "results" / f"predictions-{set_name}{partial}.parquet"
    evaluation = run_evaluation(
        opened,
        photos,
        chosen,
        margin=margin_points,
        devices=devices,
        leaked=leaked,
        table=table,
        gpu_required=not selection.is_all,
    )
    evaluation = with_trust(evaluation, assess_trust(plan, [row.key for row in evaluation.candidates]))
    evaluation = replace(evaluation, name=set_name, command=Command(**recorded(ctx)))
    stored = save_result(opened, f"evaluate-{set_name}{partial}", evaluation)
    show(read_json(stored) if as_json else evaluation_table(evaluation), as_json)
    if not as_json and any(row.trust for row in evaluation.candidates):
        show(trust_figures_table(evaluation), False)
    raise typer.Exit(exit_code(worst_verdict(row.gate.verdict for row in evaluation.candidates), inconclusive))


def robustness(
    ctx: typer.Context,
    bundle: BundleArgument,
    data: DataOption,
    split: SplitOption = "test",
    runtime: RuntimeOption = None,
    images: ImagesOption = 300,
    name: RobustnessNameOption = None,
    overwrite: OverwriteResultOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure int8 against fp32 on corrupted photos.

    Applies JPEG compression, blur, noise, brightness and rotation at five levels each. Gives no verdict: the exit code is 0.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.dataset.photos import find_split, read_split
    from vegrt.evaluate.photo_sets import find_set_name
    from vegrt.evaluate.robustness import robustness_candidates, run_robustness
    from vegrt.evaluate.selection import Selection
    from vegrt.evaluate.tables import robustness_table
    from vegrt.infer.runtimes.candidates import candidates
    from vegrt.results.common import Command
    from vegrt.results.convert import to_dict
    from vegrt.results.files import save_result

    opened = open_bundle(bundle)
    photos, partial = read_split(data, find_split(split), opened.manifest.classes), Selection(runtime).suffix
    set_name = find_set_name(opened, photos, "robustness", name=name, partial=partial, overwrite=overwrite)
    chosen = robustness_candidates(candidates(opened, runtime, "cpu"), opened)
    result = run_robustness(opened, photos, chosen, images=images)
    result = replace(result, name=set_name, command=Command(**recorded(ctx)))
    save_result(opened, f"robustness-{set_name}{partial}", result)
    show(to_dict(result) if as_json else robustness_table(result), as_json)


def verify(
    bundle: BundleArgument,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check hashes and golden answers.

    Checks every file's SHA-256, the golden photos' pixels, and every model's answers to them on this machine. A model that cannot
    run here is reported as "not run", with the reason. With a public key, checks the signature of `vegrt bundle sign` first,
    which covers the results too. Exit 0: all checks that were run passed; 1: a check failed, or no model was run.
    """
    from dataclasses import asdict

    from vegrt.bundle.signature import open_signed
    from vegrt.evaluate.verify import conclusion, cure_of, models_run
    from vegrt.evaluate.verify import verify as run_checks

    checks = run_checks(open_signed(bundle, public_key, verify=False))
    status, (ran, models) = conclusion(checks), models_run(checks)
    if as_json:
        counts = {"models_run": ran, "models": models}
        show({"bundle": str(bundle), "status": status} | counts | {"checks": [asdict(check) for check in checks]}, True)
    else:
        typer.echo("\n".join([*map(str, checks), f"{ran} of {models} models were run here"]))
    if failed := [check.subject for check in checks if check.status == "FAIL"]:
        raise VegrtError(
            f"{bundle}: {len(failed)} of {len(checks)} checks failed ({', '.join(failed)}); export it again"
        )
    if status == "not run":
        cure = cure_of(checks) or "run it on another machine"
        raise VegrtError(f"{bundle}: none of {models} models was run here, so their answers were not checked; {cure}")


def _leaked(audit: Path | None, data: Path, photos: Split, bundle: Bundle) -> set[str] | None:
    """Return the leaked photos from the named audit, or from one found for these photos; None without an audit."""
    from vegrt.train.data.audit_file import leaked_test_photos

    splits = bundle.manifest.data
    trained_on: dict[str, str] = {
        name: splits[name]["fingerprint"] for name in ("train", "validation") if name in splits
    }
    if audit is None and photos.name != "test":
        return None
    return by_audit(audit, bundle.path, data, lambda path: leaked_test_photos(path, photos, trained_on))
