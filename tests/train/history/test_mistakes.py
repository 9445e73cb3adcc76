from __future__ import annotations

from typing import Any

from vegrt.train.history.mistakes import confusions, hardest

CLASSES = ["Bean", "Carrot", "Radish"]


def entry(photo: str, label: str, answer: str, loss: float) -> dict[str, Any]:
    return {"photo": photo, "label": label, "answer": answer, "loss": loss}


HARDEST = [entry("a", "Bean", "Radish", 4.0), entry("b", "Carrot", "Bean", 3.0), entry("c", "Bean", "Bean", 0.6)]
EXPLANATION = {"classes": CLASSES, "confusion": [[7, 0, 3], [3, 9, 0], [0, 1, 9]], "hardest": HARDEST}


def test_confusions_are_sorted_and_have_their_own_photos() -> None:
    found = confusions(EXPLANATION, 8)
    assert [(one.label, one.answer, one.photos) for one in found] == [
        ("Bean", "Radish", 3),
        ("Carrot", "Bean", 3),
        ("Radish", "Carrot", 1),
    ]
    assert [one.share for one in found] == [0.3, 0.25, 0.1]
    assert [[miss.photo for miss in one.examples] for one in found] == [["a"], ["b"], []]
    assert len(confusions(EXPLANATION, 2)) == 2


def test_all_mistakes_are_preferred_where_they_are_remembered() -> None:
    more = EXPLANATION | {"mistakes": [*HARDEST[:2], entry("d", "Radish", "Carrot", 0.9)]}
    assert [miss.photo for miss in confusions(more, 8)[2].examples] == ["d"]
    assert [miss.photo for miss in hardest(more)] == ["a", "b", "c"]


def test_a_run_without_an_explanation_has_none() -> None:
    assert confusions({}, 8) == []
    assert hardest({}) == []
