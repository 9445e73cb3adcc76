"""Conversion of results to JSON values and back: `to_dict` and `from_dict`. Files of version 1 are converted to version 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

from vegrt.errors import FormatError
from vegrt.results.analysis import Curve, Robustness, Sensitivity
from vegrt.results.benchmark import Bench
from vegrt.results.common import OMITTED
from vegrt.results.evaluation import Evaluation
from vegrt.results.header import SCHEMA_VERSION
from vegrt.schema import build

AnyResult = Evaluation | Bench | Robustness | Sensitivity | Curve
R = TypeVar("R", bound=AnyResult)

_PLAIN = {str, int, float, bool, type(None)}


def to_dict(result: Any) -> dict[str, Any]:
    """Return a result, or a dataclass inside a result, as JSON values."""
    values: dict[str, Any] = _json(result)
    return values


def from_dict(kind: type[R], value: Any) -> R:
    """Return JSON values as a result. Raises FormatError for another schema or version, and for the first invalid value."""
    schema = f"vegrt-{kind.KIND}"
    if not isinstance(value, dict) or value.get("schema") != schema:
        content = value.get("schema", "no schema") if isinstance(value, dict) else "no object"
        raise FormatError(f"{content!s:.40}; expected {schema}")
    number = value.get("schema_version")
    if type(number) is not int or not 1 <= number <= SCHEMA_VERSION:
        raise FormatError(f"schema version {number!s:.20}; this vegrt reads 1 to {SCHEMA_VERSION}")
    return build(kind, _from_version_1(value) if number == 1 else value)


def fields_of(value: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name, to build a dataclass with additional fields."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _json(value: Any) -> Any:
    if is_dataclass(value):
        omitted = _omitted(value.__class__)
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: _json(inner) for name, inner in pairs if not (inner is None and name in omitted)}
    if isinstance(value, dict):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return list(value) if set(map(type, value)) <= _PLAIN else [_json(inner) for inner in value]
    return value


@cache
def _omitted(kind: type) -> frozenset[str]:
    """Return the names of the fields that are omitted if they are None."""
    hints = get_type_hints(kind, include_extras=True)
    return frozenset(name for name, hint in hints.items() if OMITTED in get_args(hint)[1:])


def _from_version_1(value: dict[str, Any]) -> dict[str, Any]:
    """Return a version-1 result as version 2: a gate has causes instead of a sentence."""
    rows = value.get("candidates")
    if value["schema"] != f"vegrt-{Evaluation.KIND}" or not isinstance(rows, list):
        return value
    return value | {"candidates": [_row(row) for row in rows]}


def _row(row: Any) -> Any:
    return _changed(_changed(row, "gate", _gate), "without_leaks", lambda figures: _changed(figures, "gate", _gate))


def _gate(gate: Any) -> Any:
    if not isinstance(gate, dict) or not isinstance(gate.get("reason"), str) or gate.get("verdict") == "REFERENCE":
        return gate
    return gate | {"causes": [{"kind": "text", "text": gate["reason"]}]}


def _changed(value: Any, key: str, change: Callable[[Any], Any]) -> Any:
    """Return an object with one value changed; return any other value unchanged, so that `build` reports it."""
    return value | {key: change(value[key])} if isinstance(value, dict) and key in value else value
