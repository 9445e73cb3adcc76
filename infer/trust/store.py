"""trust.json in a bundle: written as an artifact, read for the candidate that runs."""

from __future__ import annotations

from pathlib import Path

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import BundleError, FormatError, VegrtError
from vegrt.files.text import json_text
from vegrt.infer.runtimes.candidates import Candidate, artifact_of
from vegrt.infer.trust.embeddings import Embeddings
from vegrt.infer.trust.judge import Judge
from vegrt.infer.trust.record import WITH_EMBEDDINGS, CandidateTrust, Trust
from vegrt.schema import read_json

FILE = "trust.json"


def save_trust(path: Path, trust: Trust) -> Bundle:
    """Write trust.json into the bundle at `path`, in place of an earlier one, and return the new bundle.

    Raises BundleError when a model that was measured has been replaced since.
    """
    with changing(path) as staging:
        bundle = open_bundle(path, verify=False)
        known = {artifact.sha256 for artifact in bundle.manifest.artifacts}
        if any(row.artifact_sha256 not in known for row in trust.candidates):
            raise BundleError(f"{path}: its models changed while they were measured; repeat the command")
        staging.file(FILE).write_text(json_text(trust.to_dict()) + "\n", encoding="utf-8")
        staging.add(FILE, "trust")
        staging.finish(bundle.manifest)
    return open_bundle(path, verify=False)


def load_trust(bundle: Bundle) -> Trust | None:
    """Return what trust.json holds; None if the bundle has none. Raises BundleError for one that cannot be read."""
    if not bundle.has("trust"):
        return None
    file = bundle.file("trust")
    try:
        trust = Trust.from_dict(read_json(file))
        if trust.classes != tuple(bundle.manifest.classes):
            raise FormatError("are not those of the bundle", "classes")
    except (FormatError, OSError) as error:
        raise BundleError(f"{file}: cannot be read ({error}); {_cure(bundle)}") from error
    return trust


def entry_of(trust: Trust, bundle: Bundle, candidate: Candidate) -> CandidateTrust | None:
    """Return what is known of a candidate; None if nothing, or only of a model that is no longer in the bundle."""
    sha256 = artifact_of(bundle, candidate).sha256
    return next((row for row in trust.candidates if (row.key, row.artifact_sha256) == (str(candidate), sha256)), None)


def judge_of(trust: Trust, row: CandidateTrust, bundle: Bundle) -> Judge:
    """Return what decides on the answers of the candidate of a row. Raises BundleError for damaged statistics of embeddings."""
    judge = Judge(row, trust.classes, None)
    if not judge.needs_embeddings or trust.embeddings is None:
        return judge
    try:
        embeddings = Embeddings.unpacked(trust.embeddings, len(trust.classes))
    except FormatError as error:
        raise BundleError(f"{bundle.path / FILE}: cannot be read ({error}); {_cure(bundle)}") from error
    return Judge(row, trust.classes, embeddings)


def open_judge(bundle: Bundle, candidate: Candidate) -> Judge:
    """Return what decides on the answers of a candidate. Raises VegrtError, with the cure, where nothing is known of it."""
    trust = load_trust(bundle)
    if trust is None:
        raise VegrtError(f"{bundle.path}: has no {FILE}, which decides what to reject; {_cure(bundle)}")
    row = entry_of(trust, bundle, candidate)
    if row is not None:
        return judge_of(trust, row, bundle)
    is_older = any(other.key == str(candidate) for other in trust.candidates)
    known = ", ".join(other.key for other in trust.candidates)
    fault = f"is about an earlier {candidate}" if is_older else f"does not know {candidate} (it knows {known})"
    raise VegrtError(f"{bundle.path / FILE}: {fault}; {_cure(bundle)}")


def needs_embeddings(bundle: Bundle, candidate: Candidate) -> bool:
    """Return whether the decisions on a candidate's answers need embeddings; False where nothing is known of it."""
    trust = load_trust(bundle)
    row = entry_of(trust, bundle, candidate) if trust else None
    return row is not None and row.foreign.method in WITH_EMBEDDINGS


def _cure(bundle: Bundle) -> str:
    return f"make it: vegrt trust {bundle.path} --data DATA"
