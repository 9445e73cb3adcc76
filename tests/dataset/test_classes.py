"""Names that no class may have, wherever they enter: folders, CSV, the manifest, a classes file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.entries import MANIFEST
from vegrt.bundle.manifest import Manifest
from vegrt.cli import app
from vegrt.dataset.classes import class_fault, classes_fault, listed_classes
from vegrt.dataset.listing import read_listing
from vegrt.dataset.photos import read_split
from vegrt.errors import BundleError, DataError
from vegrt.export.imported.class_list import read_classes
from vegrt.photo.contract import Contract

BAD = ("", "  ", "\x1b[31mred", "a\nb", "a\x7f", "a\x85b", "a\u2028b", "\ud800", "B\udce9an", "\u202etxt", "a" * 256)


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_an_unsafe_name_is_refused_and_shown_escaped(name: str) -> None:
    assert class_fault(name)
    assert classes_fault(["Bean", name]).isprintable()


@pytest.mark.parametrize(
    "name", ["Bean", "été", "당근", "می‌خواهم", "a b/c", "<b>&'\"", "=1+1", "👩‍🌾", "a" * 255, "\u3000x"]
)
def test_names_of_all_scripts_are_names(name: str) -> None:
    assert not class_fault(name)


def test_two_names_that_look_the_same_are_refused() -> None:
    assert classes_fault(["b", "b"]) == "duplicate class b"
    assert "look the same" in classes_fault(["caf\u00e9", "cafe\u0301"])
    assert "at least 2" in classes_fault(["only"])
    assert not classes_fault(["a", "A"])


def test_many_names_are_listed_in_one_line() -> None:
    assert listed_classes(["Bean", "Leek"]) == "Bean, Leek"
    assert listed_classes(["great white shark, white shark", "tench"]) == "great white shark, white shark; tench"
    assert listed_classes([f"n{number:08d}" for number in range(1000)], 2) == "n00000000, n00000001 and 998 more"


def folders(root: Path, *names: bytes) -> Path:
    for split in (b"train", b"validation", b"test"):
        for name in names:
            folder = os.path.join(os.fsencode(root), split, name)  # noqa: PTH118 (pathlib takes no bytes)
            os.makedirs(folder)  # noqa: PTH103
            for number in range(2):
                Image.new("RGB", (8, 8), (number, 9, 9)).save(Path(os.fsdecode(folder)) / f"{number}.png")
    return root


@pytest.mark.parametrize("name", [b"B\xe9an", b"\x1b[31mred", b"a\nb", b" "])
def test_folders_of_another_file_system_cost_one_line_everywhere(
    tmp_path: Path, name: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folders(tmp_path / "data", b"Beet", name)
    with pytest.raises(DataError, match=r"a class name with.*; rename it"):
        read_split(data, "train")
    for words in (
        ["data", "audit", str(data), "-o", str(tmp_path / "audit")],
        ["data", "split", str(data), "-o", str(tmp_path / "list.csv")],
        [
            "train",
            "--data",
            str(data),
            "--out",
            str(tmp_path / "out"),
            "--weights",
            "none",
            "--runs",
            str(tmp_path / "r.db"),
        ],
    ):
        with pytest.raises(SystemExit) as stopped:
            app(words)
        assert stopped.value.code == 1
        message = capsys.readouterr().err
        assert "rename it" in message
        assert len(message.splitlines()) == 1


def test_a_csv_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path,class,split\na.jpg,Beet,test\nb.jpg,\x1b[31mred,test\n")
    with pytest.raises(DataError, match=r"line 3: a class name with a control character: '\\x1b\[31mred'; rename it"):
        read_listing(tmp_path / "list.csv")
    for content, message in (
        (b"path,class,split\na\x00b.jpg,Beet,test\n", "line 2: 'a\\\\x00b.jpg' is not a valid path"),
        (b"path,class,split,path\na.jpg,Beet,test,b.jpg\n", "duplicate column path"),
        (b"path,class,split\n%s.jpg,Beet,test\n" % (b"a" * 5000), "line 2: .* is not a valid path"),
    ):
        (tmp_path / "list.csv").write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_listing(tmp_path / "list.csv")


@pytest.mark.parametrize(
    "content", ["Beet\n\x1b[31mred\n", "Beet\nBeet\n", "Beet\n", "Beet\n" + "a" * 300, "caf\u00e9\ncafe\u0301\n"]
)
def test_a_file_of_classes_follows_the_rule(tmp_path: Path, content: str) -> None:
    (tmp_path / "classes.txt").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"classes\.txt: .*; expected every name once, in the order of the scores"):
        read_classes(tmp_path / "classes.txt")


@pytest.fixture
def small(tmp_path: Path) -> Bundle:
    with changing(tmp_path / "small") as staging:
        staging.file("weights.safetensors").write_bytes(b"weights")
        staging.add("weights.safetensors", "weights")
        staging.finish(Manifest("small", ("a", "b"), Contract(), {}))
    return open_bundle(tmp_path / "small")


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_an_old_bundle_with_such_a_name_is_refused_in_one_line(small: Bundle, name: str) -> None:
    file = small.path / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | {"classes": ["a", name]}))
    with pytest.raises(BundleError, match=r"manifest\.json: damaged manifest \(") as refused:
        open_bundle(small.path)
    assert str(refused.value).isprintable()
