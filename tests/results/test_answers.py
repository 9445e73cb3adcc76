"""Rows about answers files in stored results: they survive changes of other artifacts, and fall with their reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import answer
from vegrt.bundle.bundle import Bundle
from vegrt.bundle.stale_results import stale_results
from vegrt.dataset.photos import read_split
from vegrt.results.evaluation import Evaluation, PredictionsFile
from vegrt.results.files import load_result, save_result
from vegrt.results.predictions import read_predictions

NAME = "evaluate-test-only-answers-orin"


@pytest.fixture
def judged(copied: Bundle, photos: Path, tmp_path: Path) -> Bundle:
    """A bundle with the answers of a device in its results: top-1 alone."""
    split = read_split(photos, "test")
    lines = ["photo,top1", *(f"{split.relative(photo)},{photo.label}" for photo in split.photos)]
    (tmp_path / "orin.csv").write_text("\n".join(lines))
    answer("evaluate", copied.path, "--data", photos, "--answers", tmp_path / "orin.csv", exit_code=4)
    return copied


def test_many_answers_without_probabilities_come_back_from_parquet(judged: Bundle) -> None:
    result = load_result(judged, Evaluation, NAME)
    assert result is not None
    save_result(judged, NAME, result, max_inline_photos=10)
    stored = load_result(judged, Evaluation, NAME)
    assert stored is not None
    assert isinstance(stored.predictions, PredictionsFile)
    assert read_predictions(judged.path / "results", stored) == result.predictions


def test_answers_are_stale_with_their_reference_alone(judged: Bundle) -> None:
    hashes = {artifact.variant: artifact.sha256 for artifact in judged.manifest.artifacts if artifact.role == "model"}
    assert stale_results(judged.path, {hashes["fp32"]}) == []
    stale = stale_results(judged.path, {hashes["int8"]})
    assert stale == [f"results/predictions-{NAME.removeprefix('evaluate-')}.parquet", f"results/{NAME}.json"]
