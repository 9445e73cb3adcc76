"""The README beside a Dockerfile: the commands, and the size of the image as the sum of its parts."""

from __future__ import annotations

from dataclasses import dataclass

from vegrt.export.deploy.docker.dockerfile import GPU_BASE, PORT
from vegrt.export.deploy.packages import NOT_PUBLISHED, CpuRuntime

# docker-library/repo-info, repos/python/local/3.12-slim.md, commit 67db11d0: python:3.12.13-slim-trixie, "total size of all
# layers on-disk", linux/amd64, 2026-07-14
BASE_MB = 119.2
# Measured on 2026-11-29: wheels for Python 3.12 on x86-64, installed by pip --target without bytecode, tests removed, du
# --apparent-size: vegrt 0.1.0 (2.5 MB), numpy 2.4.6, pillow 13.0.0, fastapi 0.165.0 and what they need, with onnxruntime 1.32.0
# (75.8 MB), openvino 2026.4.1 or MNN 3.6.1
PACKAGES_MB: dict[CpuRuntime, float] = {"onnxruntime": 170.6, "openvino": 277.4, "mnn": 151.2}
CRYPTOGRAPHY_MB = 16.1  # measured likewise: cryptography 50.0.2 and cffi, for signatures

_README = """\
# {name}: an image that serves it

Written by vegrt {version} from bundle `{name}`, manifest SHA-256
{sha256}.
**This image has not been built by us: there was no Docker daemon.** Its commands were run one by one on Debian, the
Dockerfile was read by two parsers.

    docker build --tag {tag} .
    docker run --rm --publish 127.0.0.1:{port}:{port} {gpus}--read-only --tmpfs /tmp --cap-drop ALL \\
        --security-opt no-new-privileges --stop-timeout 75 {tag}
    curl --data-binary @photo.jpg http://127.0.0.1:{port}/v1/predict

| file | content |
|---|---|
| `Dockerfile`, `.dockerignore` | two stages; the second runs `vegrt serve` on port {port} as user 10001 |
| `requirements.txt` | vegrt{and_wheel} with the packages that it needs |
| `constraints.txt` | the versions that were installed where this folder was written |
| `bundle/` | the whole bundle; the build runs `vegrt verify` on it and fails if a file is damaged |
{key_row}
- The service has no authentication and no TLS: publish its port to 127.0.0.1 as above, or put a reverse proxy in front of it.
- Options after the image's name are those of `vegrt serve`, such as `--variant int8-cpu`, `--max-pixels 12000000` (memory),
  `--threads 2`, and `--client-share 1` if a proxy gives all clients one address.
- HEALTHCHECK asks `/v2/health/ready` each 30 s. Accepted requests are answered on SIGTERM, for up to 60 s: hence
  `--stop-timeout`.
- `--public-key key.pub` of `vegrt deploy docker` builds the signature's key in: then a bundle with another signature is
  refused, when the image is built and whenever it starts.

## vegrt itself

{origin}

## Size

{size}
"""

_SIZE = """\
| part | MB (10^6 bytes) | from |
|---|---|---|
| `python:3.12-slim` | {base:.1f} | published: docker-library/repo-info, python:3.12.13-slim-trixie, amd64, all layers |
| packages with {runtime}, without bytecode and tests | {packages:.1f} | measured on x86-64 with Python 3.12, 2026-11-29 |
| **sum without the bundle** | **{sum:.1f}** | |
| bundle | {bundle:.1f} | this bundle |
| **sum** | **{total:.1f}** | |

A sum of parts, not a built image. A registry stores layers compressed: about a third of it."""

_GPU_SIZE = """\
Not computed: no published size of `{base}` was at hand. It has CUDA 13 and cuDNN 9, so onnxruntime-gpu is installed without
their wheels. The bundle adds {bundle:.1f} MB. TensorRT is not in it: for its engines use `vegrt deploy triton`. The driver of
the host must be 580 or newer. This image was not run on a GPU."""

_KEY_ROW = "| `key.pub` | the key that must have signed the bundle |\n"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What the README states. bundle_bytes: size of the bundle. runtime: None for the GPU image."""

    name: str
    version: str
    sha256: str
    tag: str
    bundle_bytes: int
    runtime: CpuRuntime | None
    wheel: str
    signed: bool


def docker_readme(facts: ImageFacts) -> str:
    """Return the README's text."""
    return _README.format(
        name=facts.name,
        version=facts.version,
        sha256=facts.sha256,
        tag=facts.tag,
        port=PORT,
        gpus="--gpus all " if facts.runtime is None else "",
        and_wheel=f" (`{facts.wheel}`)" if facts.wheel else "",
        origin=f"`{facts.wheel}`, which lies here." if facts.wheel else NOT_PUBLISHED.format(target="docker"),
        key_row=_KEY_ROW if facts.signed else "",
        size=_size(facts),
    )


def _size(facts: ImageFacts) -> str:
    bundle_mb = facts.bundle_bytes / 1e6
    if facts.runtime is None:
        return _GPU_SIZE.format(base=GPU_BASE, bundle=bundle_mb)
    packages_mb = PACKAGES_MB[facts.runtime] + (CRYPTOGRAPHY_MB if facts.signed else 0)
    without = BASE_MB + packages_mb
    return _SIZE.format(
        base=BASE_MB,
        runtime=facts.runtime,
        packages=packages_mb,
        sum=without,
        bundle=bundle_mb,
        total=without + bundle_mb,
    )
