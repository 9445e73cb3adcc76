"""What `vegrt doctor --measure` measured on this machine, kept in the user's cache.

A file belongs to a processor (model and instruction sets), a number of cores and the versions of the runtimes; after a change of
one of them it no longer counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import exp, log
from pathlib import Path
from typing import Annotated, Literal, get_args

from vegrt.errors import FormatError, VegrtError
from vegrt.files.atomic import write_json
from vegrt.files.hashing import sha256_of_json
from vegrt.files.user_cache import cache_home
from vegrt.machine import Cpu, available_cores
from vegrt.results.benchmark import MachineLimit
from vegrt.results.common import Rate, Size
from vegrt.results.convert import to_dict
from vegrt.results.header import installed_versions
from vegrt.schema import Label, Share, build, matching, read_json

NetworkKind = Literal["convolutions", "bottlenecks", "depthwise"]
TimedVariant = Literal["fp32", "int8-cpu"]
NETWORK_KINDS: tuple[NetworkKind, ...] = get_args(NetworkKind)
TIMED_VARIANTS: tuple[TimedVariant, ...] = get_args(TimedVariant)
_SCHEMA = "vegrt-machine"
_RUNTIMES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"),
    "openvino": ("openvino",),
    "mnn": ("MNN",),
}
# Backbones by the beginning of their names, without `timm:`; the longest one counts.
_KINDS: dict[str, NetworkKind] = {
    "vgg": "convolutions",
    "resnet18": "convolutions",
    "resnet34": "convolutions",
    "resnet": "bottlenecks",
    "resnext": "bottlenecks",
    "wide_resnet": "bottlenecks",
    "mobilenet": "depthwise",
    "efficientnet": "depthwise",
    "mnasnet": "depthwise",
}


@dataclass(frozen=True, slots=True)
class NetworkRate:
    """The speed of a small network in a runtime, in batches, with all threads. macs_per_image: multiplications for one image."""

    kind: NetworkKind
    variant: TimedVariant
    runtime: Label
    images_per_s: Rate
    macs_per_image: Size


@dataclass(frozen=True, slots=True)
class MachineMeasurements:
    """The measurements of one machine. absent: what was not measured, and why, by runtime.

    others_share: share of the cores that other programs used meanwhile; None: unknown. busy: whether it is too large, so that the
    measurements are doubtful and no forecast follows them.
    """

    created: Label
    threads: Size
    limits: tuple[MachineLimit, ...]
    networks: tuple[NetworkRate, ...]
    absent: dict[str, Label]
    schema: Annotated[str, matching(_SCHEMA, _SCHEMA)] = _SCHEMA
    others_share: Share | None = None
    busy: bool = False

    def ranking(self, variant: str, kind: NetworkKind | None) -> dict[str, float]:
        """Return the images per second of the runtimes for a variant, the fastest first; empty if none was measured.

        kind: None for the geometric mean of all kinds, of runtimes that ran them all.
        """
        rates: dict[str, list[float]] = {}
        for row in self.networks:
            if row.variant == variant and kind in (None, row.kind):
                rates.setdefault(row.runtime, []).append(row.images_per_s)
        most = max(map(len, rates.values()), default=0)
        means = {runtime: _mean(values) for runtime, values in rates.items() if len(values) == most}
        return dict(sorted(means.items(), key=lambda item: -item[1]))


def kind_of(backbone: object) -> NetworkKind | None:
    """Return the kind of network that a manifest's backbone is; None if it is unknown."""
    name = str(backbone or "").removeprefix("timm:")
    fitting = [start for start in _KINDS if name.startswith(start)]
    return _KINDS[max(fitting, key=len)] if fitting else None


def measurements_file(cpu: Cpu) -> Path:
    """Return the file for this processor, its usable cores and the runtimes installed here."""
    facts = {"cpu": cpu.model, "features": cpu.features, "cores": available_cores(), "runtimes": _versions()}
    return cache_home() / f"machine-{sha256_of_json(facts)[:16]}.json"


def save_measurements(cpu: Cpu, measured: MachineMeasurements) -> Path:
    """Keep measurements for later forecasts, and return their file. Raises VegrtError if it cannot be written."""
    file = measurements_file(cpu)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        folder = file.parent
        raise VegrtError(
            f"{folder}: cannot be made ({error.strerror}); set XDG_CACHE_HOME to a writable folder"
        ) from error
    write_json(file, to_dict(measured))
    return file


def load_measurements(cpu: Cpu) -> MachineMeasurements | None:
    """Return the measurements kept for this machine; None if there are none, or not in this format."""
    try:
        if not any(cache_home().glob("machine-*.json")):  # the name of the file needs the versions of packages: 10 ms
            return None
        return build(MachineMeasurements, read_json(measurements_file(cpu)))
    except (OSError, FormatError, VegrtError):  # VegrtError: a user without a home
        return None


def _mean(rates: list[float]) -> float:
    return exp(sum(map(log, rates)) / len(rates))


def _versions() -> dict[str, str]:
    """Return the version of each runtime, of the first of its packages that is installed."""
    installed = installed_versions(tuple(chain.from_iterable(_RUNTIMES.values())))
    versions = {}
    for runtime, packages in _RUNTIMES.items():
        if package := next((name for name in packages if name in installed), None):
            versions[runtime] = installed[package]
    return versions
