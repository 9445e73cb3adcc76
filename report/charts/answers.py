"""The charts of the answers: confusion matrix, flips by class, reliability, and robustness to corrupted photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import altair as alt

from vegrt.report.charts.theme import (
    ALERT,
    BLUE,
    INK,
    SERIES,
    chart_of,
    finish,
    integer_axis,
    series_colour,
    series_legend,
    tooltips,
)
from vegrt.report.html.blocks import Spec
from vegrt.report.language.language import translate
from vegrt.results.analysis import RobustnessRow
from vegrt.results.evaluation import ReliabilityBin

MAX_CLASSES_DRAWN = 30
MAX_CLASSES_BESIDE = 16  # with more, confusion matrices are one below the other
ConfusionCounts = Mapping[tuple[int, int], int]  # photos by class and answer, both as indices
_CLASS_PX = 22
_LABEL_PX = 180  # longer class names are cut
_GREEN = "#5f9e1a"


def most_confused(matrices: Sequence[ConfusionCounts], classes: int) -> list[int]:
    """Return the classes to draw, in label order: all, or the MAX_CLASSES_DRAWN with the most mistakes, as class or as answer."""
    mistakes = Counter[int]()
    for counts in matrices:
        for pair, photos in mistakes_of(counts).items():
            mistakes.update(dict.fromkeys(pair, photos))
    order = sorted(range(classes), key=lambda label: (-mistakes[label], label))
    return sorted(order[:MAX_CLASSES_DRAWN])


def mistakes_of(counts: ConfusionCounts) -> dict[tuple[int, int], int]:
    """Return the counts of wrong answers."""
    return {(truth, answer): photos for (truth, answer), photos in counts.items() if truth != answer}


def confusion_spec(
    counts: ConfusionCounts, drawn: Sequence[int], names: Sequence[str], *, maximum: int, title: str = ""
) -> Spec:
    """Return a heat map that colours only mistakes.

    drawn: the classes to draw. names: of all classes. maximum: the count with full colour, shared by both matrices.
    """
    classes = [names[label] for label in drawn]
    data = [
        {"truth": names[truth], "answer": names[answer], "photos": counts[truth, answer], "mistake": truth != answer}
        for truth in drawn
        for answer in drawn
        if counts.get((truth, answer))
    ]
    scale, truth_title, answer_title = alt.Scale(domain=classes), translate("true class"), translate("answer")
    axis = alt.Axis(labelAngle=-90 if len(classes) > MAX_CLASSES_BESIDE else -60, labelLimit=_LABEL_PX)
    base = chart_of(data).encode(
        x=alt.X("answer:N", sort=classes, title=answer_title, scale=scale, axis=axis),
        y=alt.Y("truth:N", sort=classes, title=truth_title, scale=scale, axis=alt.Axis(labelLimit=_LABEL_PX)),
        tooltip=tooltips(data, {"truth": truth_title, "answer": answer_title, "photos": translate("photos")}),
    )
    is_mistake = alt.datum.mistake
    strength = alt.Opacity("photos:Q", scale=alt.Scale(domain=[0, max(4, maximum)], range=[0.2, 0.95]), legend=None)
    mistakes = base.transform_filter(is_mistake).mark_rect(color=ALERT).encode(opacity=strength)
    right = base.transform_filter(~is_mistake).mark_rect(color="#888", opacity=0.12)
    numbers = base.mark_text(fontSize=10, color=INK).encode(
        text="photos:Q",
        opacity=alt.when(is_mistake).then(alt.value(1)).otherwise(alt.value(0.6)),
    )
    return finish(right, mistakes, numbers, height=110 + 19 * len(classes), title=title)


def flips_per_class_spec(
    changes: Mapping[str, tuple[int, int]], classes: Sequence[str], *, maximum: int, title: str = ""
) -> Spec:
    """Return newly wrong and newly right photos as a stacked bar for each class.

    changes: class -> (newly wrong, newly right). classes: the rows, the same in every panel. maximum: end of the axis.
    """
    kinds = translate("newly wrong"), translate("newly right")
    data = [
        {"class": name, "kind": kind, "photos": count, "order": order}
        for name, counts in changes.items()
        for order, (kind, count) in enumerate(zip(kinds, counts, strict=True))
    ]
    colours = alt.Scale(domain=list(kinds), range=[ALERT, _GREEN])
    end = max(2, maximum)
    scale = alt.Scale(domain=[0, end], nice=False)
    bars = (
        chart_of(data)
        .mark_bar()
        .encode(
            x=alt.X("photos:Q", title=translate("photos"), stack=True, scale=scale, axis=integer_axis(end)),
            y=alt.Y("class:N", title=None, sort=list(classes), scale=alt.Scale(domain=list(classes))),
            color=alt.Color("kind:N", scale=colours, legend=SERIES),
            order="order:O",
            tooltip=tooltips(
                data, {"class": translate("class"), "kind": translate("change"), "photos": translate("photos")}
            ),
        )
    )
    return finish(bars, height=_CLASS_PX * len(classes), title=title)


def reliability_spec(bins: Sequence[ReliabilityBin], *, title: str = "") -> Spec:
    """Return accuracy against confidence for each bin, and the line of a perfectly calibrated classifier."""
    data = [
        {"low": row.low, "high": row.high, "confidence": row.confidence, "accuracy": row.accuracy, "photos": row.count}
        for row in bins
        if row.count
    ]
    unit = alt.Scale(domain=[0, 1])
    x = alt.X(
        "low:Q",
        title=translate("predicted probability"),
        scale=unit,
        axis=alt.Axis(format=".0%", tickCount=5),
    )
    y = alt.Y("accuracy:Q", title=translate("accuracy"), scale=unit, axis=alt.Axis(format=".0%", tickCount=5))
    titles = {
        "confidence": translate("mean predicted probability"),
        "accuracy": translate("accuracy"),
        "photos": translate("photos"),
    }
    bars = (
        chart_of(data)
        .mark_rect(color=BLUE, opacity=0.3)
        .encode(x=x, x2="high:Q", y=y, y2=alt.datum(0), tooltip=tooltips(data, titles))
    )
    ideal = chart_of([{"low": 0, "accuracy": 0}, {"low": 1, "accuracy": 1}]).mark_line(
        strokeDash=[4, 4], strokeWidth=1.2, color=INK, opacity=0.6
    )
    dots = (
        chart_of(data)
        .mark_point(filled=True, color=BLUE, opacity=1)
        .encode(
            x=alt.X("confidence:Q"),
            y=y,
            size=alt.Size("photos:Q", scale=alt.Scale(type="sqrt", range=[25, 260], domainMin=0), legend=None),
            tooltip=tooltips(data, titles),
        )
    )
    return finish(bars, ideal.encode(x=x, y=y), dots, title=title)


def robustness_spec(
    rows: Sequence[RobustnessRow], candidates: Sequence[str], *, lowest: float, title: str = ""
) -> Spec:
    """Return top-1 against the level of one corruption, a line for each candidate. lowest: start of the axis, in percent."""
    data = [
        {
            "level": row.level,
            "candidate": row.candidate,
            "top1": 100 * row.top1.value,
            "low": 100 * row.top1.low,
            "high": 100 * row.top1.high,
            "parameter": translate("none") if row.parameter is None else f"{row.parameter:g}",
            "drop": 100 * row.drop.value if row.drop else 0.0,
        }
        for row in rows
    ]
    x = alt.X("level:O", title=translate("level (0: clean)"), axis=alt.Axis(labelAngle=0))
    y_title, scale = translate("top-1 accuracy, %"), alt.Scale(domain=[lowest, 100], nice=False)
    titles = {"candidate": translate("candidate"), "parameter": translate("parameter"), "top1": translate("top-1 %")}
    titles |= {"drop": translate("drop, points")}
    base = chart_of(data).encode(x=x, color=series_colour("candidate", candidates))
    band = base.mark_area(opacity=0.14).encode(y=alt.Y("low:Q", title=y_title, scale=scale), y2="high:Q")
    y = alt.Y("top1:Q", title=y_title, scale=scale)
    shapes = alt.Scale(domain=list(candidates), range=["circle", "triangle-up", "square", "diamond"])
    marks = base.mark_point(filled=True, size=50, opacity=1).encode(
        y=y,
        shape=alt.Shape("candidate:N", scale=shapes, legend=series_legend(candidates)),
        tooltip=tooltips(data, titles),
    )
    return finish(band, base.mark_line(strokeWidth=1.6).encode(y=y), marks, height=190, title=title)
