"""vegrt evaluate, robustness and verify: measure and check an exported bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegrt.api.evaluation import evaluate as run_evaluation
from vegrt.api.evaluation import robustness as run_robustness
from vegrt.commands.options.derived import options_of
from vegrt.commands.options.gate import Inconclusive, InconclusiveOption, counted, exit_code
from vegrt.commands.options.shared import BundleArgument, JsonOption, PublicKeyOption, show, warn_renamed
from vegrt.errors import VegrtError

if TYPE_CHECKING:
    from vegrt.results.evaluation import Evaluation

JunitOption = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Also write JUnit XML for a CI server: one test case per candidate."),
]
GithubSummaryOption = Annotated[
    bool,
    typer.Option(
        "--github-summary", help="Also append the verdict and the table to the summary of a GitHub Actions step."
    ),
]


@options_of(run_evaluation)
def evaluate(
    *,
    inconclusive: InconclusiveOption = None,
    junit: JunitOption = None,
    github_summary: GithubSummaryOption = False,
    robustness_flag: Annotated[bool, typer.Option("--robustness", hidden=True)] = False,
    robustness_images: Annotated[int, typer.Option(min=1, hidden=True)] = 300,
    as_json: JsonOption = False,
    **options: Any,
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
        shared = {name: options[name] for name in ("bundle", "data", "split", "runtime", "name", "overwrite")}
        robustness(**shared, images=robustness_images, as_json=as_json)
        return
    if github_summary:
        from vegrt.report.ci.github import summary_file

        summary_file()  # fails before the evaluation, not after it
    evaluation = run_evaluation(**options)
    _write_for_ci(evaluation, junit, inconclusive, github_summary=github_summary)
    if as_json:
        show(evaluation.to_dict(), True)
    else:
        from vegrt.evaluate.tables import evaluation_table
        from vegrt.evaluate.trust.tables import trust_figures_table

        show(evaluation_table(evaluation), False)
        if any(row.trust for row in evaluation.candidates):
            show(trust_figures_table(evaluation), False)
    from vegrt.results.verdict import worst_verdict

    raise typer.Exit(exit_code(worst_verdict(row.gate.verdict for row in evaluation.candidates), inconclusive))


def _write_for_ci(
    evaluation: Evaluation, junit: Path | None, inconclusive: Inconclusive | None, *, github_summary: bool
) -> None:
    if junit is not None:
        from vegrt.report.ci.junit import write_junit

        write_junit(evaluation, junit, inconclusive=counted(inconclusive))
    if github_summary:
        from vegrt.report.ci.github import append_summary, summary_file

        append_summary(evaluation, summary_file())


@options_of(run_robustness)
def robustness(*, as_json: JsonOption = False, **options: Any) -> None:
    """Measure int8 against fp32 on corrupted photos.

    Applies JPEG compression, blur, noise, brightness and rotation at five levels each. Gives no verdict: the exit code is 0.
    """
    result = run_robustness(**options)
    if as_json:
        show(result.to_dict(), True)
        return
    from vegrt.evaluate.tables import robustness_table

    show(robustness_table(result), False)


def verify(
    bundle: BundleArgument,
    public_key: PublicKeyOption = None,
    model_signing_key: Annotated[
        Path | None,
        typer.Option(
            help="Require a signature by OpenSSF model signing over all files, by this public key (PEM file)."
        ),
    ] = None,
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

    checks = run_checks(open_signed(bundle, public_key, verify=False), model_signing_key)
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
