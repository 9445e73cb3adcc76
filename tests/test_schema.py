"""What enters as JSON, by the kinds of what is wrong with it: syntax, depth, size, types, ranges, counts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from vegrt.errors import FormatError
from vegrt.schema import MAX_DEPTH, NOT_EMPTY, Count, Label, Positive, Sha256, Share, build, parse_json, read_json


@dataclass(frozen=True)
class Inner:
    value: Share
    note: Label | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["one", "two"]
    counts: tuple[int, ...] = ()
    samples: tuple[float | None, ...] = ()
    pair: tuple[float, float] = (0.0, 1.0)
    by_name: dict[str, Inner] = field(default_factory=dict)
    listed: Annotated[tuple[Inner, ...], NOT_EMPTY] = (Inner(1.0),)
    either: Inner | float = 0.0
    size: Count = 0
    scale: Positive = 1.0
    digest: Sha256 = "0" * 64
    sure: bool = False


GOOD: dict[str, Any] = {
    "name": "n",
    "kind": "two",
    "counts": [1, 2],
    "samples": [1.5, None, 2],
    "by_name": {"a/b": {"value": 1, "note": None, "more": 3}},
    "either": {"value": 0.5},
    "unknown": [{}],
}


def test_a_value_is_built_with_its_types_and_defaults() -> None:
    outer = build(Outer, GOOD)
    assert outer.by_name == {"a/b": Inner(1.0)}
    assert outer.either == Inner(0.5)
    assert outer.samples == (1.5, None, 2)
    assert (outer.pair, outer.listed) == ((0.0, 1.0), (Inner(1.0),))
    assert isinstance(outer.by_name["a/b"].value, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "name is 1; expected a string"),
        ({"name": None}, "name is null; expected a string"),
        ({"kind": "three"}, "kind is 'three'; expected one of one, two"),
        ({"kind": ["one"]}, "kind is a list of 1; expected one of one, two"),
        ({"counts": [1, "2"]}, r"counts\[1\] is '2'; expected a whole number"),
        ({"counts": [True]}, r"counts\[0\] is true; expected a whole number"),
        ({"counts": {}}, "counts is an object; expected a list"),
        ({"samples": ["fast"]}, r"samples\[0\] is 'fast'; expected a number"),
        ({"pair": [1]}, "pair is a list of 1; expected a list of 2"),
        ({"by_name": {"a/b": {"value": 2}}}, r"by_name\.a/b\.value is 2; expected 0 to 1"),
        ({"by_name": {"\n": {"value": 2}}}, r"by_name\['\\n'\]\.value is 2"),
        ({"by_name": {"x": {}}}, r"by_name\.x\.value is missing"),
        ({"by_name": []}, "by_name is a list of 0; expected an object"),
        ({"listed": []}, "listed is a list of 0; expected at least one entry"),
        ({"listed": [{"value": 0.5, "note": "\x1b["}]}, r"listed\[0\]\.note is '\\x1b\['; expected at most 500"),
        ({"either": {"value": "x"}}, r"either\.value is 'x'; expected a number"),
        ({"size": -1}, "size is -1; expected 0 or more"),
        ({"size": 1.0}, r"size is 1\.0; expected a whole number"),
        ({"scale": 0}, "scale is 0; expected more than 0"),
        ({"scale": False}, "scale is false; expected a number"),
        ({"digest": "0" * 63}, "digest is .*; expected 64 hexadecimal digits"),
        ({"sure": 1}, "sure is 1; expected true or false"),
    ],
)
def test_a_wrong_value_is_named_by_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        build(Outer, GOOD | change)


def test_what_is_missing_or_something_else_is_named() -> None:
    with pytest.raises(FormatError, match=r"^name is missing$"):
        build(Outer, {})
    with pytest.raises(FormatError, match=r"^its content is a list of 0; expected an object$"):
        build(Outer, [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, f"nested more than {MAX_DEPTH} levels deep"),
        (b"[" * 500 + b"]" * 500, f"nested more than {MAX_DEPTH} levels deep"),
        (b'{"a": ' * 80 + b"1" + b"}" * 80, f"nested more than {MAX_DEPTH} levels deep"),
        (b'{"a": 1, "b": [{"c": 1, "c": 2}]}', "duplicate key 'c' in one object"),
        (b"1" + b"0" * 400, "integer of 1329 bits"),
        (b"[9223372036854775809]", "integer of 64 bits"),
        (b"9" * 5000, "not JSON"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not a JSON number"),
        (b"[1e999]", "out of the range of a float"),
        (b'["\\ud800"]', r"unpaired surrogate: '\\ud800'"),
        (b'{"\\udc80": 1}', "unpaired surrogate"),
        (b'["a\\u0000b"]', "string with a NUL character"),
    ],
)
def test_what_is_no_plain_json_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_json(content)


def test_what_is_plain_json_is_not() -> None:
    content = '\ufeff{"é": [1, 2.5, true, null, "\\ud83d\\ude00", -9223372036854775808, 1e-320]}'.encode()
    assert parse_json(content) == {"é": [1, 2.5, True, None, "😀", -(2**63), 1e-320]}
    assert parse_json(b"[Infinity, 1e999]", finite=False) == [float("inf")] * 2
    deep = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert parse_json(deep)


def test_only_regular_files_of_a_reasonable_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "large.json").write_bytes(b"[%s]" % (b" " * 100))
    with pytest.raises(FormatError, match="102 bytes; expected at most 50"):
        read_json(tmp_path / "large.json", limit_bytes=50)
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", tmp_path):
        with pytest.raises(FormatError, match="not a regular file"):
            read_json(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
