"""JSON from outside, checked where it enters: read within limits, then built as frozen dataclasses by their type hints.

A schema is a frozen dataclass. Its hints may be str, int, float, bool, None, Any, Literal, unions, tuple, list, dict and other
dataclasses; Annotated adds a Rule. Unknown keys are ignored, a field with a default may be absent, a bool is no number. What no
hint can say a `__post_init__` checks, and raises FormatError.
"""

from __future__ import annotations

import json
import math
import re
import stat
import types
from collections.abc import Callable, Hashable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from vegrt.errors import FormatError

MAX_BYTES = 64 << 20  # an evaluation of 100,000 photos in eight candidates has about 30 MB
MAX_DEPTH = 64  # ours have less than ten levels; what walks a value by recursion is safe below this
MAX_INTEGER = 2**63
_SHOWN = 40

T = TypeVar("T")
_Check = Callable[[Any], Any]  # returns what was built, or raises FormatError


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on a value of the right type, and how a message names what was expected."""

    fits: Callable[[Any], object]
    expected: str


def between(low: float, high: float) -> Rule:
    """Return the rule that a number is neither below `low` nor above `high`."""
    return Rule(lambda number: low <= number <= high, f"{low:g} to {high:g}")


def matching(pattern: str, expected: str) -> Rule:
    """Return the rule that the whole of a text matches a regular expression."""
    return Rule(re.compile(pattern, re.DOTALL).fullmatch, expected)


NOT_EMPTY = Rule(len, "something in it")
Count = Annotated[int, Rule(lambda number: number >= 0, "0 or more")]
Positive = Annotated[float, Rule(lambda number: number > 0, "more than 0")]
Share = Annotated[float, between(0, 1)]
Sha256 = Annotated[str, matching("[0-9a-f]{64}", "64 hexadecimal digits")]
Label = Annotated[str, matching(r"[^\x00-\x1f\x7f-\x9f]{0,500}", "at most 500 characters, none of them for control")]


def read_json(path: Path, *, limit_bytes: int = MAX_BYTES) -> Any:
    """Return the JSON value in a file, as `parse_json` does. Raises FormatError, and OSError as `read_bytes` does."""
    return parse_json(read_bytes(path, limit_bytes=limit_bytes))


def read_bytes(path: Path, *, limit_bytes: int = MAX_BYTES) -> bytes:
    """Return a file's content.

    Raises FormatError for what is no regular file or too large, FileNotFoundError and other OSErrors for one that cannot be read.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):  # a named pipe, opened, would wait for ever
        raise FormatError("not a regular file")
    if found.st_size > limit_bytes:
        raise FormatError(f"{found.st_size:,} bytes; expected at most {limit_bytes:,}")
    return path.read_bytes()


def parse_json(content: bytes, *, finite: bool = True) -> Any:
    """Return a JSON value. finite: whether NaN and Infinity are refused, which JSON lacks and Python writes.

    Raises FormatError for anything else than UTF-8 and JSON, for a key that is there twice, text that is no Unicode or has a NUL,
    integers of more than 64 bits, and values nested deeper than MAX_DEPTH.
    """
    try:
        value = json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_refused if finite else None
        )
    except RecursionError as error:
        raise FormatError(f"nested more than {MAX_DEPTH} deep") from error
    except ValueError as error:  # also of UTF-8, and of numbers with thousands of digits
        raise FormatError(f"not JSON ({str(error).splitlines()[0]:.120})") from error
    _check_tree(value, finite=finite)
    return value


def build(kind: type[T], value: Any) -> T:
    """Return a JSON value as the dataclass `kind`. Raises FormatError, which names the place of the first wrong value."""
    try:
        result: T = _checker(cast(Hashable, kind))(value)
    except FormatError as error:
        raise FormatError(error.reason, error.place or "its content") from error
    return result


def _refused(name: str) -> NoReturn:
    raise FormatError(f"{name} in it, which is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise FormatError(
            f"the key {_shown(next(name for name in names if names.count(name) > 1))} twice in one object"
        )
    return found


def _check_tree(value: Any, *, finite: bool) -> None:
    """Check every level of a value; long lists of numbers, which most of a result is, at C's speed."""
    level = [[value]]
    for _ in range(MAX_DEPTH):
        below: list[list[Any]] = []
        for values in level:
            kinds = set(map(type, values))
            if str in kinds:
                _check_texts([one for one in values if type(one) is str])
            if kinds & {int, float}:
                _check_numbers([one for one in values if type(one) in (int, float)], finite=finite)
            if dict in kinds or list in kinds:
                for one in values:
                    if type(one) is dict:
                        _check_texts(list(one))
                        below.append(list(one.values()))
                    elif type(one) is list:
                        below.append(one)
        if not below:
            return
        level = below
    raise FormatError(f"nested more than {MAX_DEPTH} deep")


def _check_texts(texts: list[str]) -> None:
    joined = "".join(texts)
    if "\0" in joined:
        raise FormatError(f"a text with a NUL: {_shown(next(one for one in texts if chr(0) in one))}")
    try:
        joined.encode()
    except UnicodeEncodeError as error:
        raise FormatError(
            f"a text that is no Unicode, with half a surrogate pair: {_shown(joined[error.start :])}"
        ) from error


def _check_numbers(numbers: list[Any], *, finite: bool) -> None:
    # before isfinite, which converts: no float is as large as 10**400
    if (largest := max(map(abs, (one for one in numbers if type(one) is int)), default=0)) > MAX_INTEGER:
        raise FormatError(f"an integer of {largest.bit_length()} bits; expected at most 64")
    if finite and not all(map(math.isfinite, numbers)):
        raise FormatError("a number beyond the range of a float")


@cache
def _checker(kind: Hashable) -> _Check:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _ruled(_checker(arguments[0]), arguments[1:])
    if origin is Literal:
        return _ruled(
            lambda value: value, (Rule(lambda value: type(value) is str and value in arguments, _listed(arguments)),)
        )
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin in (tuple, list):
        return _sequence(origin, arguments)
    if origin is dict:
        return _mapping(_checker(arguments[1]))
    if is_dataclass(kind):
        return _object(kind)
    return _PLAIN[kind]


def _plain(accepted: tuple[type, ...], expected: str, convert: Callable[[Any], Any] | None = None) -> _Check:
    def check(value: Any) -> Any:
        if type(value) not in accepted:
            raise _wrong(value, expected)
        return convert(value) if convert else value

    return check


_PLAIN: dict[Any, _Check] = {
    Any: lambda value: value,
    str: _plain((str,), "a text"),
    int: _plain((int,), "a whole number"),
    float: _plain((int, float), "a number", float),
    bool: _plain((bool,), "true or false"),
    type(None): _plain((type(None),), "null"),
}
_ACCEPTED: dict[Any, set[type]] = {int: {int}, str: {str}, float: {int, float}, bool: {bool}, type(None): {type(None)}}


def _ruled(check: _Check, rules: tuple[Any, ...]) -> _Check:
    def checked(value: Any) -> Any:
        result = check(value)
        for rule in rules:
            if not rule.fits(result):
                raise _wrong(value, rule.expected)
        return result

    return checked


def _union(arguments: tuple[Any, ...]) -> _Check:
    checks = [_checker(one) for one in arguments if one is not type(None)]
    nullable = len(checks) < len(arguments)

    def check(value: Any) -> Any:
        if value is None and nullable:
            return None
        errors = []
        for one in checks:
            try:
                return one(value)
            except FormatError as error:
                errors.append(error)
        raise max(errors, key=lambda error: len(error.place))  # the one that came furthest

    return check


def _sequence(origin: type, arguments: tuple[Any, ...]) -> _Check:
    if origin is tuple and arguments[-1] is not Ellipsis:
        return _fixed([_checker(one) for one in arguments])
    one, fast = _checker(arguments[0]), _accepted(arguments[0])

    def check(value: Any) -> Any:
        if type(value) is not list:
            raise _wrong(value, "a list")
        if fast and set(map(type, value)) <= fast:
            return origin(value)
        return origin(_within(f"[{index}]", one, item) for index, item in enumerate(value))

    return check


def _accepted(kind: Any) -> set[type]:
    """Return the types of a value that needs no more checks, to look at a long list at once; none where there is more."""
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return set().union(*(_ACCEPTED[part] for part in parts)) if all(part in _ACCEPTED for part in parts) else set()


def _fixed(checks: list[_Check]) -> _Check:
    def check(value: Any) -> Any:
        if type(value) is not list or len(value) != len(checks):
            raise _wrong(value, f"a list of {len(checks)}")
        return tuple(_within(f"[{index}]", *pair) for index, pair in enumerate(zip(checks, value, strict=True)))

    return check


def _mapping(check_value: _Check) -> _Check:
    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise _wrong(value, "an object")
        return {key: _within(key, check_value, inner) for key, inner in value.items()}

    return check


def _object(kind: Any) -> _Check:
    hints = get_type_hints(kind, include_extras=True)
    known = [one for one in fields(kind) if one.init]
    checks = {one.name: _checker(hints[one.name]) for one in known}
    required = [one.name for one in known if one.default is MISSING and one.default_factory is MISSING]

    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise _wrong(value, "an object")
        if missing := [name for name in required if name not in value]:
            raise FormatError("is missing", missing[0])
        return kind(**{name: _within(name, one, value[name]) for name, one in checks.items() if name in value})

    return check


def _within(key: str, check: _Check, value: Any) -> Any:
    try:
        return check(value)
    except FormatError as error:
        inner = error.place
        name = key if re.fullmatch(r"[\w./-]{1,80}|\[\d+\]", key) else f"[{_shown(key)}]"
        raise FormatError(error.reason, f"{name}{'.' if inner and inner[0] != '[' else ''}{inner}") from error


def _wrong(value: Any, expected: str) -> FormatError:
    return FormatError(f"is {_shown(value)}; expected {expected}")


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    text = json.dumps(value) if value is None or isinstance(value, bool) else ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _listed(choices: tuple[Any, ...]) -> str:
    return f"one of {', '.join(map(str, choices))}"
