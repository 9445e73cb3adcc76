"""Writes a folder that installs a bundle as a service of systemd on a Raspberry Pi."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.export.deploy.folder import Deployed, copy_bundle, copy_key, deploying, write_files, written
from vegrt.export.deploy.packages import (
    CONSTRAINTS,
    REQUIREMENTS,
    CpuRuntime,
    check_wheel,
    constraints,
    copy_wheel,
    extras_of,
    requirements,
)
from vegrt.export.deploy.raspberrypi.readme import PiFacts, pi_readme
from vegrt.export.deploy.raspberrypi.units import JOURNAL_FILE, Service, install_script, journal_file, unit_file
from vegrt.version import __version__

# what neither systemd nor sh gives a meaning: `%`, `:`, `$`, spaces and quotes have one
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._+-]*)+")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9A-Fa-f:]+")
_MEMORY = re.compile(r"[1-9][0-9]?%|100%|[1-9][0-9]*[KMG]")


@dataclass(frozen=True, slots=True)
class PiSettings:
    """The settings of the service. watch: folder on the device; None to serve over HTTP on host and port.

    memory_max: share of the memory or size, such as 75% or 1G. wheel: file of vegrt's wheel; None for an index.
    """

    watch: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    memory_max: str = "75%"
    runtime: CpuRuntime = "onnxruntime"
    wheel: Path | None = None
    overwrite: bool = False


def deploy_raspberrypi(bundle: Bundle, out: Path, settings: PiSettings) -> Deployed:
    """Write the folder to `out`, atomically. If the bundle was opened with a public key, the key is copied and required.

    Raises VegrtError for settings that a unit cannot express, an `out` that may not be replaced, and a file that is not a wheel.
    """
    _check(settings)
    check_wheel(settings.wheel)
    key = bundle.signed.key if bundle.signed else None
    sha256, name = bundle.sha256(), bundle.manifest.name
    service = Service(
        title=f"vegrt {__version__}: a bundle with manifest SHA-256 {sha256}",
        description=f"vegrt {'classifies the photos of a folder' if settings.watch else 'serves an image classifier'}",
        watch=settings.watch or "",
        host=settings.host,
        port=settings.port,
        signed=key is not None,
        memory_max=settings.memory_max,
    )
    extras = extras_of(settings.runtime, serves=not settings.watch, signed=key is not None)
    facts = PiFacts(name, __version__, sha256, settings.wheel.name if settings.wheel else "")
    texts = {
        service.unit: unit_file(service),
        JOURNAL_FILE: journal_file(service),
        "install.sh": install_script(service),
        REQUIREMENTS: requirements(extras, settings.wheel),
        CONSTRAINTS: constraints(extras),
        "README.md": pi_readme(facts, service),
    }
    with deploying(bundle, out, "raspberrypi", overwrite=settings.overwrite) as folder:
        copy_bundle(bundle, folder)
        copy_key(key, folder)
        copy_wheel(settings.wheel, folder)
        write_files(folder, texts)
    return written(out, "sudo ./install.sh")


def _check(settings: PiSettings) -> None:
    """Raise VegrtError for a value that would mean something else in a unit or in a shell."""
    if settings.watch is not None and not _PLAIN_PATH.fullmatch(settings.watch):
        raise VegrtError(
            f"--watch {settings.watch!r}: expected the full path of a folder on the device, of letters, digits and . _ + - only, "
            "such as /home/pi/inbox"
        )
    if not _HOST.fullmatch(settings.host):
        raise VegrtError(f"--host {settings.host!r}: expected an address, such as 127.0.0.1 or 0.0.0.0")
    if not _MEMORY.fullmatch(settings.memory_max):
        raise VegrtError(f"--memory-max {settings.memory_max!r}: expected a share such as 75%, or a size such as 1G")
