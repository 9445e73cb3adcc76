"""vegrt evaluate and verify: is an exported bundle still right?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegrt.commands.options.audits import AuditOption, by_audit
from vegrt.commands.options.gate import InconclusiveOption, MarginOption, exit_code, margin_of
from vegrt.commands.options.recorded import recorded
from vegrt.commands.options.shared import BundleArgument, DataOption, JsonOption, PublicKeyOption, RuntimeOption, show
from vegrt.errors import VegrtError

if TYPE_CHECKING:
    from vegrt.bundle.bundle import Bundle
    from vegrt.dataset.photos import Split


def evaluate(
    ctx: typer.Context,
    bundle: BundleArgument,
    data: DataOption,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    margin: MarginOption = "0.5",
    inconclusive: InconclusiveOption = None,
    runtime: RuntimeOption = None,
    audit: AuditOption = None,
    torch: Annotated[bool, typer.Option(help="Judge fp32.onnx against the checkpoint too, if torch is here.")] = True,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Only int8 against fp32 on worsened photos.")
    ] = False,
    robustness_images: Annotated[int, typer.Option(min=1, help="How many photos are worsened, at most.")] = 300,
    name: Annotated[
        str | None, typer.Option(help="Of other photos than the bundle's own: results/evaluate-NAME.json.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a result that is of other photos than these.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy; the gate decides.

    Every variant and runtime that runs here, paired against fp32. Exit 0 PASS, 3 FAIL, 4 INCONCLUSIVE.
    What the bundle's own test split says steers infer and the report's verdict; other photos need a --name and stand beside it.
    With an audit, every figure a second time without the test photos that leaked from train or validation.
    With --robustness instead: JPEG, blur, noise, brightness and rotation at five levels each; it decides nothing, exit 0.
    """
    margin_of(margin)  # before anything is read
    from vegrt.bundle.bundle import open_bundle
    from vegrt.dataset.photos import find_split, read_split
    from vegrt.evaluate.evaluate import candidates_to_evaluate, worst_verdict
    from vegrt.evaluate.evaluate import evaluate as run_evaluation
    from vegrt.evaluate.photo_sets import find_name
    from vegrt.evaluate.tables import evaluation_table
    from vegrt.results.files import save_result

    opened = open_bundle(bundle)
    photos, only = read_split(data, find_split(split), opened.manifest.classes), _only(runtime)
    kind = "robustness" if robustness else "evaluate"
    called = find_name(opened, photos, kind, name=name, partial=only, overwrite=overwrite)
    if robustness:
        _climb(opened, photos, runtime, robustness_images, called, as_json, recorded(ctx))
        return
    chosen, leaked = candidates_to_evaluate(opened, runtime, torch=torch), _leaked(audit, data, photos, opened)
    table = opened.path / "results" / f"predictions-{called}{only}.parquet"
    body = run_evaluation(opened, photos, chosen, margin=margin_of(margin), leaked=leaked, table=table)
    path = save_result(opened, f"evaluate-{called}{only}", {"name": called} | body | {"command": recorded(ctx)})
    show(json.loads(path.read_text(encoding="utf-8")), True) if as_json else show(evaluation_table(body), False)
    raise typer.Exit(exit_code(worst_verdict(body), inconclusive))


def verify(
    bundle: BundleArgument,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check hashes and golden answers.

    Every file's SHA-256, the golden photos' pixels, and every model's answer to them on this machine; what cannot run here is
    "not run", with the reason. With a public key, first of all the signature of `vegrt bundle sign`, which covers the results
    too. Exit 0: what was run is right, although some was not run; 1: a check failed, or no model at all was run.
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
        raise VegrtError(
            f"{bundle}: none of {models} models was run here, so nothing is known of their answers; {cure}"
        )


def _climb(
    bundle: Bundle, photos: Split, runtime: str | None, images: int, name: str, as_json: bool, command: dict[str, Any]
) -> None:
    """Run the robustness ladder, keep its result in the bundle under the photos' name and show it."""
    from vegrt.evaluate.robustness import ladder_candidates, run_robustness
    from vegrt.evaluate.tables import robustness_table
    from vegrt.infer.runtimes.open import candidates
    from vegrt.results.files import save_result

    body = run_robustness(bundle, photos, ladder_candidates(candidates(bundle, runtime), bundle), images=images)
    path = save_result(bundle, f"robustness-{name}{_only(runtime)}", {"name": name} | body | {"command": command})
    show(json.loads(path.read_text(encoding="utf-8")), True) if as_json else show(robustness_table(body), False)


def _leaked(audit: Path | None, data: Path, photos: Split, bundle: Bundle) -> set[str] | None:
    """Return the leaked photos of an audit: the one that was asked for, or one that is of these photos."""
    from vegrt.train.data.audit_file import leaked_test_photos

    known = bundle.manifest.data
    trained_on: dict[str, str] = {name: known[name]["fingerprint"] for name in ("train", "validation") if name in known}
    if audit is None and photos.name != "test":
        return None
    return by_audit(audit, bundle.path, data, lambda path: leaked_test_photos(path, photos, trained_on))


def _only(runtime: str | None) -> str:
    """Return the ending of a result's name that keeps a partial one from replacing the whole."""
    from vegrt.evaluate.photo_sets import PARTIAL

    return f"{PARTIAL}{runtime}" if runtime else ""
