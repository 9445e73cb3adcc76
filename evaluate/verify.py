"""Verification of a bundle on this machine: file hashes, the models' metadata, the golden photos' pixels, and the logits of every
model for these photos. Models that cannot run here are listed with the cause and the cure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.signature import changed_results, open_again
from vegrt.errors import BundleError, EngineError, MissingExtraError, ModelError, VegrtError
from vegrt.evaluate.coverage import not_run, runnable_artifacts
from vegrt.evaluate.diagnose import explain_difference, try_explain
from vegrt.evaluate.golden import GoldenPhotos, answer_golden, least_cosine, load_golden
from vegrt.evaluate.wording import not_run_cause, not_run_cure
from vegrt.infer.runtimes.candidates import Candidate, artifact_of, candidates
from vegrt.infer.runtimes.onnx_file import metadata_conflicts
from vegrt.infer.runtimes.open import open_candidate
from vegrt.results.bundle_results import ignored_sentences, read_results

Status = Literal["ok", "FAIL", "not run"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its result.

    artifact: path of the model, engine or checkpoint that was checked; empty for other checks. cure: how to make it run here.
    """

    subject: str
    status: Status
    detail: str
    artifact: str = ""
    cure: str = ""

    def __str__(self) -> str:
        """Return the check as one line: status, subject, detail, cure."""
        return f"{self.status:<7} {self.subject}: {self.detail}{f'; {self.cure}' if self.cure else ''}"


def verify(bundle: Bundle) -> list[Check]:
    """Return the checks of a bundle: files, classes and contract in the models' metadata, results, golden pixels and logits.

    Runs every model and engine, but not the checkpoint: `vegrt evaluate` does that. A failed check names its cause if known.
    Raises BundleError for a damaged file, before any model is run.
    """
    bundle = open_again(bundle)
    checks = signature_checks(bundle)
    checks += [Check("files", "ok", f"{len(bundle.manifest.artifacts)} artifacts have the SHA-256 of the manifest")]
    if bundle.has("model"):
        checks.append(_check_metadata(bundle))
    checks += _check_results(bundle)
    if not bundle.has("golden"):
        return checks + _without_golden(bundle)
    golden = load_golden(bundle)
    same, count = golden.same_pixels, len(golden.images)
    detail = f"{same} of {count} golden photos decode to the same pixels as where the bundle was made"
    checks.append(Check("golden pixels", "ok" if same == count else "FAIL", detail))
    runnable = candidates(bundle)
    checks += [_check_logits(bundle, candidate, golden) for candidate in runnable]
    return checks + [
        Check(missing.artifact, "not run", not_run_cause(missing), missing.artifact, not_run_cure(missing))
        for missing in not_run(bundle, runnable)
    ]


def _check_results(bundle: Bundle) -> list[Check]:
    """Return which results count for infer and the report: their candidates, and the files with rows that do not count."""
    results = read_results(bundle)
    ignored = [Check(file, "not run", text) for file, text in ignored_sentences(results.ignored).items()]
    evaluated = len(results.evaluation.evaluation.candidates) if results.evaluation else 0
    measured = sum(len(merged.bench.candidates) for merged in results.benches)
    if not evaluated and not measured:
        return ignored
    counts = f"{evaluated} candidates are evaluated on the test split, {measured} are measured"
    return [Check("candidates in results", "ok", counts), *ignored]


def conclusion(checks: Sequence[Check]) -> Status:
    """Return FAIL if a check failed, `not run` if no model passed, else ok."""
    if any(check.status == "FAIL" for check in checks):
        return "FAIL"
    return "ok" if any(check.artifact and check.status == "ok" for check in checks) else "not run"


def models_run(checks: Sequence[Check]) -> tuple[int, int]:
    """Return the number of models, engines and checkpoints that were run here, and their total number."""
    artifacts = {check.artifact for check in checks if check.artifact}
    ran = {check.artifact for check in checks if check.artifact and check.status != "not run"}
    return len(ran), len(artifacts)


def cure_of(checks: Sequence[Check]) -> str:
    """Return the first cure among the checks that were not run; empty when none is known."""
    return next((check.cure for check in checks if check.status == "not run" and check.cure), "")


def _without_golden(bundle: Bundle) -> list[Check]:
    cause, cure = "no golden photos in the bundle", f"vegrt export {bundle.path} --data DATA"
    paths = [artifact.path for artifact in runnable_artifacts(bundle)]
    models = [Check(path, "not run", "no golden photos to run it on", path) for path in paths]
    return [Check("golden", "not run", cause, cure=cure), *models]


def signature_checks(bundle: Bundle) -> list[Check]:
    """Return the checks of manifest and results against the signature, which was verified on opening; none without a key."""
    if (signed := bundle.signed) is None:
        return []
    checks = [Check("signature", "ok", f"of this manifest, by key {signed.fingerprint}")]
    if signed.version == 1:
        cause, cure = "a signature of format 1 covers no results", "vegrt bundle sign BUNDLE --key KEY"
        return [*checks, Check("results", "not run", cause, cure=cure)]
    if changes := changed_results(bundle):
        return [*checks, Check("results", "FAIL", f"{'; '.join(changes)}; sign again, or delete it")]
    return [*checks, Check("results", "ok", f"{len(signed.results)} results match the signature")]


def _check_metadata(bundle: Bundle) -> Check:
    subject = "classes and contract"
    try:
        comparison = metadata_conflicts(bundle)
    except (BundleError, ModelError) as error:
        return Check(subject, "FAIL", str(error))
    if comparison.conflicts:
        return Check(subject, "FAIL", "; ".join(map(str, comparison.conflicts)))
    total, silent = len(bundle.variants()), comparison.silent
    if len(silent) == total:
        return Check(subject, "not run", f"none of {total} models has this metadata")
    agreed = f"{total - len(silent)} of {total} models have the classes, their order and the contract of the manifest"
    return Check(subject, "ok", f"{agreed}; without this metadata: {', '.join(silent)}" if silent else agreed)


def _refusal(candidate: Candidate, error: VegrtError, path: str) -> Check:
    """Return the check of a candidate that does not run: not run if it is not for this machine, else a fault of the bundle."""
    if isinstance(error, MissingExtraError | EngineError):
        return Check(str(candidate), "not run", str(error), path)
    return Check(str(candidate), "FAIL", f"cannot be run ({error})", path)


def _check_logits(bundle: Bundle, candidate: Candidate, golden: GoldenPhotos) -> Check:
    path = artifact_of(bundle, candidate).path
    try:
        runner = open_candidate(bundle, candidate)
    except VegrtError as error:
        if candidate.device == "cuda":  # a matter of this machine: the same file is checked on the CPU
            return Check(str(candidate), "not run", str(error), path)
        return _refusal(candidate, error, path)
    try:
        answer = answer_golden(runner, golden, least_cosine(bundle, candidate.variant))
    except VegrtError as error:
        return _refusal(candidate, error, path)
    if answer.is_right:
        return Check(str(candidate), "ok", str(answer), path)
    classes = bundle.manifest.classes
    cause = try_explain(lambda: explain_difference(golden.logits, runner, golden.images, classes))
    return Check(str(candidate), "FAIL", f"{answer}; {cause}" if cause else str(answer), path)
