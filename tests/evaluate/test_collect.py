"""Answers collected batch by batch are those of all logits at once; figures of many classes take less space."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split
from vegrt.evaluate.collect import AnswerCollector
from vegrt.evaluate.evaluate import SizeLimits, evaluate, evaluate_logits
from vegrt.evaluate.figures import LabelledAnswers, ranks
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.logits import top_classes
from vegrt.results.convert import from_dict, to_dict
from vegrt.results.evaluation import Evaluation

FP32, INT8 = Candidate("fp32", "onnxruntime"), Candidate("int8-cpu", "onnxruntime")
FEW = SizeLimits(logits_bytes=100, dense_classes=2)


def drawn(images: int, classes: int) -> tuple[dict[Candidate, NDArray[np.float32]], NDArray[np.int_]]:
    random = np.random.default_rng(5)
    labels = random.integers(0, classes, images)
    reference = random.normal(0, 1, (images, classes)).astype(np.float32)
    reference[np.arange(images), labels] += 1.5
    return {FP32: reference, INT8: reference + random.normal(0, 0.3, reference.shape).astype(np.float32)}, labels


def test_batches_give_bit_for_bit_the_answers_of_all_images() -> None:
    logits, labels = drawn(700, 7)
    collector = AnswerCollector(with_logits=True)
    for start in range(0, len(labels), 9):  # more batches than are joined at once, and a last one that is smaller
        rows = slice(start, start + 9)
        collector.add({candidate: values[rows] for candidate, values in logits.items()}, labels[rows])
    for candidate in logits:
        answers = collector.answers()[candidate]
        whole = LabelledAnswers.of(logits[candidate], labels, logits[FP32])
        for field in fields(LabelledAnswers):
            np.testing.assert_array_equal(getattr(answers, field.name), getattr(whole, field.name), strict=True)
        np.testing.assert_array_equal(collector.logits()[candidate], logits[candidate])
    of_fp32, of_int8 = (collector.answers()[candidate].divergence for candidate in (FP32, INT8))
    assert of_fp32 is not None
    assert of_int8 is not None
    assert not of_fp32.any()
    assert of_int8.all()


def test_a_label_is_in_the_top_3_where_sorting_puts_it() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (400, 6)).astype(np.float64)  # with many ties
    labels = np.random.default_rng(1).integers(0, 6, 400)
    expected = (top_classes(scores, 3) == labels[:, None]).any(axis=1)
    np.testing.assert_array_equal(ranks(scores, labels) < 3, expected)


def test_figures_of_many_classes_are_the_same_in_less_space(bundle: Bundle, test_split: Split) -> None:
    logits, _ = drawn(len(test_split), 3)
    leaked = [test_split.relative(photo) for photo in test_split.photos[:9]]
    whole, sparse = (
        evaluate_logits(bundle, test_split, [*range(60)], logits, margin=0.5, leaked=leaked, limits=limits)
        for limits in (SizeLimits(), FEW)
    )
    assert from_dict(Evaluation, to_dict(sparse)) == sparse
    for dense, row in zip(whole.candidates, sparse.candidates, strict=True):
        assert (dense.confusion is None, row.confusion is None) == (False, True)
        assert dense.confusion_counts() == row.confusion_counts()
        assert sum(row.confusion_counts().values()) == 60
        assert (row.gate, row.top1, row.nll) == (dense.gate, dense.top1, dense.nll)
        for own, other in zip(row.classes or (), dense.classes or (), strict=True):
            assert own.precision is not None
            assert other.precision is not None
            assert own.precision.low == float(f"{other.precision.low:.6g}") != other.precision.low
        assert row.without_leaks
        assert dense.without_leaks
        assert row.without_leaks.top1 == dense.without_leaks.top1
        assert (row.without_leaks.classes, row.without_leaks.paired.classes) == (None, None)
        assert not row.without_leaks.confusion_counts()


def test_no_table_is_left_beside_an_evaluation_with_too_many_logits(
    bundle: Bundle, test_split: Split, tmp_path: Path
) -> None:
    table = tmp_path / "predictions-test.parquet"
    table.write_text("of an earlier evaluation")
    evaluate(bundle, test_split, [FP32], margin=0.5, table=table, limits=FEW)
    assert not table.exists()
