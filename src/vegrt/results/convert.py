"""Conversion of results to JSON values and back: `to_dict` and `from_dict`. Sentences in earlier files become causes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, get_args

from vegrt.errors import FormatError
from vegrt.files.text import printable
from vegrt.results.analysis import Curve, Robustness, Sensitivity
from vegrt.results.benchmark import Bench
from vegrt.results.common import json_values
from vegrt.results.evaluation import Evaluation, NotRunCause
from vegrt.results.header import SCHEMA_VERSION
from vegrt.schema import build

AnyResult = Evaluation | Bench | Robustness | Sensitivity | Curve
R = TypeVar("R", bound=AnyResult)

_CAUSES = get_args(NotRunCause)


def to_dict(result: Any) -> dict[str, Any]:
    """Return a result, or a dataclass inside a result, as JSON values."""
    values: dict[str, Any] = json_values(result)
    return values


def from_dict(kind: type[R], value: Any) -> R:
    """Return JSON values as a result. Raises FormatError for another schema or version, and for the first invalid value."""
    schema = f"vegrt-{kind.KIND}"
    if not isinstance(value, dict) or value.get("schema") != schema:
        content = value.get("schema", "no schema") if isinstance(value, dict) else "no object"
        raise FormatError(f"{printable(str(content)):.40}; expected {schema}")
    number = value.get("schema_version")
    if type(number) is not int or not 1 <= number <= SCHEMA_VERSION:
        raise FormatError(f"schema version {printable(str(number)):.20}; this vegrt reads 1 to {SCHEMA_VERSION}")
    return build(kind, _current(value, number))


def fields_of(value: Any) -> dict[str, Any]:
    """Return a dataclass's fields by name, to build a dataclass with additional fields."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _current(value: dict[str, Any], version: int) -> dict[str, Any]:
    """Return a result with causes in place of the sentences that evaluations of earlier versions hold."""
    if value["schema"] != f"vegrt-{Evaluation.KIND}":
        return value
    changes: dict[str, Any] = {}
    if isinstance(missing := value.get("not_run"), list):
        changes["not_run"] = [_not_run(entry) for entry in missing]
    if version == 1 and isinstance(rows := value.get("candidates"), list):
        changes["candidates"] = [_row(row) for row in rows]
    return value | changes


def _not_run(entry: Any) -> Any:
    if not isinstance(entry, dict) or not isinstance(cause := entry.get("cause"), str) or cause in _CAUSES:
        return entry
    return entry | {"cause": "text", "detail": "; ".join(filter(None, (cause, str(entry.get("cure", "")))))}


def _row(row: Any) -> Any:
    return _changed(_changed(row, "gate", _gate), "without_leaks", lambda figures: _changed(figures, "gate", _gate))


def _gate(gate: Any) -> Any:
    if not isinstance(gate, dict) or not isinstance(gate.get("reason"), str) or gate.get("verdict") == "REFERENCE":
        return gate
    return gate | {"causes": [{"kind": "text", "text": gate["reason"]}]}


def _changed(value: Any, key: str, change: Callable[[Any], Any]) -> Any:
    """Return an object with one value changed; return any other value unchanged, so that `build` reports it."""
    return value | {key: change(value[key])} if isinstance(value, dict) and key in value else value
