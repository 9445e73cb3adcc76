"""The Dockerfile and the .dockerignore of an image that serves a bundle.

Two stages: what installs packages stays in the first one. Nothing is downloaded by the second, and it runs as user 10001.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from vegrt.export.deploy.folder import BUNDLE, PUBLIC_KEY
from vegrt.export.deploy.packages import CONSTRAINTS, REQUIREMENTS

PORT = 8000
USER = 10001
CPU_BASE = "python:3.12-slim"
GPU_BASE = "nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04"  # CUDA 13 and cuDNN 9, for onnxruntime-gpu 1.28 to 1.31
_VENV = "/opt/vegrt"
_READY = (
    "import http.client, sys; connection = http.client.HTTPConnection('127.0.0.1', {port}, timeout=4); "
    "connection.request('GET', '/v2/health/ready'); sys.exit(connection.getresponse().status != 200)"
)

_DOCKERFILE = """\
# {title}
FROM {base} AS packages
{system_packages}COPY {sources} /packages/
WORKDIR /packages
# Without pip and without the tests of the packages. Bytecode would be larger than the time that it saves is long.
RUN python3 -m venv --without-pip {venv} \\
    && python3 -m pip --python {venv}/bin/python install --no-cache-dir --no-compile \\
       --requirement {requirements} --constraint {constraints} \\
    && find {venv} -type d -name tests -prune -exec rm -r {{}} +

FROM {base}
{system_python}RUN groupadd --gid {user} vegrt \\
    && useradd --uid {user} --gid {user} --no-create-home --home-dir /tmp --shell /usr/sbin/nologin vegrt
COPY --from=packages {venv} {venv}
{copy_key}COPY {bundle} /{bundle}
ENV PATH={venv}/bin:$PATH HOME=/tmp XDG_CACHE_HOME=/tmp/cache PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# ONNX Runtime reports to Microsoft from 1.29 on, unless this is set
ENV ORT_DISABLE_TELEMETRY=1
USER {user}:{user}
# every SHA-256 is compared{and_signature}, and every model that runs here answers the golden photos
RUN vegrt verify /{bundle}{verify_key} && rm -rf /tmp/cache
EXPOSE {port}
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \\
    CMD {health}
# options of `docker run IMAGE` are those of vegrt serve
ENTRYPOINT {entrypoint}
"""
# Ubuntu's image has no Python
_SYSTEM_PACKAGES = """\
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends {names} \\
    && rm -rf /var/lib/apt/lists/*
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What a Dockerfile depends on. title: its first line. gpu: whether it is for NVIDIA GPUs.

    wheel: name of vegrt's wheel beside it; empty if vegrt comes from an index. signed: whether a public key lies beside it.
    """

    title: str
    gpu: bool = False
    wheel: str = ""
    signed: bool = False

    @property
    def base(self) -> str:
        """Return the image that it is built from."""
        return GPU_BASE if self.gpu else CPU_BASE


def dockerfile(image: Image) -> str:
    """Return the text of the Dockerfile."""
    key = ["--public-key", f"/{PUBLIC_KEY}"] if image.signed else []
    serve = [f"{_VENV}/bin/vegrt", "serve", f"/{BUNDLE}", "--host", "0.0.0.0", "--port", str(PORT), *key]
    return _DOCKERFILE.format(
        title=image.title,
        base=image.base,
        system_packages=_SYSTEM_PACKAGES.format(names="python3-pip python3-venv") if image.gpu else "",
        system_python=_SYSTEM_PACKAGES.format(names="python3") if image.gpu else "",
        sources=" ".join(filter(None, (REQUIREMENTS, CONSTRAINTS, image.wheel))),
        requirements=REQUIREMENTS,
        constraints=CONSTRAINTS,
        venv=_VENV,
        user=USER,
        copy_key=f"COPY {PUBLIC_KEY} /{PUBLIC_KEY}\n" if image.signed else "",
        bundle=BUNDLE,
        and_signature=" and the signature" if image.signed else "",
        verify_key="".join(f" {word}" for word in key),
        port=PORT,
        health=json.dumps([f"{_VENV}/bin/python", "-c", _READY.format(port=PORT)]),
        entrypoint=json.dumps(serve),
    )


def dockerignore(image: Image) -> str:
    """Return the text of .dockerignore: everything but what the Dockerfile copies."""
    sources = (BUNDLE, REQUIREMENTS, CONSTRAINTS, image.wheel, PUBLIC_KEY if image.signed else "")
    return "\n".join(["*", *(f"!{name}" for name in sources if name)]) + "\n"
