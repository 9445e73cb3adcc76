"""The documentation site builds without a warning, loads nothing from a network, and has every page in its navigation."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vegrt

ROOT = Path(__file__).parents[2]
pytest.importorskip("sphinx", reason="needs pip install '.[docs]'")


def build(pages: Path, out: Path, builder: str) -> subprocess.CompletedProcess[str]:
    """Build the pages in a folder with a builder of Sphinx; a warning makes the exit code 1."""
    words = ["-W", "--keep-going", "-q", "-b", builder, "-d", str(out / "doctrees"), str(pages), str(out / builder)]
    return subprocess.run([sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, check=False)


def test_all_pages_are_read_without_a_warning(tmp_path: Path) -> None:
    """Links to pages and headings that do not exist are warnings, and so are pages outside the navigation."""
    done = build(ROOT / "docs", tmp_path, "dummy")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of two pages with the settings, templates and style sheets of the whole; one link of it is broken."""
    pages, out = tmp_path_factory.mktemp("pages"), tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "docs/conf.py", pages)
    shutil.copytree(ROOT / "docs/_static", pages / "_static")
    (pages / "index.md").write_text(
        "# Zucchini\n\n[gone](gone.md) [here](more.md#here) [not](more.md#not)\n\n```{toctree}\nmore\n```\n"
    )
    (pages / "more.md").write_text("# More\n\n## Here\n\n    vegrt doctor\n")
    done = build(pages, out, "html")
    assert done.returncode == 1
    (out / "warnings").write_text(done.stderr)
    return out


def test_a_broken_link_is_an_error(site: Path) -> None:
    warnings = (site / "warnings").read_text().splitlines()
    assert [re.search(r"gone\.md|'not'", line) is not None for line in warnings] == [True, True]


def test_a_page_loads_nothing_from_a_network(site: Path) -> None:
    loaded = re.compile(r"""(?:src|href)=["']?(?:https?:)?//[^"'>]+|@import|url\(["']?(?:https?:)?//|fetch\(["']http""")
    for page in (site / "html/index.html", site / "html/search.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text(encoding="utf-8")):
            assert not loaded.search(tag), (page, tag)
    for sheet in (site / "html/_static").rglob("*.css"):
        assert not loaded.search(sheet.read_text(encoding="utf-8")), sheet


def test_the_api_reference_documents_every_public_function() -> None:
    page = (ROOT / "docs/api-reference.md").read_text(encoding="utf-8")
    functions = [name for name in vegrt.__all__ if name.islower() and not name.startswith("_")]
    assert len(functions) > 8
    assert [name for name in functions if f"## vegrt.{name}\n" not in page] == []


def test_the_search_index_is_a_script(site: Path) -> None:
    """A browser loads it from a file too, where it refuses to fetch JSON."""
    index = (site / "html/searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    assert "zucchini" in index
