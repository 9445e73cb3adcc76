"""The verdict in words: which candidate to ship, by what evidence, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vegrt.report.facts import Facts
from vegrt.report.summary import Row

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
    """Return the conclusion from a bundle's rows."""
    judged = [row for row in compared if row.verdict not in (None, "REFERENCE")]
    if not judged:
        return _unknown(facts, compared)
    outcomes: tuple[Outcome, ...] = ("PASS", "INCONCLUSIVE", "FAIL")
    outcome = next(outcome for outcome in outcomes if any(row.verdict == outcome for row in judged))
    chosen = max((row for row in judged if row.verdict == outcome), key=_preference)
    reference = next(row for row in compared if row.verdict == "REFERENCE")
    headlines = {
        "PASS": f"{_name(chosen)} keeps the accuracy of {reference.variant}",
        "INCONCLUSIVE": f"No candidate is proven to keep the accuracy of {reference.variant}",
        "FAIL": f"No candidate keeps the accuracy of {reference.variant}",
    }
    accuracy = _accuracy(facts, chosen, outcome)
    sentences = (accuracy, _speed(chosen, reference, compared), _others(chosen, judged), _advice(outcome, reference))
    return Conclusion(outcome, headlines[outcome], tuple(filter(None, sentences)), chosen)


def _unknown(facts: Facts, compared: Sequence[Row]) -> Conclusion:
    command = f"vegrt evaluate {facts.bundle.path} --data DATA"
    if facts.evaluation is None:
        return Conclusion(
            "UNKNOWN",
            "Nothing has been evaluated yet",
            (f"How fast the candidates are was measured; whether they are still right was not. Run: {command}",),
        )
    (reference,) = compared[:1]
    return Conclusion(
        "UNKNOWN",
        f"Only {reference.variant} has been evaluated",
        (f"There is nothing to compare it with. Export the other variants, then run: {command}",),
    )


def _accuracy(facts: Facts, chosen: Row, outcome: Outcome) -> str:
    images = facts.evaluation["images"] if facts.evaluation else 0
    subject = "It" if outcome == "PASS" else _name(chosen)
    changed = f"changed its answer on {chosen.flips or 0:,} of {images:,} test photos"
    return f"{subject} {changed}: {chosen.reason} ({outcome})."


def _speed(chosen: Row, reference: Row, compared: Sequence[Row]) -> str:
    """Return the speed against the reference, and against fp32 on the same runtime: what quantization alone gained."""
    if chosen.p50_ms is None:
        return "Its speed has not been measured."
    text = f"One photo takes {'it' if chosen.verdict == 'PASS' else 'this one'} {chosen.p50_ms:.2f} ms (median)"
    if reference.p50_ms:
        text += f", {_ratio(reference.p50_ms / chosen.p50_ms)} {_name(reference)}"
    same = next((row for row in compared if (row.variant, row.runtime) == ("fp32", chosen.runtime)), None)
    if same and same.p50_ms and same.key not in (reference.key, chosen.key):
        text += f" and {_ratio(same.p50_ms / chosen.p50_ms)} fp32 on the same runtime"
    smaller = reference.size_bytes / chosen.size_bytes
    size = f"; its file is {smaller:.1f} times smaller" if smaller > 1.05 else ""
    return f"{text}{size}."


def _ratio(speed_up: float) -> str:
    if speed_up >= 1.05:
        return f"{speed_up:.1f}× as fast as"
    return "no faster than" if speed_up > 0.95 else f"slower ({speed_up:.2f}× the speed) than"


def _others(chosen: Row, judged: Sequence[Row]) -> str:
    """Return the verdicts of all the others, grouped: a failure next to the chosen one must not stay unsaid."""
    others = [row for row in judged if row.key != chosen.key]
    groups = {
        verdict: [row.key for row in others if row.verdict == verdict] for verdict in ("FAIL", "INCONCLUSIVE", "PASS")
    }
    texts = [f"{', '.join(keys)}: {verdict}" for verdict, keys in groups.items() if keys]
    return f"The others: {'; '.join(texts)}." if texts else ""


def _advice(outcome: Outcome, reference: Row) -> str:
    return {
        "FAIL": f"Ship {_name(reference)}, or calibrate again.",
        "INCONCLUSIVE": f"Until that is decided, ship {_name(reference)}.",
    }.get(outcome, "")


def _preference(row: Row) -> tuple[float, float, int]:
    """Rank by speed, then by the smaller drop, then by the smaller file."""
    return row.images_per_s or 0.0, -(row.drop.value if row.drop else 0.0), -row.size_bytes


def _name(row: Row) -> str:
    return f"{row.variant} on {row.runtime_name}"
