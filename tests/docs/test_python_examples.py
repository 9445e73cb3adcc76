"""The Python examples of the documentation run as they are shown, on a tiny network and few photos."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import SMALL
from vegrt.bundle.bundle import Bundle

PAGE = Path(__file__).parents[2] / "docs/python-api.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
ONE = 'runtime="onnxruntime"'
SHORTER = {  # of the same calls
    "engine=False": "engine=False, photos=16",
    'margin="auto"': f'margin="auto", {ONE}',
    "budget_s=5, batch=[1, 4]": f"budget_s=5, batch=[1], rounds=1, memory=False, limits=False, {ONE}",
    "max_error=5": f"max_error=5, {ONE}",
}


@pytest.fixture
def folder(bundle: Bundle, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples name: data, photos, a recipe and a bundle."""
    (tmp_path / "recipe.toml").write_text(SMALL.to_toml())
    shutil.copytree(photos, tmp_path / "data")
    shutil.copytree(bundle.path, tmp_path / "models/resnet18")
    (tmp_path / "photos").mkdir()
    shutil.copy(photos / "test/Beet/000.jpg", tmp_path / "photos/000.jpg")
    (tmp_path / "photos/broken.jpg").write_text("no photo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_examples() -> None:
    assert len(BLOCKS) == 2
    assert all(text in BLOCKS[0] for text in SHORTER)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs(number: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = BLOCKS[number]
    for shown, shorter in SHORTER.items():
        program = program.replace(shown, shorter)
    exec(compile(program, PAGE.name, "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    assert ("REFERENCE" in printed) == (number == 0)
    assert ("unreadable:" in printed) == (number == 1)
    assert (folder / "report.html").is_file() == (number == 0)
    results = (folder / "models/ours").glob("results/*.json")
    commands = [json.loads(file.read_text())["command"]["name"] for file in results]
    assert sorted(commands) == (["bench", "evaluate"] if number == 0 else [])
