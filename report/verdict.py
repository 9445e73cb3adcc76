"""The verdict as text: the file to ship, its loss of accuracy, its speed, and what is unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from vegrt.evaluate.wording import answers_words, gate_reason, noise_warning
from vegrt.infer.runtimes.objective import Objective, preference
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Statement, verdict_words
from vegrt.report.language.language import translate
from vegrt.report.speed import speed_sentence
from vegrt.report.summary import SummaryRow, candidate_name
from vegrt.results.common import ANSWERS

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "UNKNOWN"]
_OUTCOMES: tuple[Outcome, ...] = ("PASS", "INCONCLUSIVE", "FAIL")  # best first
_SMALLER = 1.05  # smaller ratios of file sizes are not mentioned


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The verdict on a bundle.

    chosen: the fastest candidate among those with the best verdict; None if none was evaluated. to_ship: the choice of `infer` by
    these results: the fastest among the reference and the candidates that passed.
    """

    outcome: Outcome
    headline: str
    statements: tuple[Statement, ...]
    chosen: SummaryRow | None = None
    to_ship: SummaryRow | None = None


def conclude(facts: Facts, rows: Sequence[SummaryRow]) -> Conclusion:
    """Return the conclusion from a bundle's rows.

    The checkpoint in torch and the answers of other devices have verdicts too, but are no files to ship.
    """
    candidates = [
        row for row in rows if row.verdict not in (None, "REFERENCE") and row.runtime not in ("torch", ANSWERS)
    ]
    if not candidates:
        return _unknown(facts, rows)
    outcome = next(outcome for outcome in _OUTCOMES if any(row.verdict == outcome for row in candidates))
    order = partial(_preference, objective=facts.objective)
    chosen = min((row for row in candidates if row.verdict == outcome), key=order)
    reference = next(row for row in rows if row.verdict == "REFERENCE")
    is_timed = reference.cost_ms(facts.objective) is not None
    is_slower = outcome == "PASS" and is_timed and order(reference) < order(chosen)
    to_ship = chosen if outcome == "PASS" and not is_slower else reference
    checkpoint = next((row for row in rows if row.runtime == "torch" and row.verdict != "REFERENCE"), None)
    statements = (
        Statement(translate("File to ship:"), _advice(facts, outcome, to_ship, is_slower=is_slower)),
        Statement(translate("Accuracy:"), _of_candidate(chosen, to_ship, _accuracy(facts, chosen))),
        Statement(translate("Speed:"), _of_candidate(chosen, to_ship, speed_sentence(facts, chosen, reference, rows))),
        Statement(translate("Size:"), _of_candidate(chosen, to_ship, _size(chosen, reference))),
        Statement(
            translate("Noisy times:"), noise_warning(facts.bench.noise if facts.bench else None, translate=translate)
        ),
        Statement(translate("Other candidates:"), _others(chosen, candidates)),
        *device_statements(facts),
        Statement(translate("Export:"), _checkpoint(facts, checkpoint)),
    )
    filled = tuple(statement for statement in statements if statement.text)
    return Conclusion(outcome, _headline(outcome, chosen, reference, is_slower=is_slower), filled, chosen, to_ship)


def _headline(outcome: Outcome, chosen: SummaryRow, reference: SummaryRow, *, is_slower: bool) -> str:
    name, variant = candidate_name(chosen), reference.variant
    if outcome == "INCONCLUSIVE":
        return translate("No candidate is proven to keep the accuracy of {reference}", reference=variant)
    if outcome == "FAIL":
        return translate("No candidate keeps the accuracy of {reference}", reference=variant)
    if is_slower:
        return translate("{name} keeps the accuracy of {reference}, but is no faster", name=name, reference=variant)
    return translate("{name} keeps the accuracy of {reference}", name=name, reference=variant)


def _unknown(facts: Facts, rows: Sequence[SummaryRow]) -> Conclusion:
    command = f"vegrt evaluate {facts.bundle.path} --data DATA"
    if facts.evaluation is None:
        headline = translate("Nothing has been evaluated yet")
        text = translate("The speed was measured, but not the accuracy. Run: {command}", command=command)
    else:
        headline = translate("Only {variant} has been evaluated", variant=rows[0].variant)
        text = translate("No other variant to compare. Export the variants, then run: {command}", command=command)
    return Conclusion("UNKNOWN", headline, (Statement("", text), *device_statements(facts)))


def device_statements(facts: Facts) -> list[Statement]:
    """Return the verdict on each device whose answers were judged."""
    if not (evaluation := facts.evaluation):
        return []
    sentences = [
        translate(
            "{name}: {verdict}; {reason}; {answers}.",
            name=row.key,
            verdict=verdict_words(row.gate.verdict),
            reason=gate_reason(evaluation, row, translate=translate),
            answers=answers_words(row.answers, translate=translate),
        )
        for row in facts.evaluated()
        if row.answers is not None
    ]
    return [Statement(translate("Answers of another device:"), sentence) for sentence in sentences]


def _advice(facts: Facts, outcome: Outcome, to_ship: SummaryRow, *, is_slower: bool) -> str:
    """Return the file to ship, and the reason if it is not the chosen candidate."""
    artifacts = facts.bundle.manifest.artifacts
    path = next(artifact.path for artifact in artifacts if artifact.sha256 == to_ship.artifact_sha256)
    name = translate("{path} ({candidate})", path=path, candidate=candidate_name(to_ship))
    if outcome == "FAIL":
        return translate("{name}, or calibrate again.", name=name)
    if outcome == "INCONCLUSIVE":
        return translate("{name}, until the verdict is decided.", name=name)
    return translate("{name}: it is the fastest.", name=name) if is_slower else f"{name}."


def _of_candidate(chosen: SummaryRow, to_ship: SummaryRow, text: str) -> str:
    """Return the text, with the candidate's name if it is not the one to ship."""
    if not text or chosen is to_ship:
        return text
    return translate("{name}: {text}", name=candidate_name(chosen), text=text)


def _accuracy(facts: Facts, chosen: SummaryRow) -> str:
    assert facts.evaluation is not None
    assert chosen.verdict is not None
    figures = next(row for row in facts.evaluated() if row.key == chosen.key)
    reason = f"{gate_reason(facts.evaluation, figures, translate=translate)} ({verdict_words(chosen.verdict)})"
    return translate(
        "{reason}. {flips} of {images} test photos changed their answer.",
        reason=reason,
        flips=chosen.flips_cell(),
        images=f"{facts.evaluation.images:,}",
    )


def _size(chosen: SummaryRow, reference: SummaryRow) -> str:
    ratio = reference.size_bytes / chosen.size_bytes
    if ratio <= _SMALLER:
        return ""
    return translate(
        "{size} MB, {ratio} times smaller than {reference}.",
        size=f"{chosen.size_bytes / 1e6:.1f}",
        ratio=f"{ratio:.1f}",
        reference=reference.variant,
    )


def _others(chosen: SummaryRow, candidates: Sequence[SummaryRow]) -> str:
    """Return the verdicts of all other candidates, failures first, so that none is overlooked."""
    keys: dict[str, list[str]] = {"FAIL": [], "INCONCLUSIVE": [], "PASS": []}
    for row in candidates:
        if row.key != chosen.key and row.verdict is not None:
            keys[row.verdict].append(row.key)
    texts = [f"{', '.join(names)}: {verdict_words(verdict)}" for verdict, names in keys.items() if names]
    return f"{'; '.join(texts)}." if texts else ""


def _checkpoint(facts: Facts, row: SummaryRow | None) -> str:
    """Return how the export changed the answers: the checkpoint in torch against the ONNX model with the same weights."""
    if row is None or facts.evaluation is None:
        return ""
    return translate(
        "the PyTorch checkpoint and the exported fp32 differ on {flips} of {images} test photos.",
        flips=row.flips_cell(),
        images=f"{facts.evaluation.images:,}",
    )


def _preference(row: SummaryRow, objective: Objective) -> tuple[float, float, int, str]:
    """Return the sort key that `infer` uses; without measurements, the smaller drop comes first."""
    cost, size_bytes, key = preference(row.cost_ms(objective), row.size_bytes, row.key)
    drop = row.drop.value if row.drop and cost == float("inf") else 0.0
    return (cost, drop, size_bytes, key)
