"""The metadata header of a model card, as YAML that the Hugging Face Hub reads.

Strings are written as JSON strings, which are valid YAML, so that a class or file name cannot become markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vegrt.report.facts.facts import Facts
from vegrt.report.summary import RUNTIMES
from vegrt.results.common import Interval
from vegrt.results.evaluation import CandidateResult, Figures

_TASK = "image-classification"


def card_header(facts: Facts, *, license: str, dataset: str) -> str:
    """Return the header with its fences. license, dataset: their identifiers on the Hub; dataset may be empty."""
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
    """Return the tags, without duplicates."""
    manifest = facts.bundle.manifest
    backbone = manifest.model.get("backbone")
    kinds = [*(["quantized", "int8"] if any(name.startswith("int8") for name in facts.bundle.variants()) else [])]
    kinds += ["tensorrt"] if facts.bundle.has("engine") else []
    return dict.fromkeys([_TASK, "onnx", "vegrt", *kinds, *([str(backbone)] if backbone else [])])


def _results(facts: Facts, dataset: str) -> list[dict[str, Any]]:
    """Return one result for all test photos, and one without the leaked ones, if they are known."""
    if not (evaluation := facts.evaluation):
        return []
    name = dataset or "test photos"
    rows = [row for row in evaluation.candidates if not row.is_answers]
    results = [_result(evaluation.split, name, [(row, row) for row in rows])]
    clean = [(row, row.without_leaks) for row in rows if row.without_leaks]
    if clean and evaluation.leaked:
        results.append(_result(evaluation.split, f"{name} without near duplicates of train", clean))
    return results


def _result(split: str, name: str, rows: Sequence[tuple[CandidateResult, Figures]]) -> dict[str, Any]:
    """Return one entry of the model-index. rows: candidates with their figures on these photos."""
    top1 = [_accuracy("Top-1 accuracy", candidate, figures.top1) for candidate, figures in rows]
    top3 = [_accuracy("Top-3 accuracy", candidate, figures.top3) for candidate, figures in rows if figures.top3]
    top5 = [_accuracy("Top-5 accuracy", candidate, figures.top5) for candidate, figures in rows if figures.top5]
    return {
        "task": {"type": _TASK, "name": "Image classification"},
        "dataset": {"name": name, "type": "imagefolder", "split": split},
        "metrics": top1 + top3 + top5,
    }


def _accuracy(title: str, candidate: CandidateResult, accuracy: Interval) -> dict[str, Any]:
    runtime = RUNTIMES.get(candidate.runtime, candidate.runtime)
    name = f"{title}, {candidate.variant} on {runtime}"
    return {"type": "accuracy", "value": round(float(accuracy.value), 6), "name": name}


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
    first, *other_lines = _yaml(value, f"{indent}  ")
    yield f"{indent}- {first.lstrip()}"
    yield from other_lines
