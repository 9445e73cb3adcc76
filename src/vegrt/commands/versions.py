"""vegrt --version --json: what a bug report needs to know."""

from __future__ import annotations

import platform

from vegrt.files.text import json_text
from vegrt.results.header import RUNTIME_PACKAGES, installed_versions
from vegrt.version import __version__

RUNTIMES = (*RUNTIME_PACKAGES, "tensorrt-rtx")


def describe_versions() -> str:
    """Return {"vegrt", "python", "platform", "runtimes"} as JSON: versions, the runtimes by the name of their package."""
    versions = installed_versions(RUNTIMES)
    runtimes = {name: version for name, version in versions.items() if name in RUNTIMES}
    facts = {"vegrt": __version__, "python": platform.python_version(), "platform": platform.platform()}
    return json_text(facts | {"runtimes": runtimes})
