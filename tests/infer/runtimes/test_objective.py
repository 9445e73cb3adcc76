"""The time that a candidate needs for a known number of photos, from a benchmark's row."""

from __future__ import annotations

import pytest

from vegrt.infer.runtimes.objective import Work, work_time
from vegrt.results.benchmark import BenchCandidate, Timing


def row(ms: dict[int, float], first_s: float | None) -> BenchCandidate:
    """Return a row with these milliseconds by batch size."""
    timings = tuple(Timing(batch=batch, p50_ms=each, images_per_s=1e3 * batch / each) for batch, each in ms.items())
    return BenchCandidate(
        key="fp32/onnxruntime",
        variant="fp32",
        runtime="onnxruntime",
        device="cpu",
        artifact_sha256="a" * 64,
        size_bytes=1,
        first_answer_s=first_s,
        batches=timings,
    )


@pytest.mark.parametrize(
    ("images", "batch", "after_first_ms"),
    [
        (1, 16, 0.0),
        (4, 16, 20.0),  # one batch of 4
        (10, 16, 45.0),  # half way from 4 to 16
        (16, 16, 70.0),
        (33, 16, 2 * 80.0),  # two batches and one photo
        (32, 32, 2 * 80.0 - 10.0),  # in proportion to the largest
        (2, 1, 10.0),
    ],
)
def test_the_time_of_all_photos_is_that_of_their_batches(images: int, batch: int, after_first_ms: float) -> None:
    time = work_time(row({1: 10.0, 4: 30.0, 16: 80.0}, 0.5), Work(images, batch))
    assert time is not None
    assert time.first_s == 0.5
    assert time.total_s == pytest.approx(0.5 + after_first_ms / 1e3)


def test_a_row_without_single_photos_or_without_a_first_answer() -> None:
    time = work_time(row({4: 40.0}, 0.5), Work(8, 4))
    assert time is not None
    assert time.total_s == pytest.approx(0.5 + 0.08 - 0.01)
    assert work_time(row({1: 10.0}, None), Work(1, 16)) is None


def test_the_number_of_photos_in_words() -> None:
    assert [str(Work(*work)) for work in ((1, 1), (2, 1), (4096, 1, True))] == [
        "1 photo",
        "2 photos",
        "4,096 photos or more",
    ]
