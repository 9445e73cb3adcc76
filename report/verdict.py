"""The verdict in words: which candidate to ship, by what evidence, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from vegrt.infer.runtimes.objective import Objective, preference
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import verdict_words
from vegrt.report.language.language import translate
from vegrt.report.speed import speed_sentences
from vegrt.report.summary import SummaryRow, name_of, points

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "UNKNOWN"]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What the gate's verdicts amount to.

    chosen: the candidate spoken of, the fastest of those with the best verdict; None when none was judged. to_ship: what `infer`
    takes by these results: the fastest of what passed and of the reference.
    """

    outcome: Outcome
    headline: str
    sentences: tuple[str, ...]
    chosen: SummaryRow | None = None
    to_ship: SummaryRow | None = None


def conclude(facts: Facts, compared: Sequence[SummaryRow]) -> Conclusion:
    """Return the conclusion from a bundle's rows. The checkpoint in torch is judged too, but is nothing to ship."""
    judged = [row for row in compared if row.verdict not in (None, "REFERENCE") and row.runtime != "torch"]
    if not judged:
        return _unknown(facts, compared)
    outcomes: tuple[Outcome, ...] = ("PASS", "INCONCLUSIVE", "FAIL")
    outcome = next(outcome for outcome in outcomes if any(row.verdict == outcome for row in judged))
    order = partial(_preference, objective=facts.objective)
    chosen = min((row for row in judged if row.verdict == outcome), key=order)
    reference = next(row for row in compared if row.verdict == "REFERENCE")
    measured = reference.cost_ms(facts.objective) is not None
    to_ship = chosen if outcome == "PASS" and not (measured and order(reference) < order(chosen)) else reference
    kept, compared_in_speed = reference.variant, chosen.cost_ms(facts.objective) is not None
    headlines = {
        "PASS": translate("{name} keeps the accuracy of {reference}", name=name_of(chosen), reference=kept)
        if to_ship is chosen or not compared_in_speed
        else translate(
            "{name} keeps the accuracy of {reference}, but is no faster", name=name_of(chosen), reference=kept
        ),
        "INCONCLUSIVE": translate("No candidate is proven to keep the accuracy of {reference}", reference=kept),
        "FAIL": translate("No candidate keeps the accuracy of {reference}", reference=kept),
    }
    checkpoint = next((row for row in compared if row.runtime == "torch" and row.verdict != "REFERENCE"), None)
    sentences = (
        _accuracy(facts, chosen, outcome),
        *speed_sentences(facts, chosen, reference, compared),
        _others(chosen, judged),
        _checkpoint(facts, checkpoint),
        _advice(outcome, reference, faster=to_ship is reference and compared_in_speed),
    )
    return Conclusion(outcome, headlines[outcome], tuple(filter(None, sentences)), chosen, to_ship)


def reason(facts: Facts, row: SummaryRow) -> str:
    """Return why the gate decided so, in the report's language, from the figures of the result."""
    assert facts.evaluation is not None
    assert row.drop is not None
    span = translate(
        "drop {drop} points, {confidence} interval {low} to {high}",
        drop=points(row.drop.value),
        confidence=f"{facts.evaluation['confidence']:.0%}",
        low=points(row.drop.low),
        high=points(row.drop.high),
    )
    margin, images = f"{facts.evaluation['margin_points']:g}", f"{facts.evaluation['images']:,}"
    if facts.evaluation.get("margin_auto"):
        margin = translate("{margin} (the least that {images} photos decide)", margin=margin, images=images)
    if row.verdict == "PASS":
        return translate("{span}: all below the margin of {margin} points", span=span, margin=margin)
    if row.verdict == "FAIL":
        _, _, cause = row.reason.partition("; ")
        text = translate("{span}: all above the margin of {margin} points", span=span, margin=margin)
        return f"{text}; {cause}" if cause else text
    text = translate("{span}: the margin of {margin} points lies within", span=span, margin=margin)
    least = facts.evaluation.get("decidable_margin_points")
    if least is not None and facts.evaluation["margin_points"] < least:
        decided = translate(
            "{images} photos decide margins of {least} points or more", images=images, least=f"{least:g}"
        )
        text = f"{text}; {decided}"
    if row.images_to_decide is not None:
        return f"{text}; {translate('at these rates about {images} images would decide', images=f'{row.images_to_decide:,}')}"
    return f"{text}; {translate('more images alone would hardly decide')}" if "hardly" in row.reason else text


def _unknown(facts: Facts, compared: Sequence[SummaryRow]) -> Conclusion:
    command = f"vegrt evaluate {facts.bundle.path} --data DATA"
    if facts.evaluation is None:
        text = translate(
            "How fast the candidates are was measured; whether they are still right was not. Run: {command}",
            command=command,
        )
        return Conclusion("UNKNOWN", translate("Nothing has been evaluated yet"), (text,))
    text = translate(
        "There is nothing to compare it with. Export the other variants, then run: {command}",
        command=command,
    )
    return Conclusion("UNKNOWN", translate("Only {variant} has been evaluated", variant=compared[0].variant), (text,))


def _accuracy(facts: Facts, chosen: SummaryRow, outcome: Outcome) -> str:
    assert facts.evaluation is not None
    changed = {"flips": f"{chosen.flips or 0:,}", "images": f"{facts.evaluation['images']:,}"}
    said = {"reason": reason(facts, chosen), "verdict": verdict_words(outcome)}
    if outcome == "PASS":
        return translate(
            "It changed its answer on {flips} of {images} test photos: {reason} ({verdict}).", **changed, **said
        )
    return translate(
        "{name} changed its answer on {flips} of {images} test photos: {reason} ({verdict}).",
        name=name_of(chosen),
        **changed,
        **said,
    )


def _others(chosen: SummaryRow, judged: Sequence[SummaryRow]) -> str:
    """Return the verdicts of all the others, grouped: a failure next to the chosen one must not stay unsaid."""
    others = [row for row in judged if row.key != chosen.key]
    groups = {
        verdict: [row.key for row in others if row.verdict == verdict] for verdict in ("FAIL", "INCONCLUSIVE", "PASS")
    }
    texts = [f"{', '.join(keys)}: {verdict_words(verdict)}" for verdict, keys in groups.items() if keys]
    return translate("The others: {verdicts}.", verdicts="; ".join(texts)) if texts else ""


def _checkpoint(facts: Facts, row: SummaryRow | None) -> str:
    """Return what exporting itself cost: the checkpoint in torch against the ONNX model of the same weights."""
    if row is None or facts.evaluation is None:
        return ""
    return translate(
        "The checkpoint in PyTorch and the exported fp32 differ on {flips} of {images} test photos.",
        flips=f"{row.flips or 0:,}",
        images=f"{facts.evaluation['images']:,}",
    )


def _advice(outcome: Outcome, reference: SummaryRow, *, faster: bool) -> str:
    """Return what to ship where it is not the chosen candidate. faster: the reference is the faster one."""
    name = name_of(reference)
    if outcome == "FAIL":
        return translate("Ship {name}, or calibrate again.", name=name)
    if outcome == "INCONCLUSIVE":
        return translate("Until that is decided, ship {name}.", name=name)
    return translate("Ship {name}: it is the fastest.", name=name) if faster else ""


def _preference(row: SummaryRow, objective: Objective) -> tuple[float, float, int, str]:
    """Rank as `infer` does; where nothing was measured, by the smaller drop."""
    cost, size_bytes, key = preference(row.cost_ms(objective), row.size_bytes, row.key)
    drop = row.drop.value if row.drop and cost == float("inf") else 0.0
    return (cost, drop, size_bytes, key)
