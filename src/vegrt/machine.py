"""The CPU and memory that this process may use, read from /proc and the cgroup on Linux; independent of runtimes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Instruction sets that determine which variant is fast, by the kernel's names: x86, then ARM.
FEATURES = (
    *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
)
# Most ARM kernels report numbers instead of a model name (linux/arch/arm64/include/asm/cputype.h).
_ARM_PARTS = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x4e", "0x004"): "NVIDIA Carmel",
}
_ROOT = Path("/")
# Files of a cgroup with its memory limit and usage, and the name in memory.stat of what can be dropped: version 2, then 1.
_MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


@dataclass(frozen=True, slots=True)
class Cpu:
    """A processor. features: the supported FEATURES, in the same order."""

    model: str
    features: tuple[str, ...]

    @property
    def saturates(self) -> bool:
        """Return whether sums of two 8-bit products overflow 16 bits with 8-bit weights: on x86 without VNNI or AMX."""
        return "asimd" not in self.features and not {"avx512_vnni", "avx_vnni", "amx_int8"} & set(self.features)


@dataclass(frozen=True, slots=True)
class Machine:
    """The resources of this process.

    board: the name in the device tree, as on a Jetson or a Raspberry Pi; empty on a PC.
    cores: CPU time per second; CPU affinity or a cgroup quota may make it less than the installed cores, and a fraction.
    memory_mib: the smaller of installed memory and the cgroup's limit; 0 if it cannot be read.
    """

    board: str
    architecture: str
    cpu: Cpu
    cores: float
    memory_mib: int


def examine_machine() -> Machine:
    """Return the resources of this process."""
    return Machine(
        board=_read(_ROOT / "proc/device-tree/model").rstrip("\0"),
        architecture=platform.machine(),
        cpu=parse_cpuinfo(_read(_ROOT / "proc/cpuinfo")),
        cores=usable_cores(),
        memory_mib=min([parse_meminfo(_read(_ROOT / "proc/meminfo")), *memory_limits_bytes()]) >> 20,
    )


def usable_cores() -> float:
    """Return the CPU time per second that affinity and cgroup quotas allow this process."""
    return min([float(len(affinity())), *cpu_limits()])


def available_cores() -> int:
    """Return how many threads this process can run in parallel: `usable_cores`, rounded down, at least 1."""
    return max(1, int(usable_cores()))


def parse_cpuinfo(text: str) -> Cpu:
    """Return the processor in the text of /proc/cpuinfo: features that all cores share, model of the first."""
    cores = [dict(_fields(block)) for block in text.split("\n\n") if block.strip()]
    flags = [set(core.get("flags", core.get("Features", "")).split()) for core in cores]
    flags = [core_flags for core_flags in flags if core_flags]  # on ARM, the last block may describe the board
    shared = set.intersection(*flags) if flags else set()
    first = next((core for core in cores if "model name" in core or "CPU part" in core), {})
    part = _ARM_PARTS.get((first.get("CPU implementer", ""), first.get("CPU part", "")), "")
    model = " ".join(filter(None, (part, first.get("model name")))) or platform.processor() or "unknown"
    return Cpu(model, tuple(feature for feature in FEATURES if feature in shared))


def parse_meminfo(text: str) -> int:
    """Return the installed memory in bytes, from the text of /proc/meminfo; 0 if it is missing."""
    total = dict(_fields(text)).get("MemTotal", "0 kB")
    return int(total.split()[0]) * 1024


def cpu_limits(root: Path = _ROOT) -> list[float]:
    """Return every CPU quota, in cores, of the cgroups above this process. root: folder that contains /proc and /sys."""
    limits = []
    for folder in _cgroups(root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")  # v2: "150000 100000" or "max 100000"
        if not quota:  # v1: two files, -1 for no limit
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            limits.append(int(quota) / int(period))
    return limits


def memory_limits_bytes(root: Path = _ROOT) -> list[int]:
    """Return every memory limit, in bytes, of the cgroups above this process. root: folder that contains /proc and /sys."""
    folders = _cgroups(root, "memory")
    texts = [_read(folder / name) for folder in folders for name in ("memory.max", "memory.limit_in_bytes")]
    return [int(text) for text in texts if text.isdigit()]  # without a limit, v2 writes "max", v1 a huge number


def available_memory_bytes(root: Path = _ROOT) -> int:
    """Return how much more memory this process can fill without swapping, within the limits of its cgroups; 0 if unknown.

    File contents that nothing used lately (inactive_file) count as available. root: where /proc and /sys are.
    """
    stated = dict(_fields(_read(root / "proc/meminfo"))).get("MemAvailable", "")
    available = [int(stated.split()[0]) * 1024] if stated else []
    for folder in _cgroups(root, "memory"):
        for limit_file, usage_file, reclaimable_name in _MEMORY_FILES:
            limit, usage = _read(folder / limit_file), _read(folder / usage_file)
            if limit.isdigit() and usage.isdigit():
                statistics = dict(
                    line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines() if " " in line
                )
                available.append(int(limit) - int(usage) + int(statistics.get(reclaimable_name, "0")))
    return max(0, min(available, default=0))


def affinity() -> set[int]:
    """Return the numbers of the cores that this process may run on; all of them on a system without affinity."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(installed_cores()))


def installed_cores() -> int:
    """Return the number of cores of the machine, including those that this process may not use; 1 if it is unknown."""
    return os.cpu_count() or 1


def _cgroups(root: Path, controller: str) -> list[Path]:
    """Return the folders whose limits apply to this process: its cgroup (v2, and v1 of the controller) and all above it.

    In a container the path is often that of the host and does not exist; then the top of the mount is the container's own cgroup.
    """
    folders = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)  # "0::/user.slice" (v2) or "4:memory:/docker/1f" (v1)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        own = top / path.lstrip("/")
        folders += [folder for folder in (own, *own.parents) if folder.is_relative_to(top)]
    return folders


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            yield key.strip(), value.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
