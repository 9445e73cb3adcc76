"""The model card: its header as the Hugging Face Hub reads it, and its text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.report.card.card import Claims, card_markdown, write_card
from vegrt.report.facts.facts import load_facts
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result

huggingface_hub = pytest.importorskip("huggingface_hub", reason="reads the header as the Hub does")

Make = Callable[..., Bundle]


@pytest.fixture(scope="module")
def text(usual: Bundle) -> str:
    return card_markdown(load_facts(usual), Claims("apache-2.0", "someone/vegetables"))


def header_of(text: str) -> Any:
    return huggingface_hub.ModelCard(text).data


def test_the_hub_reads_the_header(text: str, usual: Bundle) -> None:
    header = header_of(text)
    assert (header.license, header.library_name, header.pipeline_tag) == ("apache-2.0", "onnx", "image-classification")
    assert (header.datasets, header.metrics, header.model_name) == (["someone/vegetables"], ["accuracy"], "resnet18")
    assert {"onnx", "int8", "tensorrt", "resnet18"} <= set(header.tags)
    header.validate = None
    results = {result.metric_name: result for result in header.eval_results}
    evaluation = load_result(usual, Evaluation, "evaluate-test")
    assert evaluation is not None
    first = evaluation.candidates[0]
    top1 = results["Top-1 accuracy, fp32 on ONNX Runtime"]
    assert top1.metric_value == pytest.approx(first.top1.value, abs=1e-6)
    assert (top1.task_type, top1.metric_type, top1.dataset_split) == ("image-classification", "accuracy", "test")
    assert len(results) == 2 * len(evaluation.candidates)


def test_leaked_photos_make_a_result_of_their_own(make: Make) -> None:
    header = header_of(card_markdown(load_facts(make(audited=True)), Claims()))
    assert {result.dataset_name for result in header.eval_results} == {
        "test photos",
        "test photos without near duplicates of train",
    }


def test_unknown_facts_are_not_claimed(make: Make) -> None:
    text = card_markdown(load_facts(make(evaluated=False)), Claims())
    header = header_of(text)
    assert header.license == "unknown"
    assert (header.datasets, header.eval_results) == (None, None)
    assert "Nothing has been evaluated yet" in text
    assert "PASS means" not in text


def test_names_stay_names_in_the_header(make: Make, hostile: Path) -> None:
    text = card_markdown(load_facts(make(name='a: "b"\n---\nc', photos=hostile)), Claims("x: y", "- [z]"))
    header = header_of(text)
    assert (header.model_name, header.license, header.datasets) == ('a: "b"\n---\nc', "x: y", ["- [z]"])


def test_has_all_sections(text: str, usual: Bundle) -> None:
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        f"## {title}"
        for title in (
            "Intended use",
            "How to run it",
            "Evaluation",
            "Photos",
            "Training",
            "Quantization",
            "Limits",
            "Files",
            "How to reproduce",
        )
    ]
    assert all(artifact.sha256 in text for artifact in usual.manifest.artifacts)
    assert "vegrt infer images/ --bundle models/resnet18 --variant int8-cpu --runtime openvino" in text
    assert str(usual.path) not in text, "the bundle's own path is private"


def test_describes_one_bundle(make: Make, tmp_path: Path) -> None:
    with pytest.raises(VegrtError, match="a model card describes one bundle, but 2 were given"):
        write_card([make(), make(name="other")], tmp_path / "card.md")
    assert not (tmp_path / "card.md").exists()


def test_speaks_korean(make: Make, tmp_path: Path) -> None:
    text = write_card([make()], tmp_path / "card.md", language="ko").read_text(encoding="utf-8")
    assert "## 용도" in text
    assert header_of(text).pipeline_tag == "image-classification"
