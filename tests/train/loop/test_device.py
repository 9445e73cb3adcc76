"""The number format follows the processor; the settings for GPUs leave a CPU's alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vegrt.train.loop import device
from vegrt.train.loop.device import device_name, number_format, precision, storage_device, tuned_cudnn

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : avx2 avx512_bf16", torch.bfloat16),
        ("Features : asimd bf16", torch.bfloat16),
        ("flags : avx2", torch.float32),
    ],
)
def test_a_cpu_computes_in_bfloat16_only_with_its_instructions(
    flags: str, expected: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"{flags}\n")
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")
    assert number_format(CPU) == expected
    assert device_name(CPU).endswith(f", {expected}".replace("torch.", ""))
    with precision(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_number_format_can_be_asked_for(dtype: torch.dtype) -> None:
    with precision(CPU, dtype):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_on_a_cpu_nothing_is_moved_and_no_setting_changes() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    with tuned_cudnn(CPU, exact=True):
        assert (cudnn.benchmark, cudnn.allow_tf32) == before
    assert storage_device(1 << 60, CPU) == CPU


def test_settings_of_cudnn_end_with_the_training() -> None:
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    with tuned_cudnn(torch.device("cuda"), exact=False):
        assert (cudnn.benchmark, cudnn.allow_tf32) == (True, before[1])

    def interrupted() -> None:
        with tuned_cudnn(torch.device("cuda"), exact=True):
            assert (cudnn.benchmark, cudnn.allow_tf32) == (True, False)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (cudnn.benchmark, cudnn.allow_tf32) == before
