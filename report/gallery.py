"""The gallery of flips: the photos that a candidate classifies differently from the reference, with every answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from vegrt.dataset.photos import SPLITS, Split, read_split
from vegrt.errors import DataError
from vegrt.report.facts.facts import Answer, Facts, Flip
from vegrt.report.html.blocks import AnswerLine, Gallery, PhotoCard, Thumbnail
from vegrt.report.html.photos import thumbnail_of
from vegrt.report.language.language import translate
from vegrt.results.evaluation import Evaluation
from vegrt.results.predictions import tables_of

MAX_SHOWN = 48


def flip_gallery(facts: Facts, data: Path | None) -> Gallery | None:
    """Return the gallery, with photos from `data` if they still exist. None without candidates to compare."""
    if not facts.evaluation or len(facts.evaluated()) < 2:
        return None
    only_in_html = translate("The photos are in the HTML report only.")
    flips = facts.flips()
    if not flips:
        none = translate(
            "None: every candidate gives the same answer as fp32 on all {images} photos.",
            images=f"{facts.evaluation.images:,}",
        )
        return Gallery((none,), (), markdown_text=only_in_html)
    split = _current_split(facts.evaluation, data)
    cards = [_card(flip, _thumbnail(split, flip), facts.evaluation.classes) for flip in flips[:MAX_SHOWN]]
    missing = sum(card.thumbnail is None for card in cards)
    more = len(flips) - len(cards)
    note = translate("and {more} more, in {file}", more=f"{more:,}", file=_answers_file(facts)) if more else ""
    introduction = (_summary(facts.evaluation, flips), *_photo_notes(facts.evaluation, data, split, missing))
    return Gallery(introduction, tuple(cards), note, only_in_html)


def _answers_file(facts: Facts) -> str:
    """Return the file in the bundle that holds the answers to every photo."""
    tables = tables_of(facts.bundle.path / "results/evaluate-test.json")
    return f"results/{tables[0].name}" if tables else "results/evaluate-test.json"


def _summary(evaluation: Evaluation, flips: Sequence[Flip]) -> str:
    text = translate(
        "On {flips} of {images} photos at least one candidate gives a different answer from fp32. Photos that most candidates "
        "newly misclassify come first. A percentage is the probability of the answer.",
        flips=f"{len(flips):,}",
        images=f"{evaluation.images:,}",
    )
    if any(answer.margin is not None for flip in flips for answer in flip.answers):
        return f"{text} {translate('In brackets: its lead over the second class, in points.')}"
    return text


def _photo_notes(evaluation: Evaluation, data: Path | None, split: Split | None, missing: int) -> list[str]:
    if data is None:
        return [translate("The photos are not shown because no data folder was given: add --data DATA.")]
    notes = []
    if missing:
        notes.append(
            translate(
                "{missing} photos are not shown because they cannot be read in {data}.", missing=missing, data=data
            )
        )
    if not _is_evaluated_split(evaluation, split):
        notes.append(
            translate(
                "Note: {data} has changed since the evaluation, so a photo may differ from the one that was evaluated.",
                data=data,
            )
        )
    return notes


def _is_evaluated_split(evaluation: Evaluation, split: Split | None) -> bool:
    try:
        return split is not None and bool(split.fingerprint() == evaluation.data_fingerprint)
    except DataError:  # a photo is no longer readable
        return False


def _card(flip: Flip, thumbnail: Thumbnail | None, classes: Sequence[str]) -> PhotoCard:
    if all(answer.label != flip.label for answer in flip.answers):
        status, status_class = translate("wrong either way"), "wrong-either-way"
    elif flip.newly_wrong:
        status, status_class = translate("newly wrong"), "newly-wrong"
    else:
        status, status_class = translate("newly right"), "newly-right"
    answers = tuple(_answer_line(answer, flip.label, classes) for answer in flip.answers)
    return PhotoCard(classes[flip.label], flip.path, status, answers, thumbnail, status_class)


def _answer_line(answer: Answer, label: int, classes: Sequence[str]) -> AnswerLine:
    lead = "" if answer.margin is None else f" (+{100 * answer.margin:.0f})"
    probability = "" if answer.probability is None else f" {answer.probability:.0%}"
    return AnswerLine(f"{classes[answer.label]}{probability}{lead}", answer.label == label, answer.key)


def _current_split(evaluation: Evaluation, data: Path | None) -> Split | None:
    """Return the evaluated split in its current state in `data`; None if it cannot be read."""
    name = next((name for name in SPLITS if name == evaluation.split), None)
    try:
        return read_split(data, name, evaluation.classes) if data is not None and name is not None else None
    except DataError:
        return None


def _thumbnail(split: Split | None, flip: Flip) -> Thumbnail | None:
    """Return a thumbnail of the photo; None if it cannot be read or its path leaves the split."""
    name = PurePosixPath(flip.path)
    if split is None or name.is_absolute() or ".." in name.parts:
        return None
    return thumbnail_of(split.root / name, flip.path)
