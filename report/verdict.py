"""The verdict in words: which candidate to ship, by what evidence, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vegrt.report.blocks import verdict_words
from vegrt.report.facts import Facts
from vegrt.report.language import say
from vegrt.report.summary import Row, points

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "UNKNOWN"]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the gate's verdicts amount to.

    chosen: the candidate spoken of, the fastest of those with the best verdict; None when none was judged.
    """

    outcome: Outcome
    headline: str
    sentences: tuple[str, ...]
    chosen: Row | None = None


def conclude(facts: Facts, compared: Sequence[Row]) -> Conclusion:
    """Return the conclusion from a bundle's rows. The checkpoint in torch is judged too, but is nothing to ship."""
    judged = [row for row in compared if row.verdict not in (None, "REFERENCE") and row.runtime != "torch"]
    if not judged:
        return _unknown(facts, compared)
    outcomes: tuple[Outcome, ...] = ("PASS", "INCONCLUSIVE", "FAIL")
    outcome = next(outcome for outcome in outcomes if any(row.verdict == outcome for row in judged))
    chosen = max((row for row in judged if row.verdict == outcome), key=_preference)
    reference = next(row for row in compared if row.verdict == "REFERENCE")
    name, kept = name_of(chosen), reference.variant
    headlines = {
        "PASS": say("{name} keeps the accuracy of {reference}", name=name, reference=kept),
        "INCONCLUSIVE": say("No candidate is proven to keep the accuracy of {reference}", reference=kept),
        "FAIL": say("No candidate keeps the accuracy of {reference}", reference=kept),
    }
    checkpoint = next((row for row in compared if row.runtime == "torch" and row.verdict != "REFERENCE"), None)
    sentences = (
        _accuracy(facts, chosen, outcome),
        *_speed(chosen, reference, compared),
        _others(chosen, judged),
        _checkpoint(facts, checkpoint),
        _advice(outcome, reference),
    )
    return Conclusion(outcome, headlines[outcome], tuple(filter(None, sentences)), chosen)


def reason(facts: Facts, row: Row) -> str:
    """Return why the gate decided so, in the report's language, from the figures of the result."""
    assert facts.evaluation is not None
    assert row.drop is not None
    span = say(
        "drop {drop} points, {confidence} interval {low} to {high}",
        drop=points(row.drop.value),
        confidence=f"{facts.evaluation['confidence']:.0%}",
        low=points(row.drop.low),
        high=points(row.drop.high),
    )
    margin = f"{facts.evaluation['margin_points']:g}"
    if row.verdict == "PASS":
        return say("{span}: all below the margin of {margin} points", span=span, margin=margin)
    if row.verdict == "FAIL":
        _, _, cause = row.reason.partition("; ")
        text = say("{span}: all above the margin of {margin} points", span=span, margin=margin)
        return f"{text}; {cause}" if cause else text
    text = say("{span}: the margin of {margin} points lies within", span=span, margin=margin)
    if row.images_to_decide is not None:
        return f"{text}; {say('at these rates about {images} images would decide', images=f'{row.images_to_decide:,}')}"
    return f"{text}; {say('more images alone would hardly decide')}" if "hardly" in row.reason else text


def name_of(row: Row) -> str:
    """Return a candidate as people call it."""
    return say("{variant} on {runtime}", variant=row.variant, runtime=row.runtime_name)


def _unknown(facts: Facts, compared: Sequence[Row]) -> Conclusion:
    command = f"vegrt evaluate {facts.bundle.path} --data DATA"
    if facts.evaluation is None:
        text = say(
            "How fast the candidates are was measured; whether they are still right was not. Run: {command}",
            command=command,
        )
        return Conclusion("UNKNOWN", say("Nothing has been evaluated yet"), (text,))
    text = say(
        "There is nothing to compare it with. Export the other variants, then run: {command}",
        command=command,
    )
    return Conclusion("UNKNOWN", say("Only {variant} has been evaluated", variant=compared[0].variant), (text,))


def _accuracy(facts: Facts, chosen: Row, outcome: Outcome) -> str:
    assert facts.evaluation is not None
    changed = {"flips": f"{chosen.flips or 0:,}", "images": f"{facts.evaluation['images']:,}"}
    said = {"reason": reason(facts, chosen), "verdict": verdict_words(outcome)}
    if outcome == "PASS":
        return say("It changed its answer on {flips} of {images} test photos: {reason} ({verdict}).", **changed, **said)
    return say(
        "{name} changed its answer on {flips} of {images} test photos: {reason} ({verdict}).",
        name=name_of(chosen),
        **changed,
        **said,
    )


def _speed(chosen: Row, reference: Row, compared: Sequence[Row]) -> list[str]:
    """Return the speed against the reference, and against fp32 on the same runtime: what quantization alone gained."""
    if chosen.p50_ms is None:
        return [say("Its speed has not been measured.")]
    same = next((row for row in compared if (row.variant, row.runtime) == ("fp32", chosen.runtime)), None)
    ratios = [_ratio(reference.p50_ms / chosen.p50_ms, name_of(reference))] if reference.p50_ms else []
    if same and same.p50_ms and same.key not in (reference.key, chosen.key):
        ratios.append(_ratio(same.p50_ms / chosen.p50_ms, say("fp32 on the same runtime")))
    p50 = f"{chosen.p50_ms:.2f}"
    if len(ratios) == 2:
        text = say("One photo takes it {p50} ms (median), {one} and {other}.", p50=p50, one=ratios[0], other=ratios[1])
    elif ratios:
        text = say("One photo takes it {p50} ms (median), {one}.", p50=p50, one=ratios[0])
    else:
        text = say("One photo takes it {p50} ms (median).", p50=p50)
    smaller = reference.size_bytes / chosen.size_bytes
    return [text, say("Its file is {ratio} times smaller.", ratio=f"{smaller:.1f}")] if smaller > 1.05 else [text]


def _ratio(speed_up: float, other: str) -> str:
    if speed_up >= 1.05:
        return say("{ratio}× as fast as {other}", ratio=f"{speed_up:.1f}", other=other)
    if speed_up > 0.95:
        return say("no faster than {other}", other=other)
    return say("slower ({ratio}× the speed) than {other}", ratio=f"{speed_up:.2f}", other=other)


def _others(chosen: Row, judged: Sequence[Row]) -> str:
    """Return the verdicts of all the others, grouped: a failure next to the chosen one must not stay unsaid."""
    others = [row for row in judged if row.key != chosen.key]
    groups = {
        verdict: [row.key for row in others if row.verdict == verdict] for verdict in ("FAIL", "INCONCLUSIVE", "PASS")
    }
    texts = [f"{', '.join(keys)}: {verdict_words(verdict)}" for verdict, keys in groups.items() if keys]
    return say("The others: {verdicts}.", verdicts="; ".join(texts)) if texts else ""


def _checkpoint(facts: Facts, row: Row | None) -> str:
    """Return what exporting itself cost: the checkpoint in torch against the ONNX model of the same weights."""
    if row is None or facts.evaluation is None:
        return ""
    return say(
        "The checkpoint in PyTorch and the exported fp32 differ on {flips} of {images} test photos.",
        flips=f"{row.flips or 0:,}",
        images=f"{facts.evaluation['images']:,}",
    )


def _advice(outcome: Outcome, reference: Row) -> str:
    name = name_of(reference)
    if outcome == "FAIL":
        return say("Ship {name}, or calibrate again.", name=name)
    return say("Until that is decided, ship {name}.", name=name) if outcome == "INCONCLUSIVE" else ""


def _preference(row: Row) -> tuple[float, float, int]:
    """Rank by speed, then by the smaller drop, then by the smaller file."""
    return row.images_per_s or 0.0, -(row.drop.value if row.drop else 0.0), -row.size_bytes
