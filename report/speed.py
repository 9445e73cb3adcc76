"""Sentences about speed: of the chosen candidate, for the objective that it was chosen by, and against the CPU's limits."""

from __future__ import annotations

from collections.abc import Sequence

from vegrt.evaluate.benchmark.statistics import Ratio, ratio_of_times, to_array
from vegrt.infer.runtimes.objective import objective_timing
from vegrt.report.facts.facts import Facts
from vegrt.report.language.language import mark, translate
from vegrt.report.summary import RUNTIMES, SummaryRow, candidate_name
from vegrt.results.benchmark import ARITHMETICS, Arithmetic, Bench, BenchCandidate, arithmetic_of

_CLEAR = 1.05  # smaller ratios are not mentioned as a difference


def speed_sentence(facts: Facts, chosen: SummaryRow, reference: SummaryRow, rows: Sequence[SummaryRow]) -> str:
    """Return the speed, compared with the reference and with fp32 on the same runtime, which shows the gain from quantization."""
    if chosen.cost_ms(facts.objective) is None:
        return translate("not measured.")
    place = (chosen.runtime, chosen.device)
    same = next((row for row in rows if (row.variant, (row.runtime, row.device)) == ("fp32", place)), None)
    ratios = [_ratio_text(facts, chosen, reference, candidate_name(reference))] if reference.key != chosen.key else []
    if same and same.key not in (reference.key, chosen.key):
        ratios.append(_ratio_text(facts, chosen, same, translate("fp32 on the same runtime")))
    return _figure_sentence(facts, chosen, [ratio for ratio in ratios if ratio])


def speed_up(facts: Facts, row: SummaryRow, baseline: SummaryRow) -> Ratio | None:
    """Return how many times as fast as `baseline` a candidate is for the objective; None if one of them was not measured.

    The interval is that of the timings, paired if they come from the same rounds; without timings, it is the value alone.
    """
    timings = {candidate.key: objective_timing(candidate.batches, facts.objective) for candidate in facts.measured()}
    own, base = timings.get(row.key), timings.get(baseline.key)
    cost, base_cost = row.cost_ms(facts.objective), baseline.cost_ms(facts.objective)
    if own is None or base is None or cost is None or base_cost is None:
        return None
    if not (own.samples_ms and base.samples_ms):
        return Ratio(base_cost / cost, base_cost / cost, base_cost / cost, paired=False)
    times, base_times = to_array(own.samples_ms) / own.batch, to_array(base.samples_ms) / base.batch
    runs = [facts.runs.get((key, timing.batch)) for key, timing in ((row.key, own), (baseline.key, base))]
    interleaved = facts.bench is not None and facts.bench.scenario == "interleaved" and runs[0] == runs[1]
    paired = interleaved and len(times) == len(base_times)
    return ratio_of_times(times, base_times, paired=paired)


def limits_per_s(bench: Bench) -> dict[str, float]:
    """Return the CPU's limits as images per second of the network, by their names, for the arithmetics of rows with a share."""
    names = {"float32": translate("limit in float32"), "int8": translate("limit in 8 bits")}
    return {
        names[arithmetic]: limit.macs_per_s / bench.macs_per_image
        for arithmetic in _best_shares(bench)
        if (limit := bench.limit(arithmetic)) and bench.macs_per_image
    }


def limit_sentences(facts: Facts) -> str:
    """Return the largest share of what the CPU can multiply in each arithmetic; empty if no share was measured."""
    if facts.bench is None:
        return ""
    texts = {
        "float32": mark("{name} runs {network} at {share} of what this CPU can multiply in float32 ({limit} GMAC/s)."),
        "int8": mark("{name} runs {network} at {share} of what this CPU can multiply in 8 bits ({limit} GMAC/s)."),
    }
    sentences = []
    for arithmetic, (row, share) in _best_shares(facts.bench).items():
        if limit := facts.bench.limit(arithmetic):
            name = translate(
                "{variant} on {runtime}", variant=row.variant, runtime=RUNTIMES.get(row.runtime, row.runtime)
            )
            rate = f"{limit.macs_per_s / 1e9:,.0f}"
            network = facts.bundle.manifest.name
            sentences.append(translate(texts[arithmetic], name=name, network=network, share=f"{share:.0%}", limit=rate))
    if sentences and any(row.runtime == "mnn" for row in facts.bench.candidates):
        sentences.append(translate("Winograd's convolutions save multiplications, so a share may exceed 100%."))
    return " ".join(sentences)


def _best_shares(bench: Bench) -> dict[Arithmetic, tuple[BenchCandidate, float]]:
    """Return the candidate with the largest share of the limit in each arithmetic, and that share."""
    best: dict[Arithmetic, tuple[BenchCandidate, float]] = {}
    for row in bench.candidates:
        shares = [timing.limit_share for timing in row.batches if timing.limit_share is not None]
        arithmetic = arithmetic_of(row.variant)
        if shares and arithmetic and (arithmetic not in best or max(shares) > best[arithmetic][1]):
            best[arithmetic] = row, max(shares)
    return {arithmetic: best[arithmetic] for arithmetic in ARITHMETICS if arithmetic in best}


def _figure_sentence(facts: Facts, chosen: SummaryRow, ratios: Sequence[str]) -> str:
    """Return the figure that the candidate was chosen by, with its ratios."""
    if facts.objective == "throughput":
        assert chosen.best is not None
        figure = translate(
            "{rate} photos per second in batches of {batch}",
            rate=f"{chosen.best.images_per_s:,.0f}",
            batch=chosen.best.batch,
        )
    else:
        figure = translate("{p50} ms per photo (median)", p50=f"{chosen.p50_ms:.2f}")
    if len(ratios) == 2:
        return translate("{figure}, {first} and {second}.", figure=figure, first=ratios[0], second=ratios[1])
    return translate("{figure}, {first}.", figure=figure, first=ratios[0]) if ratios else f"{figure}."


def _ratio_text(facts: Facts, chosen: SummaryRow, baseline: SummaryRow, name: str) -> str:
    """Return a ratio with its interval as text; no difference is stated if the interval includes 1."""
    ratio = speed_up(facts, chosen, baseline)
    if ratio is None:
        return ""
    digits = 1 if ratio.low >= 1 else 2
    interval = translate("{low} to {high}", low=f"{ratio.low:.{digits}f}", high=f"{ratio.high:.{digits}f}")
    if ratio.value >= _CLEAR and ratio.low > 1:
        text = translate("{ratio}× as fast as {other}", ratio=f"{ratio.value:.1f}", other=name)
    elif ratio.value <= 1 / _CLEAR and ratio.high < 1:
        text = translate("slower ({ratio}× the speed) than {other}", ratio=f"{ratio.value:.2f}", other=name)
    else:
        text = translate("no faster than {other}", other=name)
    return f"{text} ({interval})" if ratio.high > ratio.low else text
