"""Why the gate gave its verdict, in the report's language, from the figures and causes of the result."""

from __future__ import annotations

from vegrt.report.language.language import translate
from vegrt.report.summary import SummaryRow, signed_points
from vegrt.results.evaluation import Cause, ClassesPermuted, ColoursSwapped, Evaluation, Gate, TextCause

_NAMED_MOVES = 4


def gate_reason(evaluation: Evaluation, row: SummaryRow) -> str:
    """Return the drop with its interval, its place relative to the margin, and what may explain a FAIL."""
    assert row.gate is not None
    assert row.drop is not None
    texts = [cause.text for cause in row.gate.causes if isinstance(cause, TextCause)]
    if row.gate.verdict == "FAIL" and texts:  # files of version 1 hold the whole reason as text, the explanation in it
        return "; ".join(texts)
    drop = row.gate.judged_drop or row.drop
    span = translate(
        "drop {drop} points, {confidence} interval {low} to {high}",
        drop=signed_points(drop.value),
        confidence=f"{evaluation.confidence:.0%}",
        low=signed_points(drop.low),
        high=signed_points(drop.high),
    )
    own_margin = row.gate.margin_points
    margin = f"{evaluation.margin_points if own_margin is None else own_margin:g}"
    if evaluation.margin_auto and own_margin is None:
        margin = translate(
            "{margin} (the smallest that {images} photos can decide)", margin=margin, images=f"{evaluation.images:,}"
        )
    if row.gate.verdict == "PASS":
        return translate("{span}: entirely below the margin of {margin} points", span=span, margin=margin)
    if row.gate.verdict == "FAIL":
        text = translate("{span}: entirely above the margin of {margin} points", span=span, margin=margin)
        return "; ".join([text, *(_cause_text(cause, evaluation.classes) for cause in row.gate.causes)])
    text = translate("{span}: the margin of {margin} points lies within", span=span, margin=margin)
    return "; ".join([text, *_advice(evaluation, row.gate)])


def _advice(evaluation: Evaluation, gate: Gate) -> list[str]:
    """Return how to get a decision."""
    advice, least = [], evaluation.decidable_margin_points
    margin = evaluation.margin_points if gate.margin_points is None else gate.margin_points
    if least is not None and margin < least:
        advice.append(
            translate(
                "{images} photos can decide margins of {least} points or more",
                images=f"{evaluation.images:,}",
                least=f"{least:g}",
            )
        )
    if gate.images_to_decide is not None:
        images = f"{gate.images_to_decide:,}"
        advice.append(translate("at these rates about {images} images would decide", images=images))
    elif not gate.causes:  # files of version 1 do not say whether more images would help
        advice.append(translate("more images alone would hardly decide"))
    return advice


def _cause_text(cause: Cause, classes: tuple[str, ...]) -> str:
    if isinstance(cause, ColoursSwapped):
        return translate(
            "{right} of {photos} photos are right as they are, {right_swapped} with red and blue swapped: it looks like BGR "
            "input",
            right=f"{cause.right:.0%}",
            photos=cause.photos,
            right_swapped=f"{cause.right_swapped:.0%}",
        )
    if isinstance(cause, ClassesPermuted):
        moves = [
            translate("{truth} is answered as {answer}", truth=classes[move.truth], answer=classes[move.answer])
            for move in cause.moves[:_NAMED_MOVES]
        ]
        named, more = ", ".join(moves), len(cause.moves) - _NAMED_MOVES
        if more > 0:
            named = translate("{moves} and {more} more", moves=named, more=more)
        return translate("the answers look permuted ({moves}): another class order", moves=named)
    return cause.text
