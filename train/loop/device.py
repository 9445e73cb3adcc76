"""The device for training, and whether it computes in bfloat16."""

from __future__ import annotations

import re
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last one is ARM's


def pick_device() -> torch.device:
    """Return the first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16(device: torch.device) -> bool:
    """Return whether the device has instructions for bfloat16; emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(_BF16_FLAGS & _cpu_flags())


def precision(device: torch.device) -> torch.autocast:
    """Return a context that runs the network in bfloat16 if the device has it, else in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device))


def device_name(device: torch.device) -> str:
    """Return the name and precision of the device as text."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{name}, {'bfloat16' if has_bf16(device) else 'float32'}"


def _cpu_flags() -> set[str]:
    try:
        match = re.search(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # not Linux
        return set()
    return set(match.group(1).split()) if match else set()
