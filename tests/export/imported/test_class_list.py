"""Lists of class names as other tools write them: all forms give the same names, and an index that is off by one is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vegrt.errors import DataError
from vegrt.export.imported.class_list import read_classes

NAMES = ("tench, Tinca tinca", "great white shark", "crane")
IDENTIFIERS = ("n01440764", "n01484850", "n02012849")
BY_INDEX = {str(index): name for index, name in enumerate(NAMES)}


def read(folder: Path, text: str, name: str = "classes.txt") -> tuple[str, ...]:
    (folder / name).write_text(text, encoding="utf-8")
    return read_classes(folder / name)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(NAMES),
        "\ufeff" + "\r\n".join(NAMES) + "\r\n\r\n",
        "".join(f"{index}: {name}\n" for index, name in enumerate(NAMES)),
        "2: crane\n0:tench, Tinca tinca\n1 :great white shark",
        json.dumps(NAMES),
        json.dumps(BY_INDEX),
        json.dumps(dict(reversed(BY_INDEX.items()))),
        json.dumps({name: index for index, name in enumerate(NAMES)}),
        json.dumps(dict(enumerate(zip(IDENTIFIERS, NAMES, strict=True)))),
        json.dumps({"model_type": "resnet", "id2label": BY_INDEX, "label2id": {}}),
        repr(dict(enumerate(NAMES))),
    ],
)
def test_every_form_gives_the_same_names(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, text) == NAMES


def test_two_classes_of_one_name_keep_their_identifiers(tmp_path: Path) -> None:
    pairs = {0: ("n02012849", "crane"), 1: ("n03126707", "crane"), 2: ("n01440764", "tench")}
    assert read(tmp_path, json.dumps(pairs)) == ("crane (n02012849)", "crane (n03126707)", "tench")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: a\n2: b\n3: c", "3 classes, but index 0 is missing.*expected each of 0 to 2 once"),
        ("0: a\n1: b\n1: c", "index 2 is missing, too large or there twice"),
        ('{"a": 1, "b": 2}', "index 0 is missing"),
        ('{"0": "a", "b": "c"}', "key 'b'; expected an object from index to name"),
        ('{"0": 1.5, "1": "b"}', "1.5; expected a class name, or"),
        ('{"0": ["x", "y", "z"], "1": "b"}', "expected a class name, or"),
        ('["a", "b"', "begins like JSON but is none"),
        ("[" * 100_000, "begins like JSON but is none"),
        ('["a", "a"]', "duplicate class a"),
        ("crane\ntench\ncrane", r"scores 0 and 2 have this name: give one another, such as crane \(2\)"),
        ('["a"]', r"1 class name\(s\)"),
        ("", r"0 class name\(s\)"),
    ],
)
def test_other_files_are_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_name_that_begins_with_a_number_is_a_name_where_others_do_not(tmp_path: Path) -> None:
    assert read(tmp_path, "7: the seventh\ncrane") == ("7: the seventh", "crane")


@given(st.text(max_size=200))
def test_any_text_is_names_or_our_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(DataError):
        assert len(read_classes(folder / "any.txt")) >= 2
