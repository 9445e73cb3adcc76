"""Each finding appears for its kind of loss curve, and for no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vegrt.train.history.explain import Finding, explain
from vegrt.train.history.records import EpochRecord, Phase

FIT = {"overfitting", "unstable", "level", "still-falling", "too-short"}


def series(
    validation: list[float],
    train: list[float] | None = None,
    *,
    phase: Phase = "all",
    start: int = 1,
    norms: dict[str, float] | None = None,
) -> list[EpochRecord]:
    losses = train or [0.5 / epoch for epoch in range(1, len(validation) + 1)]
    return [
        EpochRecord(epoch, phase, mine, 0.9, theirs, 0.88, 1e-4, 50.0, 3.0, norms or {})
        for epoch, (mine, theirs) in enumerate(zip(losses, validation, strict=True), start)
    ]


def verdicts(epochs: list[EpochRecord], *, augmented: bool = True) -> dict[str, Finding]:
    return {finding.key: finding for finding in explain(epochs, augmented=augmented)}


@pytest.mark.parametrize(
    ("validation", "train", "expected", "concern"),
    [
        ([0.9, 0.5, 0.4, 0.45, 0.6], None, "overfitting", True),
        ([0.9, 0.5, 0.4, 0.5, 0.9], [0.9, 0.5, 0.4, 0.6, 1.0], "unstable", True),
        ([0.9, 0.5, 0.4, 0.405, 0.41], None, "level", False),
        ([0.9, 0.5, 0.4, 0.399], None, "level", False),
        ([0.010, 0.004, 0.002, 0.005], None, "level", False),  # tripled, and still next to nothing
        ([0.9, 0.5, 0.4], None, "still-falling", False),
        ([0.9, 0.5, 1.2, 0.3], None, "still-falling", False),  # a temporary spike is not a rise
        ([0.9], None, "too-short", False),
    ],
)
def test_fit(validation: list[float], train: list[float] | None, expected: str, concern: bool) -> None:
    findings = explain(series(validation, train), augmented=True)
    assert [finding.key for finding in findings if finding.key in FIT] == [expected]
    assert findings[0].key == expected
    assert findings[0].concern is concern


def test_overfitting_names_its_start_and_the_change_of_accuracy() -> None:
    epochs = series([0.9, 0.5, 0.4, 0.45, 0.6])
    finding = verdicts(epochs)["overfitting"]
    assert finding.headline == "overfitting after epoch 3"
    assert "lowest in epoch 3 (0.400) and 0.600 in the last epoch, 5" in finding.text
    assert "training loss went from 0.167 to 0.100" in finding.text
    assert "did not make more of them" in finding.text
    worse = verdicts([*epochs[:-1], replace(epochs[-1], validation_accuracy=0.7)])["overfitting"]
    assert "accuracy fell from 88.0% to 70.0%" in worse.text


def test_a_lower_loss_in_the_first_phase_is_not_overfitting() -> None:
    epochs = [*series([0.5, 0.1], phase="head"), *series([0.4, 0.3, 0.2], start=3)]
    findings = verdicts(epochs)
    assert "still-falling" in findings
    assert findings["all-layers"].concern
    assert "weights are from epoch 2, of the head alone" in findings["all-layers"].text
    assert "epoch 5, the best" in findings["gap"].text


def test_all_layers_lowered_the_loss() -> None:
    finding = verdicts([*series([0.5, 0.4], phase="head"), *series([0.3, 0.2], start=3)])["all-layers"]
    assert not finding.concern
    assert "0.400 (88.0% correct) with the head alone, 0.200 (88.0%) with all layers" in finding.text
    assert "all-layers" not in verdicts(series([0.3, 0.2]))


def test_gap_at_the_best_and_at_the_last_epoch() -> None:
    epochs = series([0.9, 0.4, 0.6], [0.9, 0.5, 0.1])
    finding = verdicts(epochs)["gap"]
    assert "-0.100 in epoch 2, the best, and +0.500 in the last epoch, 3" in finding.text
    assert "on augmented photos" in finding.text
    assert not finding.concern
    assert "augmented" not in verdicts(epochs, augmented=False)["gap"].text
    assert "augmented" not in verdicts(series([0.9, 0.8], phase="head"))["gap"].text
    assert verdicts([replace(record, train_accuracy=0.99) for record in epochs])["gap"].concern
    assert "the best, which is the last" in verdicts(series([0.9]))["gap"].text


@pytest.mark.parametrize(
    ("first", "headline", "concern"),
    [
        (0.001, "vanishing gradients: hardly any reach conv1", True),
        (0.05, "weak gradients in conv1", False),
        (0.5, "gradients reach the first stage", False),
        (500.0, "exploding gradients", True),
    ],
)
def test_gradients(first: float, headline: str, concern: bool) -> None:
    head = series([0.9], phase="head")
    findings = verdicts([*head, *series([0.5, 0.4], start=2, norms={"conv1": first, "layer1": 0.1, "head": 1.0})])
    assert findings["gradients"].headline.startswith(headline)
    assert findings["gradients"].concern is concern
    assert f"relative to head: {first:.2g} (median of 2 epochs" in findings["gradients"].text


def test_gradients_say_how_they_changed() -> None:
    epochs = [
        series([0.5], start=epoch, norms={"layer3": norm, "head": 1.0})[0] for epoch, norm in ((1, 0.2), (2, 0.8))
    ]
    assert "0.5 (median of 2 epochs; 0.2 in the first, 0.8 in the last)" in verdicts(epochs)["gradients"].text


@pytest.mark.parametrize("norms", [{}, {"head": 1.0}, {"layer4": 1.0, "head": 0.0}])
def test_without_two_stages_no_gradients_are_compared(norms: dict[str, float]) -> None:
    findings = verdicts(series([0.5, 0.4], norms=norms))
    assert "no-gradients" in findings
    assert "gradients" not in findings


@pytest.mark.parametrize(
    ("loss", "accuracy", "classes", "guesses"),
    [
        (1.09, 0.34, 3, True),
        (1.09, 0.34, 0, False),
        (1.09, 0.7, 3, False),
        (0.9, 0.34, 3, False),
        (1.09, 0.34, 15, False),
    ],
    ids=["guesses", "classes unknown", "right but unsure", "better than guessing", "many classes"],
)
def test_no_better_than_guessing(loss: float, accuracy: float, classes: int, guesses: bool) -> None:
    norms = {"conv1": 0.5, "head": 1.0}
    epochs = [replace(record, validation_accuracy=accuracy) for record in series([loss + 0.1, loss], norms=norms)]
    findings = explain(epochs, augmented=True, classes=classes)
    assert ([finding.key for finding in findings] == ["guessing", "gradients"]) is guesses
    assert (findings[0].key == "guessing") is guesses


def test_no_epochs_give_no_findings() -> None:
    assert explain([], augmented=True) == []
