"""The device for training: its number format, its settings and its free memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last one is ARM's
_TENSOR_CORES = (7, 0)  # compute capability; older GPUs compute in float16 no faster than in float32


def pick_device() -> torch.device:
    """Return the first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def number_format(device: torch.device) -> torch.dtype:
    """Return the type for convolutions and products: bfloat16 where the device has it, float16 on older GPUs, else float32."""
    if has_bf16(device):
        return torch.bfloat16
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TENSOR_CORES:
        return torch.float16
    return torch.float32


def has_bf16(device: torch.device) -> bool:
    """Return whether the device has instructions for bfloat16; emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(_BF16_FLAGS & _cpu_flags())


def precision(device: torch.device, dtype: torch.dtype | None = None) -> torch.autocast:
    """Return a context that runs a network in `dtype`; without it, in the number format of the device."""
    dtype = dtype or number_format(device)
    is_reduced = dtype is not torch.float32
    return torch.autocast(device.type, dtype if is_reduced else torch.bfloat16, enabled=is_reduced)


def device_name(device: torch.device) -> str:
    """Return the name and number format of the device as text."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{name}, {str(number_format(device)).removeprefix('torch.')}"


def storage_device(size_bytes: int, device: torch.device) -> torch.device:
    """Return where to hold tensors of this size during a phase: on the device if they fit into half of its free memory."""
    if device.type != "cuda":
        return device
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return device if size_bytes <= free_bytes // 2 else torch.device("cpu")


@contextmanager
def tuned_cudnn(device: torch.device, *, exact: bool) -> Iterator[None]:
    """Let cuDNN time its algorithms inside the block, because all batches have one size. Changes nothing on a CPU.

    exact: without TF32, which rounds the inputs of float32 convolutions to 11 bits. Equal weights in every run are not asked of a
    GPU: docs/decisions/0025-equal-weights-on-cpus.md.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    benchmark, allow_tf32 = cudnn.benchmark, cudnn.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32 = True, allow_tf32 and not exact
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32 = benchmark, allow_tf32


def _cpu_flags() -> set[str]:
    try:
        match = re.search(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # not Linux
        return set()
    return set(match.group(1).split()) if match else set()
