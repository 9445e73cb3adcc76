"""The metadata header of a model card, as YAML that the Hugging Face Hub reads.

Strings are written as JSON strings, which YAML takes as they are, so that no class or file name can become markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vegrt.report.facts.facts import Facts
from vegrt.report.summary import RUNTIMES

_TASK = "image-classification"


def header(facts: Facts, *, license: str, dataset: str) -> str:
    """Return the header with its fences. license: as the Hub calls it. dataset: its name on the Hub, or empty."""
    fields: dict[str, Any] = {
        "license": license,
        "library_name": "onnx",
        "pipeline_tag": _TASK,
        "tags": list(_tags(facts)),
        **({"datasets": [dataset]} if dataset else {}),
        "metrics": ["accuracy"],
    }
    results = _results(facts, dataset)
    if results:
        fields["model-index"] = [{"name": facts.bundle.manifest.name, "results": results}]
    return "\n".join(["---", *_yaml(fields, ""), "---"])


def _tags(facts: Facts) -> Iterable[str]:
    """Return the tags, each once."""
    manifest = facts.bundle.manifest
    backbone = manifest.model.get("backbone")
    kinds = [*(["quantized", "int8"] if any(name.startswith("int8") for name in facts.bundle.variants()) else [])]
    kinds += ["tensorrt"] if facts.bundle.has("engine") else []
    return dict.fromkeys([_TASK, "onnx", "vegrt", *kinds, *([str(backbone)] if backbone else [])])


def _results(facts: Facts, dataset: str) -> list[dict[str, Any]]:
    """Return one result for the test photos, and one for those that did not leak, where that is known."""
    if not (evaluation := facts.evaluation):
        return []
    found = [_result(facts, dataset or "test photos", facts.evaluated())]
    clean = [row | row["without_leaks"] for row in facts.evaluated() if "without_leaks" in row]
    if clean and evaluation.get("leaked"):
        found.append(_result(facts, f"{dataset or 'test photos'} without near duplicates of train", clean))
    return found


def _result(facts: Facts, name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    assert facts.evaluation is not None
    metrics = [
        {
            "type": "accuracy",
            "value": round(float(row[figure]["value"]), 6),
            "name": f"{title}, {row['variant']} on {RUNTIMES.get(row['runtime'], row['runtime'])}",
        }
        for figure, title in (("top1", "Top-1 accuracy"), ("top3", "Top-3 accuracy"))
        for row in rows
    ]
    return {
        "task": {"type": _TASK, "name": "Image classification"},
        "dataset": {"name": name, "type": "imagefolder", "split": facts.evaluation["split"]},
        "metrics": metrics,
    }


def _yaml(value: Any, indent: str) -> Iterable[str]:
    """Yield a JSON value's lines of block YAML."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _entry(f"{name}:", inner, indent)
    else:
        for inner in value:
            yield from _item(inner, indent)


def _entry(name: str, value: Any, indent: str) -> Iterable[str]:
    if isinstance(value, Mapping | list):
        yield f"{indent}{name}"
        yield from _yaml(value, f"{indent}  ")
    else:
        yield f"{indent}{name} {json.dumps(value)}"


def _item(value: Any, indent: str) -> Iterable[str]:
    if not isinstance(value, Mapping | list):
        yield f"{indent}- {json.dumps(value)}"
        return
    first, *rest = _yaml(value, f"{indent}  ")
    yield f"{indent}- {first.lstrip()}"
    yield from rest
