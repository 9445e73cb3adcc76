"""Writes the folder from which `docker build` makes an image that serves a bundle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.export.deploy.docker.dockerfile import Image, dockerfile, dockerignore
from vegrt.export.deploy.docker.readme import ImageFacts, docker_readme
from vegrt.export.deploy.folder import Deployed, copy_bundle, copy_key, deploying, write_files, written
from vegrt.export.deploy.packages import (
    CONSTRAINTS,
    REQUIREMENTS,
    CpuRuntime,
    check_wheel,
    constraints,
    copy_wheel,
    extras_of,
    gpu_packages,
    requirements,
)
from vegrt.version import __version__

_NOT_IN_TAGS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """What an image contains. gpu: NVIDIA's image with ONNX Runtime for GPUs, in place of a runtime for CPUs.

    wheel: file of vegrt's wheel; None for an index. overwrite: replace a folder of this target that is there.
    """

    gpu: bool = False
    runtime: CpuRuntime = "onnxruntime"
    wheel: Path | None = None
    overwrite: bool = False


def image_tag(bundle: Bundle) -> str:
    """Return the name of the bundle's image: of the bundle, tagged with the beginning of its manifest's SHA-256."""
    return f"{image_name(bundle.manifest.name)}:{bundle.sha256()[:12]}"


def image_name(name: str) -> str:
    """Return a bundle's name in the form that names of images and of Kubernetes objects use: a-z, 0-9 and `-`."""
    return _NOT_IN_TAGS.sub("-", name.lower()).strip("-") or "model"


def deploy_docker(bundle: Bundle, out: Path, settings: DockerSettings) -> Deployed:
    """Write the folder to `out`, atomically. If the bundle was opened with a public key, the key is copied and required.

    Raises VegrtError for an `out` that may not be replaced, and for a file that is not a wheel of vegrt.
    """
    check_wheel(settings.wheel)
    key = bundle.signed.key if bundle.signed else None
    sha256, tag = bundle.sha256(), image_tag(bundle)
    title = f"vegrt {__version__}: serves a bundle with manifest SHA-256 {sha256}"
    image = Image(title, settings.gpu, settings.wheel.name if settings.wheel else "", key is not None)
    with deploying(bundle, out, "docker", overwrite=settings.overwrite) as folder:
        bundle_bytes = copy_bundle(bundle, folder)
        copy_key(key, folder)
        copy_wheel(settings.wheel, folder)
        facts = ImageFacts(
            name=bundle.manifest.name,
            version=__version__,
            sha256=sha256,
            tag=tag,
            bundle_bytes=bundle_bytes,
            runtime=None if settings.gpu else settings.runtime,
            wheel=image.wheel,
            signed=image.signed,
        )
        texts = {"Dockerfile": dockerfile(image), ".dockerignore": dockerignore(image)}
        write_files(folder, texts | _requirements(settings, signed=image.signed) | {"README.md": docker_readme(facts)})
    return written(out, f"docker build --tag {tag} {out}")


def _requirements(settings: DockerSettings, *, signed: bool) -> dict[str, str]:
    if settings.gpu:
        extras: tuple[str, ...] = ("serve", "sign") if signed else ("serve",)
        others = gpu_packages()
    else:
        extras, others = extras_of(settings.runtime, serves=True, signed=signed), ()
    return {REQUIREMENTS: requirements(extras, settings.wheel, others), CONSTRAINTS: constraints(extras)}
