"""Validates untrusted JSON: reads it within limits, then builds frozen dataclasses from it by their type hints.

A schema is a frozen dataclass. Its hints may be str, int, float, bool, None, Any, Literal, unions, tuple, list, dict and other
dataclasses; Annotated adds a Rule. Unknown keys are ignored, a field with a default may be absent, a bool is not a number.
Conditions that no hint can express are checked in `__post_init__`, which raises FormatError.
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

from vegrt.errors import FormatError, reason_of

MAX_BYTES = 64 << 20  # an evaluation of eight candidates on 100,000 photos has about 30 MB
MAX_DEPTH = 64  # files of vegrt have fewer than ten levels; recursive functions are safe up to this depth
MAX_INTEGER = 2**63
_SHOWN = 40

T = TypeVar("T")
_Check = Callable[[Any], Any]  # returns the built value, or raises FormatError


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on a value of the right type. expected: the condition, as text for the message."""

    fits: Callable[[Any], object]
    expected: str


def between(low: float, high: float) -> Rule:
    """Return the rule that a number is neither below `low` nor above `high`."""
    return Rule(lambda number: low <= number <= high, f"{low:g} to {high:g}")


def matching(pattern: str, expected: str) -> Rule:
    """Return the rule that the whole of a text matches a regular expression."""
    return Rule(re.compile(pattern, re.DOTALL).fullmatch, expected)


NOT_EMPTY = Rule(len, "at least one entry")
Count = Annotated[int, Rule(lambda number: number >= 0, "0 or more")]
Positive = Annotated[float, Rule(lambda number: number > 0, "more than 0")]
Share = Annotated[float, between(0, 1)]
Sha256 = Annotated[str, matching("[0-9a-f]{64}", "64 hexadecimal digits")]
Label = Annotated[str, matching(r"[^\x00-\x1f\x7f-\x9f]{0,500}", "at most 500 characters, without control characters")]


def read_json(path: Path, *, limit_bytes: int = MAX_BYTES) -> Any:
    """Return the JSON value in a file, as `parse_json` does. Raises FormatError, and OSError as `read_bytes` does."""
    return parse_json(read_bytes(path, limit_bytes=limit_bytes))


def read_bytes(path: Path, *, limit_bytes: int = MAX_BYTES) -> bytes:
    """Return a file's content.

    Raises FormatError for a file that is not regular or is too large, and OSError for one that is missing or cannot be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a named pipe would block forever
        raise FormatError("not a regular file")
    if status.st_size > limit_bytes:
        raise FormatError(f"{status.st_size:,} bytes; expected at most {limit_bytes:,}")
    return path.read_bytes()


def parse_json(content: bytes, *, finite: bool = True) -> Any:
    """Return a JSON value. finite: refuse NaN and Infinity, which Python writes although JSON does not have them.

    Raises FormatError for content that is not UTF-8 or not JSON, duplicate keys, strings with a NUL character or an unpaired
    surrogate, integers of more than 64 bits, and values nested deeper than MAX_DEPTH.
    """
    try:
        value = json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_refused if finite else None
        )
    except RecursionError as error:
        raise FormatError(f"nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:  # also of UTF-8, and of numbers with thousands of digits
        raise FormatError(f"not JSON ({reason_of(error):.120})") from error
    _check_tree(value, finite=finite)
    return value


def build(kind: type[T], value: Any) -> T:
    """Return a JSON value as the dataclass `kind`. Raises a FormatError that names the place of the first wrong value."""
    try:
        result: T = _checker(cast(Hashable, kind))(value)
    except FormatError as error:
        raise FormatError(error.reason, error.place or "its content") from error
    return result


def build_document(kind: type[T], value: Any, schema: str, *versions: int) -> T:
    """Return a JSON object that names its schema and one of the versions as `kind`. Raises FormatError for another one."""
    if not isinstance(value, dict) or value.get("schema") != schema:
        raise FormatError(f"is not {schema}", "schema")
    version = value.get("schema_version")
    if type(version) is not int or version not in versions:
        raise FormatError(f"is {version!a:.20}; expected {' or '.join(map(str, versions))}", "schema_version")
    return build(kind, value)


def _refused(name: str) -> NoReturn:
    raise FormatError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        raise FormatError(
            f"duplicate key {_shown(next(name for name in names if names.count(name) > 1))} in one object"
        )
    return value


def _check_tree(value: Any, *, finite: bool) -> None:
    """Check a value level by level, so that long lists of numbers, the bulk of a result, are checked by built-in functions."""
    level = [[value]]
    for _ in range(MAX_DEPTH):
        below: list[list[Any]] = []
        for values in level:
            kinds = set(map(type, values))
            if str in kinds:
                _check_texts([text for text in values if type(text) is str])
            if kinds & {int, float}:
                _check_numbers([number for number in values if type(number) in (int, float)], finite=finite)
            if dict in kinds or list in kinds:
                for child in values:
                    if type(child) is dict:
                        _check_texts(list(child))
                        below.append(list(child.values()))
                    elif type(child) is list:
                        below.append(child)
        if not below:
            return
        level = below
    raise FormatError(f"nested more than {MAX_DEPTH} levels deep")


def _check_texts(texts: list[str]) -> None:
    joined = "".join(texts)
    if "\0" in joined:
        raise FormatError(f"string with a NUL character: {_shown(next(text for text in texts if chr(0) in text))}")
    try:
        joined.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"string with an unpaired surrogate: {_shown(joined[error.start :])}") from error


def _check_numbers(numbers: list[Any], *, finite: bool) -> None:
    # before isfinite, which converts to float and cannot convert 10**400
    if (largest := max(map(abs, (number for number in numbers if type(number) is int)), default=0)) > MAX_INTEGER:
        raise FormatError(f"integer of {largest.bit_length()} bits; expected at most 64")
    if finite and not all(map(math.isfinite, numbers)):
        raise FormatError("number out of the range of a float")


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
    str: _plain((str,), "a string"),
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
    checks = [_checker(argument) for argument in arguments if argument is not type(None)]
    nullable = len(checks) < len(arguments)

    def check(value: Any) -> Any:
        if value is None and nullable:
            return None
        errors = []
        for check_option in checks:
            try:
                return check_option(value)
            except FormatError as error:
                errors.append(error)
        raise max(errors, key=lambda error: len(error.place))  # that of the option that matched furthest

    return check


def _sequence(origin: type, arguments: tuple[Any, ...]) -> _Check:
    if origin is tuple and arguments[-1] is not Ellipsis:
        return _fixed([_checker(argument) for argument in arguments])
    check_item, fast = _checker(arguments[0]), _accepted(arguments[0])

    def check(value: Any) -> Any:
        if type(value) is not list:
            raise _wrong(value, "a list")
        if fast and set(map(type, value)) <= fast:
            return origin(value)
        return origin(_within(f"[{index}]", check_item, item) for index, item in enumerate(value))

    return check


def _accepted(kind: Any) -> set[type]:
    """Return the types whose values need no further check, so that a long list is checked in one step; none if others do."""
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
    known = [field for field in fields(kind) if field.init]
    checks = {field.name: _checker(hints[field.name]) for field in known}
    required = [field.name for field in known if field.default is MISSING and field.default_factory is MISSING]

    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise _wrong(value, "an object")
        if missing := [name for name in required if name not in value]:
            raise FormatError("is missing", missing[0])
        return kind(**{name: _within(name, check, value[name]) for name, check in checks.items() if name in value})

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
