from __future__ import annotations

from pathlib import Path

import pytest

from vegrt.machine import available_memory_bytes

MIB = 1 << 20
VERSION_2 = {
    "proc/self/cgroup": "0::/user.slice/job\n",
    "sys/fs/cgroup/user.slice/memory.max": f"{600 * MIB}\n",
    "sys/fs/cgroup/user.slice/memory.current": f"{450 * MIB}\n",
    "sys/fs/cgroup/user.slice/memory.stat": f"anon {100 * MIB}\ninactive_file {50 * MIB}\nactive_file {9 * MIB}\n",
    "sys/fs/cgroup/user.slice/job/memory.max": "max\n",
    "sys/fs/cgroup/user.slice/job/memory.current": f"{440 * MIB}\n",
}
VERSION_1 = {
    "proc/self/cgroup": "4:memory:/docker/1f\n",
    "sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes": f"{300 * MIB}\n",
    "sys/fs/cgroup/memory/docker/1f/memory.usage_in_bytes": f"{270 * MIB}\n",
    "sys/fs/cgroup/memory/docker/1f/memory.stat": f"cache {90 * MIB}\ntotal_inactive_file {10 * MIB}\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{900 * MIB}\n",
}
EXCEEDED = VERSION_2 | {"sys/fs/cgroup/user.slice/memory.max": f"{300 * MIB}\n"}


@pytest.mark.parametrize(
    ("files", "expected_mib"),
    [({}, 1000), (VERSION_2, 200), (VERSION_1, 40), (EXCEEDED, 0)],
    ids=["no cgroup", "version 2", "version 1", "exceeded"],
)
def test_available_memory_is_what_system_and_cgroups_leave(
    tmp_path: Path, files: dict[str, str], expected_mib: int
) -> None:
    meminfo = f"MemTotal:  {2000 * 1024} kB\nMemFree:  {10 * 1024} kB\nMemAvailable:  {1000 * 1024} kB\n"
    for name, text in (files | {"proc/meminfo": meminfo}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_memory_bytes(tmp_path) == expected_mib * MIB


def test_unknown_memory_is_zero_and_that_of_this_machine_is_not(tmp_path: Path) -> None:
    assert available_memory_bytes(tmp_path) == 0
    assert available_memory_bytes() > 0
