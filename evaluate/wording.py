"""Sentences about results, for the terminal and the report; result files hold only facts.

Sentences that the report uses too take `translate`, which turns an English text with {places} and its values into the report's
language. Each such text is a key of the Korean catalogue, which a test checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from vegrt.results.analysis import ExtraDrop
from vegrt.results.benchmark import Bench, Noise
from vegrt.results.common import AnswersRecord, Interval, StatedSpeed
from vegrt.results.evaluation import (
    Cause,
    ClassesPermuted,
    ColoursSwapped,
    Evaluation,
    Figures,
    Gate,
    NotRun,
    NotRunCause,
    PixelFault,
    PixelsDiffer,
    TextCause,
)

Translate = Callable[..., str]  # takes a text, and the values of its {places} as keywords
_NAMED_MOVES = 4
_NOT_RUN: dict[NotRunCause, tuple[str, str]] = {  # cause and cure
    "checkpoint": ("the checkpoint, which only evaluate runs, in PyTorch, and which is not deployed", ""),
    "no-torch": ("the checkpoint: PyTorch is not installed", "pip install 'vegrt[train]'"),
    "no-runtime": ("no runtime is installed", "pip install 'vegrt[cpu]'"),
    "no-mnn": ("MNN is not installed", "pip install 'vegrt[mnn]'"),
    "no-openvino": ("ONNX Runtime has no bfloat16 convolution", "pip install 'vegrt[openvino]'"),
    "no-tensorrt": ("TensorRT is not installed", "on the engine's GPU: pip install 'vegrt[tensorrt]'"),
    "rtx-engine": ("a TensorRT-RTX engine, which vegrt builds but does not run", ""),
    "no-gpu": ("no usable GPU", "see: vegrt doctor"),
    "other-machine": ("an engine for another GPU or TensorRT", "vegrt infer IMAGES --runtime tensorrt --rebuild"),
    "not-loaded": ("it cannot be loaded", ""),
    "not-requested": ("it was not requested", ""),
    "added-since": ("it was added after the evaluation", "vegrt evaluate BUNDLE --data DATA"),
}
MLPERF_STYLE = "MLPerf-style, not compliant: scaled down, without LoadGen, not reviewed"


def in_english(text: str, /, **values: object) -> str:
    """Return the text with `values` in its {places}."""
    return text.format(**values) if values else text


def gate_reason(evaluation: Evaluation, figures: Figures, *, translate: Translate = in_english) -> str:
    """Return the reason for the gate's verdict: the drop with its interval, its place relative to the margin, and causes."""
    gate = figures.gate
    if gate.verdict == "REFERENCE":
        return translate("the other candidates are compared with it")
    texts = [cause.text for cause in gate.causes if isinstance(cause, TextCause)]
    if gate.verdict == "FAIL" and texts:  # files of version 1 store the whole reason as text
        return "; ".join(texts)
    parts = [_judgement(evaluation, figures, translate)]
    causes = [cause for cause in gate.causes if not isinstance(cause, TextCause)]
    parts += [cause_words(cause, evaluation.classes, translate=translate) for cause in causes]
    if gate.verdict == "INCONCLUSIVE":
        parts += _advice(evaluation, gate, translate)
    return "; ".join(parts)


def _judgement(evaluation: Evaluation, figures: Figures, translate: Translate) -> str:
    gate = figures.gate
    span = translate(
        "drop {span}", span=_span(gate.judged_drop or figures.paired.drop, evaluation.confidence, translate)
    )
    if gate.judged_drop:
        span = translate("from the checkpoint to the reference: {span}", span=span)
    margin = translate("the margin of {points} points", points=f"{margin_points(evaluation, gate):g}")
    if evaluation.margin_auto and gate.margin_points is None:
        images = f"{evaluation.images:,}"
        margin = translate("{margin} (the smallest that {images} photos can decide)", margin=margin, images=images)
    if gate.verdict == "PASS":
        return translate("{span}, entirely below {margin}", span=span, margin=margin)
    if gate.verdict == "FAIL":
        is_above = (gate.judged_drop or figures.paired.drop).low > margin_points(evaluation, gate) / 100
        if not is_above and any(isinstance(cause, ClassesPermuted) for cause in gate.causes):
            return translate("{span}; a wrong class order fails, whatever {margin}", span=span, margin=margin)
        return translate("{span}, entirely above {margin}", span=span, margin=margin)
    return translate("{span}, which includes {margin}", span=span, margin=margin)


def margin_points(evaluation: Evaluation, gate: Gate) -> float:
    """Return the margin of a verdict: the evaluation's, or in a merged evaluation that of the file that holds the verdict."""
    return evaluation.margin_points if gate.margin_points is None else gate.margin_points


def _span(interval: Interval, confidence: float, translate: Translate) -> str:
    return translate(
        "{value} points, {confidence} interval {low} to {high}",
        value=signed_points(interval.value),
        confidence=f"{confidence:.0%}",
        low=signed_points(interval.low),
        high=signed_points(interval.high),
    )


def signed_points(proportion: float) -> str:
    """Return a difference of proportions in signed percentage points; never a negative zero."""
    return f"{round(100 * proportion, 2) + 0.0:+.2f}"


def _advice(evaluation: Evaluation, gate: Gate, translate: Translate) -> list[str]:
    """Return how to get a decision."""
    advice, least = [], evaluation.decidable_margin_points
    if gate.images_to_decide is not None:
        images = f"{gate.images_to_decide:,}"
        advice.append(translate("at these rates about {images} images would decide", images=images))
    elif not gate.causes:  # files of version 1 do not state whether more images would help
        advice.append(translate("at these rates more images would hardly decide"))
    if least is not None and margin_points(evaluation, gate) < least:
        advice.append(
            translate(
                "{images} photos can decide margins of {points} points or more, set with --margin",
                images=f"{evaluation.images:,}",
                points=f"{least:g}",
            )
        )
    return advice


def cause_words(cause: Cause, classes: Sequence[str], *, translate: Translate = in_english) -> str:
    """Return the description of a possible cause of a FAIL. classes: names, in label order."""
    if isinstance(cause, ColoursSwapped):
        evidence = colours_words(cause, translate=translate)
        return translate("{evidence}: it looks like BGR input", evidence=evidence)
    if isinstance(cause, ClassesPermuted):
        moves = moves_words({move.truth: move.answer for move in cause.moves}, classes, translate=translate)
        return translate("the answers look permuted ({moves}): another class order", moves=moves)
    if isinstance(cause, PixelsDiffer):
        return pixels_words(cause, translate=translate)
    return cause.text


def pixels_words(cause: PixelsDiffer, *, translate: Translate = in_english) -> str:
    """Return how many answers agree with fp32 on pixels with the faults, and on right ones."""
    faults = " + ".join(_fault_words(fault, translate) for fault in cause.faults)
    return translate(
        "answers agree with fp32 on {faults}: {faulty} of {photos}, with fp32 on right pixels: {right} of {photos}",
        faults=faults,
        faulty=f"{cause.agreeing_faulty:,}",
        right=f"{cause.agreeing:,}",
        photos=f"{cause.photos:,}",
    )


def _fault_words(fault: PixelFault, translate: Translate) -> str:
    words: dict[PixelFault, str] = {
        "swapped-colours": translate("BGR pixels (red and blue swapped)"),
        "no-antialias": translate("pixels resized without antialias"),
        "nearest": translate("pixels resized to the nearest neighbour"),
        "bilinear": translate("pixels resized by bilinear interpolation"),
        "bicubic": translate("pixels resized by bicubic interpolation"),
        "stretched": translate("stretched photos"),
        "cropped": translate("photos cropped at the centre"),
        "not-normalised": translate("pixels that are not normalised (0 to 1)"),
        "half-normalised": translate("pixels normalised to -1 to 1"),
    }
    return words[fault]


def answers_words(answers: AnswersRecord, *, translate: Translate = in_english) -> str:
    """Return which file holds a device's answers, and what it does not have."""
    digest = f"{answers.sha256[:12]}…"
    if answers.kind == "top1":
        return translate(
            "answers from {file} (SHA-256 {digest}); figures of probabilities not available: top-1 alone",
            file=answers.file,
            digest=digest,
        )
    return translate("answers from {file} (SHA-256 {digest})", file=answers.file, digest=digest)


def stated_speed_words(speed: StatedSpeed) -> str:
    """Return the speed that an answers file states."""
    rate = f", {speed.images_per_s:,.0f} images/s" if speed.images_per_s is not None else ""
    return f"median {speed.p50_ms:.2f} ms, p95 {speed.p95_ms:.2f} ms{rate}, as stated by the answers' file"


def colours_words(cause: ColoursSwapped, *, translate: Translate = in_english) -> str:
    """Return the shares of right answers before and after swapping red and blue."""
    return translate(
        "{right} of {photos} photos are right as they are, {right_swapped} with red and blue swapped",
        right=f"{cause.right:.0%}",
        photos=cause.photos,
        right_swapped=f"{cause.right_swapped:.0%}",
    )


def moves_words(moves: Mapping[int, int], classes: Sequence[str], *, translate: Translate = in_english) -> str:
    """Return the description of permuted classes; empty if there are none. moves: true class to predicted class, as indices."""
    named = ", ".join(
        translate("{truth} is predicted as {answer}", truth=classes[truth], answer=classes[answer])
        for truth, answer in list(moves.items())[:_NAMED_MOVES]
    )
    more = len(moves) - _NAMED_MOVES
    return translate("{moves} and {more} more", moves=named, more=more) if more > 0 else named


def extra_drop_sentence(extra: ExtraDrop, confidence: float, *, translate: Translate = in_english) -> str:
    """Return whether a candidate loses more accuracy on corrupted photos than on clean ones, without a final period."""
    values = {"key": extra.candidate, "span": _span(extra.extra_drop, confidence, translate)}
    if extra.extra_drop.low > 0:
        return translate("{key} loses more on corrupted photos than on clean ones: {span}", **values)
    if extra.extra_drop.high < 0:
        return translate("{key} loses less on corrupted photos than on clean ones: {span}", **values)
    return translate("{key}: no measurable difference between corrupted and clean photos: {span}", **values)


def not_run_cause(missing: NotRun) -> str:
    """Return why an artifact was not run."""
    if missing.cause == "text":
        return missing.detail or "unknown"
    cause = _NOT_RUN[missing.cause][0]
    if (engine := missing.engine) is not None:
        device = f"{engine.device} ({engine.target})" if engine.device else engine.target
        cause = f"{cause}: built for {device} by {engine.builder} {engine.version}"
    return f"{cause} ({missing.detail})" if missing.detail else cause


def not_run_cure(missing: NotRun) -> str:
    """Return how to run the artifact; empty if that is unknown or pointless."""
    return "" if missing.cause == "text" else _NOT_RUN[missing.cause][1]


def noise_warning(noise: Noise | None, *, translate: Translate = in_english) -> str:
    """Return what made a benchmark noisy, and the cure; empty if it was not noisy, or if the file does not state it."""
    if noise is None or not noise.is_noisy:
        return ""
    reasons = []
    if noise.busy and noise.others_share is not None:
        reasons.append(translate("other programs used {share} of the cores", share=f"{noise.others_share:.0%}"))
    if noise.busy and noise.load_average is not None:
        load, cores = f"{noise.load_average:.1f}", noise.installed_cores
        reasons.append(translate("the load average was {load} on {cores} cores at the start", load=load, cores=cores))
    if noise.wide and noise.interval_share is not None:
        width = f"{noise.interval_share:.0%}"
        reasons.append(translate("half of the intervals are wider than {width} of their median", width=width))
    return translate("{reasons}. Repeat vegrt bench on a quiet machine.", reasons="; ".join(reasons))


def skipped_sentence(bench: Bench) -> str:
    """Return the cases and memory measurements that did not fit into the time budget; empty if all did."""
    if not bench.skipped:
        return ""
    keys = {row.key for row in bench.candidates}
    by_batch: dict[int, list[str]] = {}
    for skipped in bench.skipped:
        if skipped.what == "times":
            by_batch.setdefault(skipped.batch, []).append(skipped.key)
    parts = [f"batch {batch} of {_all_or_names(names, keys)}" for batch, names in by_batch.items()]
    if peaks := [skipped.key for skipped in bench.skipped if skipped.what == "memory"]:
        parts.append(f"memory of {_all_or_names(peaks, keys)}")
    return f"not measured in {bench.budget_s:g} s: {'; '.join(parts)}; raise --budget-s"


def _all_or_names(names: Iterable[str], keys: set[str]) -> str:
    return "all" if set(names) == keys and len(keys) > 1 else ", ".join(names)
