"""The table of export times, and the copies that are exported."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from vegrt.bundle.bundle import Bundle, open_bundle

PEERS = Path(__file__).parents[2] / "peers"


@pytest.fixture
def export_time(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the program, whose folder is no package."""
    monkeypatch.syspath_prepend(PEERS)
    return import_module("export_time")


def run(seconds: float, stages: dict[str, float]) -> dict[str, Any]:
    return {"seconds": seconds, "cpu_seconds": 2 * seconds, "peak_rss_mib": 100, "stages": stages}


def test_the_table_has_stages_and_ratios_within_rounds(export_time: Any) -> None:
    ours = [run(5.0, {"photos": 1.0, "total": 5.0}), run(20.0, {"photos": 3.0, "total": 20.0})]
    table = export_time.table({"this": ours, "other": [run(10.0, {}), run(40.0, {})]})
    assert table.splitlines() == [
        "| | this | other | ratio |",
        "|---|---:|---:|---:|",
        "| photos | 2.0 (1.0 to 3.0) |  |  |",
        "| seconds | 12.5 (5.0 to 20.0) | 25.0 (10.0 to 40.0) | 0.50 (0.50 to 0.50) |",
        "| cpu_seconds | 25.0 (10.0 to 40.0) | 50.0 (20.0 to 80.0) | 0.50 (0.50 to 0.50) |",
        "| peak_rss_mib | 100.0 (100.0 to 100.0) | 100.0 (100.0 to 100.0) | 1.00 (1.00 to 1.00) |",
    ]
    assert export_time.ratio_with_interval([1.0], [4.0]) == "0.25"
    interval = export_time.ratio_with_interval([1.0, 1.0, 1.0], [1.0, 2.0, 4.0])
    assert interval == "0.50 (0.09 to 2.80)"  # exp of ln 0.5 -+ 4.303 ln 2 / sqrt 3


def test_a_stopped_method_counts_with_its_own_photos(export_time: Any) -> None:
    rows = [{"stopped": {"images": 32, "reason": "flips"}}, {}, {"stopped": None}]
    assert export_time.judged({"tournament": rows, "judged_images": 256}) == 32 + 2 * 256


@pytest.mark.parametrize("exported", [True, False])
def test_a_copy_is_what_an_export_starts_from(
    export_time: Any, bundle: Bundle, trained: Bundle, tmp_path: Path, exported: bool
) -> None:
    export_time.copy_start((bundle if exported else trained).path, tmp_path)
    copy = open_bundle(tmp_path)
    assert [artifact.path for artifact in copy.manifest.artifacts] == ["weights.safetensors"]
    assert copy.manifest.calibration == {}
    assert copy.manifest.training == trained.manifest.training
