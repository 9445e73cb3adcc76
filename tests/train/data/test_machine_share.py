from __future__ import annotations

import pytest

from vegrt.machine import available_cores, available_memory_bytes
from vegrt.train.data.machine_share import share_of_cores, share_of_memory_bytes


def test_processes_of_one_training_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert share_of_cores() == available_cores()
    assert share_of_memory_bytes() == pytest.approx(
        available_memory_bytes() / 2, rel=0.2
    )  # others use memory meanwhile
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert share_of_cores() == max(1, available_cores() // 4)
    assert share_of_memory_bytes() == pytest.approx(available_memory_bytes() / 8, rel=0.2)
