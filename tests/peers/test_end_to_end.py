"""The table of the comparison with other programs."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

PEERS = Path(__file__).parents[2] / "peers"


def load(name: str) -> ModuleType:
    """Return a program of peers/, which is no package."""
    spec = spec_from_file_location(f"peers_{name}", PEERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_medians_of_ratios_within_rounds() -> None:
    module = load("end_to_end")
    seconds = {"ours": [1.0, 2.0, 4.0], "plain": [3.0, 8.0, 4.0]}
    lines = {
        name: [{"name": name, "images": 8, "top1": 0.5, "seconds": value} for value in values]
        for name, values in seconds.items()
    }
    table = module.table(lines, {"ours": 16, "plain": 8}, lambda line: float(line["seconds"]))
    assert table.splitlines()[2:] == [
        "| ours | 16 | 2.00 (1.00 to 4.00) | 4.0 | 1.00 (1.00 to 1.00) | 50.00 |",
        "| plain | 8 | 4.00 (3.00 to 8.00) | 2.0 | 3.00 (1.00 to 4.00) | 50.00 |",
    ]
