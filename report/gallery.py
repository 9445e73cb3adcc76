"""The flips gallery: the photos on which a candidate answers otherwise than the reference, and what each said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from vegrt.dataset import Split, read_split
from vegrt.errors import DataError
from vegrt.report.facts import Facts, Flip
from vegrt.report.markup import Html, element, join
from vegrt.report.photos import MISSING, thumbnail

MAX_SHOWN = 48


def gallery(facts: Facts, data: Path | None) -> Html:
    """Return the gallery, with photos from `data` where they are still there. Empty without an evaluation."""
    if not facts.evaluation or len(facts.evaluated()) < 2:
        return Html("")
    flips = facts.flips()
    if not flips:
        return element("p", f"None: every candidate answers like fp32 on all {facts.evaluation['images']:,} photos.")
    shown = flips[:MAX_SHOWN]
    split = _split(facts.evaluation, data)
    photos = [_thumbnail(split, flip) for flip in shown]
    figures = [_figure(flip, photo, facts.evaluation["classes"]) for flip, photo in zip(shown, photos, strict=True)]
    more = len(flips) - len(shown)
    parts = [
        element("p", _introduction(facts.evaluation, flips, data, split, photos.count(None))),
        element("div", join(figures), class_="gallery"),
        element("p", f"and {more:,} more, in results/evaluate-test.json", class_="note") if more else Html(""),
    ]
    return join(parts)


def _introduction(
    evaluation: dict[str, Any], flips: Sequence[Flip], data: Path | None, split: Split | None, missing: int
) -> str:
    text = f"{len(flips):,} of {evaluation['images']:,} photos on which some candidate answers otherwise than fp32; "
    text += "first those that most candidates lost. A percentage is the probability given to the answer."
    if data is None:
        return f"{text} The photos are not shown, because no data folder was given: add --data DATA."
    if missing:
        text += f" {missing} photos are not shown, because they cannot be read in {data}."
    if not _same_photos(evaluation, split):
        text += f" Note: {data} has changed since the evaluation, so a photo may not be the one that was judged."
    return text


def _same_photos(evaluation: dict[str, Any], split: Split | None) -> bool:
    try:
        return split is not None and bool(split.fingerprint() == evaluation["data_fingerprint"])
    except DataError:  # one of them cannot be opened any more
        return False


def _figure(flip: Flip, photo: Html | None, classes: Sequence[str]) -> Html:
    (_, reference, _), *_ = flip.answers
    answers = [
        element("li", element("span", key, class_="key"), " ", _answer(classes[said], probability, said == flip.label))
        for key, said, probability in flip.answers
    ]
    kind = "newly wrong" if flip.newly_wrong else "newly right"
    if reference != flip.label and all(said != flip.label for _, said, _ in flip.answers):
        kind = "wrong either way"
    caption = [
        element("strong", classes[flip.label]),
        element("span", kind, class_=f"kind {kind.replace(' ', '-')}"),
        element("ul", *answers),
        element("small", flip.path),
    ]
    return element("figure", photo or MISSING, element("figcaption", *caption))


def _answer(said: str, probability: float, right: bool) -> Html:
    mark, name = ("✓", "right") if right else ("✗", "wrong")
    return element("span", f"{mark} {said} {probability:.0%}", class_=name)


def _split(evaluation: dict[str, Any], data: Path | None) -> Split | None:
    """Return the evaluated split as it is in `data` now; None where there is none."""
    try:
        return read_split(data, evaluation["split"], evaluation["classes"]) if data is not None else None
    except DataError:
        return None


def _thumbnail(split: Split | None, flip: Flip) -> Html | None:
    """Return the photo as an <img>, or None when it cannot be read or its name leads out of the split."""
    name = PurePosixPath(flip.path)
    if split is None or name.is_absolute() or ".." in name.parts:
        return None
    return thumbnail(split.root / name, flip.path)
