"""vegrt evaluate and verify: is an exported bundle still right?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegrt.commands.audits import AuditOption, by_audit
from vegrt.commands.gating import InconclusiveOption, MarginOption, exit_code, margin_of
from vegrt.commands.options import BundleArgument, DataOption, JsonOption, RuntimeOption, show
from vegrt.commands.recorded import recorded
from vegrt.errors import VegrtError

if TYPE_CHECKING:
    from vegrt.bundle import Bundle
    from vegrt.dataset import Split


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
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy; the gate decides.

    Every variant and runtime that runs here, paired against fp32. Exit 0 PASS, 3 FAIL, 4 INCONCLUSIVE.
    With an audit, every figure a second time without the test photos that leaked from train or validation.
    With --robustness instead: JPEG, blur, noise, brightness and rotation at five levels each; it decides nothing, exit 0.
    """
    margin_of(margin)  # before anything is read
    from vegrt.bundle import open_bundle
    from vegrt.dataset import find_split, read_split
    from vegrt.infer.evaluate import candidates_to_evaluate, worst_verdict
    from vegrt.infer.evaluate import evaluate as run_evaluation
    from vegrt.infer.evaluation_tables import evaluation_table
    from vegrt.infer.results import save_result

    opened = open_bundle(bundle)
    photos = read_split(data, find_split(split), opened.manifest.classes)
    if robustness:
        _climb(opened, photos, runtime, robustness_images, as_json, recorded(ctx))
        return
    chosen, name = candidates_to_evaluate(opened, runtime, torch=torch), f"{photos.name}{_only(runtime)}"
    table, leaked = opened.path / "results" / f"predictions-{name}.parquet", _leaked(audit, photos, opened)
    body = run_evaluation(opened, photos, chosen, margin=margin_of(margin), leaked=leaked, table=table)
    path = save_result(opened, f"evaluate-{name}", body | {"command": recorded(ctx)})
    show(json.loads(path.read_text(encoding="utf-8")), True) if as_json else show(evaluation_table(body), False)
    raise typer.Exit(exit_code(worst_verdict(body), inconclusive))


def verify(
    bundle: BundleArgument,
    public_key: Annotated[Path | None, typer.Option(help="Require a signature by this ed25519 key (PEM).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check hashes and golden answers.

    Every file's SHA-256, the golden photos' pixels, and every model's answer to them on this machine; what cannot run here is
    "not run", with the reason. With a public key, first of all the signature of `vegrt bundle sign`. Exit 0: what was run
    is right, although some was not run; 1: a check failed, or no model at all was run.
    """
    from dataclasses import asdict

    from vegrt.bundle import open_bundle
    from vegrt.infer.verify import conclusion, cure_of, models_run
    from vegrt.infer.verify import verify as run_checks

    signed = []
    if public_key is not None:
        from vegrt.infer.verify import Check
        from vegrt.signature import check_signature

        signed = [Check("signature", "ok", f"of this manifest, by key {check_signature(bundle, public_key)}")]
    checks = signed + run_checks(open_bundle(bundle, verify=False))
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
    bundle: Bundle, photos: Split, runtime: str | None, images: int, as_json: bool, command: dict[str, Any]
) -> None:
    """Run the robustness ladder, keep its result in the bundle and show it."""
    from vegrt.infer.evaluation_tables import robustness_table
    from vegrt.infer.open import candidates
    from vegrt.infer.results import save_result
    from vegrt.infer.robustness import climb, ladder_candidates

    body = climb(bundle, photos, ladder_candidates(candidates(bundle, runtime), bundle), images=images)
    path = save_result(bundle, f"robustness-{photos.name}{_only(runtime)}", body | {"command": command})
    show(json.loads(path.read_text(encoding="utf-8")), True) if as_json else show(robustness_table(body), False)


def _leaked(audit: Path | None, photos: Split, bundle: Bundle) -> set[str] | None:
    """Return the leaked photos of an audit: the one that was asked for, or the one that lies here and is of these photos."""
    from vegrt.train.audit_file import load_audit

    data = bundle.manifest.data
    trained_on: dict[str, str] = {name: data[name]["fingerprint"] for name in ("train", "validation") if name in data}
    if audit is None and photos.name != "test":
        return None
    return by_audit(audit, lambda path: load_audit(path, photos, trained_on))


def _only(runtime: str | None) -> str:
    """Return the ending of a result's name that keeps a partial one from replacing the whole."""
    return f"-only-{runtime}" if runtime else ""
