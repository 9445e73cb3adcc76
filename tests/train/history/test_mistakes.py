"""The confusions of an explanation: their order, their shares, and which stored photos belong to each."""

from __future__ import annotations

from dataclasses import replace

from vegrt.train.history.mistakes import Explanation, Mistake, confusions

CLASSES = ("Bean", "Carrot", "Radish")
HARDEST = (Mistake("a", "Bean", "Radish", 4.0), Mistake("b", "Carrot", "Bean", 3.0), Mistake("c", "Bean", "Bean", 0.6))
EXPLANATION = Explanation(CLASSES, ((7, 0, 3), (3, 9, 0), (0, 1, 9)), HARDEST)


def test_confusions_are_sorted_and_have_their_own_photos() -> None:
    pairs = confusions(EXPLANATION, 8)
    assert [(pair.label, pair.answer, pair.photos) for pair in pairs] == [
        ("Bean", "Radish", 3),
        ("Carrot", "Bean", 3),
        ("Radish", "Carrot", 1),
    ]
    assert [pair.share for pair in pairs] == [0.3, 0.25, 0.1]
    assert [[photo.photo for photo in pair.examples] for pair in pairs] == [["a"], ["b"], []]
    assert len(confusions(EXPLANATION, 2)) == 2


def test_examples_come_from_the_mistakes_where_these_are_stored() -> None:
    mistakes = (*HARDEST[:2], Mistake("d", "Radish", "Carrot", 0.9))
    pairs = confusions(replace(EXPLANATION, mistakes=mistakes), 8)
    assert [photo.photo for photo in pairs[2].examples] == ["d"]
    assert [list(pair.examples) for pair in confusions(replace(EXPLANATION, mistakes=()), 8)] == [[], [], []]


def test_an_empty_explanation_has_no_confusions() -> None:
    assert confusions(Explanation(), 8) == []
