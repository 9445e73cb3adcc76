"""The flips gallery: the photos on which a candidate answers otherwise than the reference, and what each said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from vegrt.dataset.photos import Split, read_split
from vegrt.errors import DataError
from vegrt.report.facts.facts import Facts, Flip
from vegrt.report.html.markup import Html, element, join
from vegrt.report.html.photos import missing, thumbnail
from vegrt.report.language.language import translate

MAX_SHOWN = 48


def gallery(facts: Facts, data: Path | None) -> Html:
    """Return the gallery, with photos from `data` where they are still there. Empty without an evaluation."""
    if not facts.evaluation or len(facts.evaluated()) < 2:
        return Html("")
    flips = facts.flips()
    if not flips:
        none = translate(
            "None: every candidate answers like fp32 on all {images} photos.", images=f"{facts.evaluation['images']:,}"
        )
        return element("p", none)
    shown = flips[:MAX_SHOWN]
    split = _split(facts.evaluation, data)
    photos = [_thumbnail(split, flip) for flip in shown]
    figures = [_figure(flip, photo, facts.evaluation["classes"]) for flip, photo in zip(shown, photos, strict=True)]
    more = len(flips) - len(shown)
    rest = translate("and {more} more, in results/evaluate-test.json", more=f"{more:,}")
    parts = [
        *(element("p", text) for text in _introduction(facts.evaluation, flips, data, split, photos.count(None))),
        element("div", join(figures), class_="gallery"),
        element("p", rest, class_="note") if more else Html(""),
    ]
    return join(parts)


def _introduction(
    evaluation: dict[str, Any], flips: Sequence[Flip], data: Path | None, split: Split | None, missing: int
) -> list[str]:
    text = translate(
        "{flips} of {images} photos on which some candidate answers otherwise than fp32; first those that most candidates "
        "lost. A percentage is the probability given to the answer.",
        flips=f"{len(flips):,}",
        images=f"{evaluation['images']:,}",
    )
    if any(margin is not None for flip in flips for *_, margin in flip.answers):
        text = f"{text} {translate('In brackets: its lead over the second, in points.')}"
    if data is None:
        return [text, translate("The photos are not shown, because no data folder was given: add --data DATA.")]
    notes = [text]
    if missing:
        notes.append(
            translate(
                "{missing} photos are not shown, because they cannot be read in {data}.", missing=missing, data=data
            )
        )
    if not _same_photos(evaluation, split):
        notes.append(
            translate(
                "Note: {data} has changed since the evaluation, so a photo may not be the one that was judged.",
                data=data,
            )
        )
    return notes


def _same_photos(evaluation: dict[str, Any], split: Split | None) -> bool:
    try:
        return split is not None and bool(split.fingerprint() == evaluation["data_fingerprint"])
    except DataError:  # one of them cannot be opened any more
        return False


def _figure(flip: Flip, photo: Html | None, classes: Sequence[str]) -> Html:
    (_, reference, *_), *_ = flip.answers
    answers = [
        element(
            "li",
            element("span", key, class_="key"),
            " ",
            _answer(classes[said], probability, margin, said == flip.label),
        )
        for key, said, probability, margin in flip.answers
    ]
    kind, look = (
        (translate("newly wrong"), "newly-wrong") if flip.newly_wrong else (translate("newly right"), "newly-right")
    )
    if reference != flip.label and all(said != flip.label for _, said, *_ in flip.answers):
        kind, look = translate("wrong either way"), "wrong-either-way"
    caption = [
        element("strong", classes[flip.label]),
        element("span", kind, class_=f"kind {look}"),
        element("ul", *answers),
        element("small", flip.path),
    ]
    return element("figure", photo or missing(), element("figcaption", *caption))


def _answer(said: str, probability: float, margin: float | None, right: bool) -> Html:
    mark, name = ("✓", "right") if right else ("✗", "wrong")
    lead = "" if margin is None else f" (+{100 * margin:.0f})"
    return element("span", f"{mark} {said} {probability:.0%}{lead}", class_=name)


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
