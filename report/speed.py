"""The speed of the chosen candidate in words, by the objective that it was picked by, and how far the times can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vegrt.evaluate.benchmark.statistics import Ratio, ratio_of_times, to_array
from vegrt.report.facts.dict_timings import is_noisy, point_of
from vegrt.report.facts.facts import Facts
from vegrt.report.language.language import translate
from vegrt.report.summary import SummaryRow, name_of

_CLEAR = 1.05  # a ratio below is no difference worth a word


def speed_sentences(
    facts: Facts, chosen: SummaryRow, reference: SummaryRow, compared: Sequence[SummaryRow]
) -> list[str]:
    """Return the speed against the reference, and against fp32 on the same runtime: what quantization alone gained."""
    if chosen.cost_ms(facts.objective) is None:
        return [translate("Its speed has not been measured.")]
    same = next((row for row in compared if (row.variant, row.runtime) == ("fp32", chosen.runtime)), None)
    ratios = [_ratio(facts, chosen, reference, name_of(reference))] if reference.key != chosen.key else []
    if same and same.key not in (reference.key, chosen.key):
        ratios.append(_ratio(facts, chosen, same, translate("fp32 on the same runtime")))
    text = _figure(facts, chosen, [ratio for ratio in ratios if ratio])
    smaller = reference.size_bytes / chosen.size_bytes
    size = [translate("Its file is {ratio} times smaller.", ratio=f"{smaller:.1f}")] if smaller > _CLEAR else []
    return [text, *size, *noise_sentences(facts.bench)]


def noise_sentences(bench: Mapping[str, Any] | None) -> list[str]:
    """Return what disturbed a benchmark; nothing where it was quiet or does not say."""
    if bench is None or not is_noisy(bench):
        return []
    noise, said = bench["noise"], []
    if noise["busy"] and noise["others_share"] is not None:
        said.append(translate("other programs took {share} of the cores", share=f"{noise['others_share']:.0%}"))
    if noise["busy"] and noise["load_average"] is not None:
        load, cores = f"{noise['load_average']:.1f}", noise["installed_cores"]
        said.append(translate("the load average was {load} on {cores} cores when it began", load=load, cores=cores))
    if noise["wide"]:
        width = f"{noise['interval_share']:.0%}"
        said.append(translate("half of the intervals are wider than {width} of their median", width=width))
    return [
        translate("The times are noisy: {reasons}. Repeat vegrt bench on a quiet machine.", reasons="; ".join(said))
    ]


def speed_up(facts: Facts, row: SummaryRow, other: SummaryRow) -> Ratio | None:
    """Return how many times as fast as `other` a candidate is by the objective; None where one of them was not measured.

    The interval is that of the timings, paired where they come from the same rounds; without timings, it is the value alone.
    """
    measured = {one["key"]: point_of(one["batches"], facts.objective) for one in facts.measured()}
    own, base = measured.get(row.key), measured.get(other.key)
    cost, other_cost = row.cost_ms(facts.objective), other.cost_ms(facts.objective)
    if own is None or base is None or cost is None or other_cost is None:
        return None
    if not (own.get("samples_ms") and base.get("samples_ms")):
        return Ratio(other_cost / cost, other_cost / cost, other_cost / cost, paired=False)
    times, other_times = (to_array(point["samples_ms"]) / point["batch"] for point in (own, base))
    paired = facts.bench is not None and facts.bench.get("scenario") == "interleaved" and len(times) == len(other_times)
    return ratio_of_times(times, other_times, paired=paired)


def _figure(facts: Facts, chosen: SummaryRow, ratios: Sequence[str]) -> str:
    """Return the number that the candidate was picked by, with its ratios."""
    if facts.objective == "throughput":
        told: dict[str, object] = {"rate": f"{chosen.images_per_s:,.0f}", "batch": chosen.best_batch}
        if len(ratios) == 2:
            told |= {"one": ratios[0], "other": ratios[1]}
            return translate("It answers {rate} photos per second in batches of {batch}, {one} and {other}.", **told)
        if ratios:
            return translate("It answers {rate} photos per second in batches of {batch}, {one}.", **told, one=ratios[0])
        return translate("It answers {rate} photos per second in batches of {batch}.", **told)
    p50 = f"{chosen.p50_ms:.2f}"
    if len(ratios) == 2:
        return translate(
            "One photo takes it {p50} ms (median), {one} and {other}.", p50=p50, one=ratios[0], other=ratios[1]
        )
    if ratios:
        return translate("One photo takes it {p50} ms (median), {one}.", p50=p50, one=ratios[0])
    return translate("One photo takes it {p50} ms (median).", p50=p50)


def _ratio(facts: Facts, chosen: SummaryRow, row: SummaryRow, other: str) -> str:
    """Return a ratio with its interval; one that its interval does not tell from 1 is no difference."""
    ratio = speed_up(facts, chosen, row)
    if ratio is None:
        return ""
    digits = 1 if ratio.low >= 1 else 2
    span = translate("{low} to {high}", low=f"{ratio.low:.{digits}f}", high=f"{ratio.high:.{digits}f}")
    if ratio.value >= _CLEAR and ratio.low > 1:
        text = translate("{ratio}× as fast as {other}", ratio=f"{ratio.value:.1f}", other=other)
    elif ratio.value <= 1 / _CLEAR and ratio.high < 1:
        text = translate("slower ({ratio}× the speed) than {other}", ratio=f"{ratio.value:.2f}", other=other)
    else:
        text = translate("no faster than {other}", other=other)
    return f"{text} ({span})" if ratio.high > ratio.low else text
