"""Which engine of a bundle a Triton server can load, and which release of its container loads an engine.

An engine runs on one GPU architecture and, unless it is version-compatible, on the TensorRT version that built it.
"""

from __future__ import annotations

from dataclasses import replace

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.errors import EngineError
from vegrt.infer.runtimes.fingerprint import Fingerprint, mismatches

IMAGE = "nvcr.io/nvidia/tritonserver"
SUPPORT_MATRIX = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html"
# Release of nvcr.io/nvidia/tritonserver:RELEASE-py3 -> its TensorRT. Triton's release notes up to rel-26-05, table "Triton
# Inference Server Container Versions", read from a public copy; 24.08 and 24.10 agree with the notes in
# triton-inference-server/server. Releases whose sources disagree are left out (24.12, 25.07, 25.11); for those after 26.05 there
# was none. Other images of a release, such as -trtllm-python-py3, have another TensorRT.
RELEASES = {
    "26.05": "10.16.1.11",
    "26.04": "10.16.1.11",
    "26.03": "10.16.0.72",
    "26.02": "10.15.1.29",
    "26.01": "10.14.1.48",
    "25.12": "10.14.1.48",
    "25.10": "10.13.3.9",
    "25.09": "10.13.3.9",
    "25.08": "10.13.2.6",
    "25.06": "10.11.0.33",
    "25.05": "10.10.0.31",
    "25.04": "10.9.0.34",
    "25.03": "10.9.0.34",
    "25.02": "10.8.0.43",
    "25.01": "10.8.0.43",
    "24.11": "10.6.0.26",
    "24.10": "10.5.0.18",
    "24.09": "10.4.0.26",
    "24.08": "10.3.0.26",
}


def choose_engine(bundle: Bundle, variant: str, *, target: str = "", release: str = "") -> Artifact:
    """Return the bundle's TensorRT engine of a variant for a server.

    target: the server's GPU as compute capability, such as sm89; release: of Triton's container, such as 26.05; empty if it
    does not matter. Raises EngineError without such an engine, with several, and for a release that is not in RELEASES.
    """
    if release and release not in RELEASES:
        raise EngineError(
            f"--container {release}: its TensorRT is not known here; expected one of {', '.join(RELEASES)}"
        )
    plans = _plans(bundle, variant)
    problems = {plan.path: _misfits(plan, target, RELEASES.get(release, "")) for plan in plans}
    fitting = [plan for plan in plans if not problems[plan.path]]
    if not fitting:
        words = "; ".join(f"{path}: {', '.join(reasons)}" for path, reasons in problems.items())
        raise EngineError(f"{bundle.path}: no engine of {variant} for that server ({words}); {_build(bundle)}")
    if len(fitting) > 1:
        words = ", ".join(f"{plan.path} for {Fingerprint.from_details(plan.details)}" for plan in fitting)
        raise EngineError(
            f"{bundle.path}: {len(fitting)} engines of {variant} ({words}); expected one: add --gpu, such as "
            f"--gpu {Fingerprint.from_details(fitting[0].details).target}, or --container"
        )
    return fitting[0]


def newest_release(built: Fingerprint) -> str:
    """Return the newest known release that can load an engine; empty if none is known."""
    releases = (
        release for release, version in RELEASES.items() if not mismatches(built, replace(built, version=version))
    )
    return next(releases, "")


def _plans(bundle: Bundle, variant: str) -> list[Artifact]:
    artifacts = bundle.manifest.artifacts
    engines = [artifact for artifact in artifacts if (artifact.role, artifact.variant) == ("engine", variant)]
    plans = [engine for engine in engines if engine.details.get("builder") == "tensorrt"]
    if not plans:
        problem = "only a TensorRT-RTX engine, which Triton cannot load," if engines else "no engine"
        raise EngineError(f"{bundle.path}: {problem} of {variant}; {_build(bundle)}; or omit --backend")
    return plans


def _misfits(plan: Artifact, target: str, version: str) -> list[str]:
    built = Fingerprint.from_details(plan.details)
    return mismatches(built, replace(built, target=target or built.target, version=version or built.version, device=""))


def _build(bundle: Bundle) -> str:
    return f"build one on the server's GPU (vegrt doctor names the packages): vegrt export {bundle.path} --data DATA --engine"
