from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.errors import FormatError
from vegrt.infer.drift.compare import stability_indices
from vegrt.infer.drift.looks import BLOCK, FALSE_ALARMS, LEVELS, Looks, weight
from vegrt.infer.drift.record import KINDS, Alarms
from vegrt.infer.trust.histograms import Binned, Edges, Histogram, Reference, binned

EDGES = Edges((0.5, 0.9), (-2.0, -1.0, 0.0))
CLASSES = 4


def stream(
    count: int, random: np.random.Generator, *, away: float = 0.0, mix: NDArray[np.float64] | None = None
) -> Binned:
    """Photos whose scores depend on their class. away: added to the scores of all."""
    labels = random.choice(CLASSES, count, p=mix)
    scores = random.normal(-1.5 - 0.5 * labels, 1.0) + away
    return binned(EDGES, labels, random.uniform(0.4, 1.0, count), scores, (scores <= 0) & (random.random(count) < 0.1))


def reference(random: np.random.Generator, count: int = 600) -> Histogram:
    histogram = Histogram.empty(CLASSES, EDGES)
    histogram.count(stream(count, random))
    return histogram


def looks_at(histogram: Histogram) -> Looks:
    return Looks.resumed(histogram, EDGES, (), {kind: Alarms() for kind in KINDS}, 0)


def test_all_windows_together_spend_no_more_than_is_stated() -> None:
    spent = sum(weight(level, number) for level in range(LEVELS) for number in range(1, 2000))
    assert 0.99 < spent < 1
    assert weight(0, 1) == 0.25


def test_a_stream_that_changes_is_called_within_two_windows() -> None:
    random = np.random.default_rng(0)
    looks = looks_at(reference(random))
    looks.count(stream(1040, random), 1)
    assert looks.alarms == {kind: Alarms() for kind in KINDS}
    looks.count(stream(160, random, away=2.0), 2)
    alarm = looks.alarms["photos"].first
    assert alarm is not None
    assert (alarm.photos, alarm.time, alarm.window) == (1100, 2, BLOCK)
    assert alarm.findings[0].signal == "foreign"
    assert alarm.findings[0].share > 0.2 > alarm.findings[0].reference
    assert alarm.psi["foreign-score"] > 0.25
    assert looks.alarms["classes"] == Alarms()
    latest = looks.alarms["photos"].latest
    assert latest is not None
    assert latest.photos == 1200


def test_more_photos_of_one_class_change_the_mix_alone() -> None:
    random = np.random.default_rng(1)
    looks = looks_at(reference(random))
    looks.count(stream(1000, random, mix=np.array([0.7, 0.1, 0.1, 0.1])), 1)
    assert looks.alarms["photos"] == Alarms()
    alarm = looks.alarms["classes"].latest
    assert alarm is not None
    assert (alarm.findings[0].signal, alarm.findings[0].at) == ("class", 0)
    assert alarm.findings[0].share == pytest.approx(0.7, abs=0.1)
    assert set(alarm.psi) == {"class"}


def test_a_slow_change_is_seen_by_longer_windows() -> None:
    random = np.random.default_rng(2)
    looks = looks_at(reference(random))
    looks.count(stream(6400, random, away=0.35), 1)
    alarm = looks.alarms["photos"].first
    assert alarm is not None
    assert alarm.window > BLOCK


def test_unchanged_streams_raise_no_more_false_alarms_than_stated() -> None:
    random = np.random.default_rng(3)
    false = 0
    for _ in range(150):
        looks = looks_at(reference(random, 200))
        looks.count(stream(800, random), 1)
        false += any(alarms.first is not None for alarms in looks.alarms.values())
    assert false <= 3  # 1.5 expected at most


def test_an_interrupted_count_goes_on_where_it_was() -> None:
    random = np.random.default_rng(4)
    histogram, photos = reference(random), stream(3333, random, away=0.2)
    whole = looks_at(histogram)
    whole.count(photos, 5)
    first = looks_at(histogram)
    first.count(photos.part(0, 777), 5)
    second = Looks.resumed(histogram, EDGES, first.levels(), first.alarms, first.photos)
    second.count(photos.part(777, 3333), 5)
    assert second.levels() == whole.levels()
    assert second.alarms == whole.alarms
    assert [level.closed for level in whole.levels()] == [33, 16, 8, 4, 2, 1, 0]
    assert whole.photos == 3333


def test_the_stability_index_is_of_the_same_mix_of_classes() -> None:
    random = np.random.default_rng(5)
    histogram = reference(random, 4000)
    window = Histogram.empty(CLASSES, EDGES)
    window.count(stream(4000, random, mix=np.array([0.85, 0.05, 0.05, 0.05])))
    indices = stability_indices(histogram, window)
    assert indices["class"] > 0.5
    assert indices["foreign-score"] < 0.01
    p, q = np.array([1000, 1000, 1000, 1000]), np.array([3400, 200, 200, 200])
    expected = ((q - p) / 4000 * np.log(q / p)).sum()
    assert indices["class"] == pytest.approx(expected, rel=0.05)
    assert FALSE_ALARMS == 0.01


def test_a_reference_that_does_not_fit_its_edges_is_refused() -> None:
    rows = reference(np.random.default_rng(6)).rows()
    assert Reference(EDGES, rows).histogram(CLASSES).rows() == rows
    assert json.dumps(EDGES.scores) == "[-2.0, -1.0, 0.0]"
    with pytest.raises(FormatError, match="has no 0"):
        Edges((0.5,), (-1.0,))
    with pytest.raises(FormatError, match="do not rise"):
        Edges((0.9, 0.5), (0.0,))
    with pytest.raises(FormatError, match=r"classes\.confidence"):
        Reference(Edges((0.5,), EDGES.scores), rows)
    with pytest.raises(FormatError, match="expected less than 3"):
        Reference(EDGES, rows).histogram(3)
