"""Sentences about results, for commands and reports; result files hold the facts only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vegrt.results.analysis import ExtraDrop
from vegrt.results.benchmark import Bench, Noise
from vegrt.results.common import Interval
from vegrt.results.evaluation import (
    Cause,
    ClassesPermuted,
    ColoursSwapped,
    Evaluation,
    Figures,
    NotRun,
    NotRunCause,
    TextCause,
)

_NAMED_MOVES = 4
_NOT_RUN: dict[NotRunCause, tuple[str, str]] = {  # cause and cure
    "checkpoint": ("the checkpoint, which does not ship and which evaluate runs in PyTorch", ""),
    "no-torch": ("the checkpoint: PyTorch is not installed here", "pip install 'vegrt[train]'"),
    "no-runtime": ("no runtime is installed here", "pip install 'vegrt[cpu]'"),
    "no-mnn": ("MNN is not installed", "pip install 'vegrt[mnn]'"),
    "no-openvino": ("ONNX Runtime has no bfloat16 convolution", "pip install 'vegrt[openvino]'"),
    "no-tensorrt": ("TensorRT is not installed here", "on the engine's GPU: pip install 'vegrt[tensorrt]'"),
    "rtx-engine": ("a TensorRT-RTX engine, which vegrt builds but does not run", ""),
    "not-requested": ("was not requested", ""),
}
MLPERF_STYLE = "MLPerf-style, not compliant: scaled down, without LoadGen, not reviewed"


def gate_sentence(evaluation: Evaluation, figures: Figures) -> str:
    """Return the reason for the gate's verdict on a candidate."""
    gate = figures.gate
    if gate.verdict == "REFERENCE":
        return "what the others are compared with"
    if texts := [cause.text for cause in gate.causes if isinstance(cause, TextCause)]:
        return "; ".join(texts)
    drop = _judged(gate.judged_drop or figures.paired.drop, evaluation.confidence)
    subject = "from the checkpoint to the reference: " if gate.judged_drop else ""
    margin = _margin(evaluation)
    if gate.verdict == "INCONCLUSIVE":
        return f"{subject}{drop}: {margin} lies within; {_advice(evaluation, gate.images_to_decide)}"
    causes = ", or ".join(cause_words(cause, evaluation.classes) for cause in gate.causes)
    side = "below" if gate.verdict == "PASS" else "above"
    return f"{subject}{drop}: all {side} {margin}{f'; {causes}' if causes else ''}"


def _judged(drop: Interval, confidence: float) -> str:
    interval = f"{confidence:.0%} interval {100 * drop.low:+.2f} to {100 * drop.high:+.2f}"
    return f"drop {100 * drop.value:+.2f} points, {interval}"


def _margin(evaluation: Evaluation) -> str:
    auto = " (auto: the smallest that this number of photos can decide)" if evaluation.margin_auto else ""
    return f"the margin of {evaluation.margin_points:g} points{auto}"


def _advice(evaluation: Evaluation, images_to_decide: int | None) -> str:
    enough = (
        f"about {images_to_decide:,} images would decide" if images_to_decide else "more images would hardly decide"
    )
    advice = f"at these rates {enough}"
    least = evaluation.decidable_margin_points
    if least is None or evaluation.margin_points >= least:
        return advice
    return f"{advice}; {evaluation.images:,} photos can decide margins of {least:g} points or more, see --margin"


def cause_words(cause: Cause, classes: Sequence[str]) -> str:
    """Return the description of a possible cause of a FAIL."""
    if isinstance(cause, ColoursSwapped):
        return f"{colours_words(cause)}: it looks like BGR input"
    if isinstance(cause, ClassesPermuted):
        moves = {move.truth: move.answer for move in cause.moves}
        return f"its answers look permuted ({moves_words(moves, classes)}): another class order"
    return cause.text


def colours_words(cause: ColoursSwapped) -> str:
    """Return the shares of right answers before and after swapping red and blue."""
    right = f"{cause.right:.0%} of {cause.photos} photos are right as they are"
    return f"{right}, {cause.right_swapped:.0%} with red and blue swapped"


def moves_words(moves: Mapping[int, int], classes: Sequence[str]) -> str:
    """Return the description of permuted classes; empty if there are none. moves: true class to predicted class, as indices."""
    named = [f"{classes[truth]} is answered as {classes[answer]}" for truth, answer in moves.items()]
    more = len(named) - _NAMED_MOVES
    return ", ".join(named[:_NAMED_MOVES]) + (f" and {more} more" if more > 0 else "")


def extra_drop_sentence(extra: ExtraDrop, confidence: float) -> str:
    """Return whether a candidate loses more on corrupted photos than on clean ones."""
    interval = extra.extra_drop
    ends = f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}"
    span = f"{100 * interval.value:+.2f} points, {confidence:.0%} interval {ends}"
    if interval.low > 0:
        return f"{extra.candidate} costs more on corrupted photos than on clean ones: {span}"
    if interval.high < 0:
        return f"{extra.candidate} costs less on corrupted photos than on clean ones: {span}"
    return f"{extra.candidate}: no difference between corrupted and clean photos is measurable ({span})"


def not_run_cause(missing: NotRun) -> str:
    """Return why an artifact was not run."""
    return missing.detail or "unknown" if missing.cause == "text" else _NOT_RUN[missing.cause][0]


def not_run_cure(missing: NotRun) -> str:
    """Return how to run the artifact; empty if that is unknown or pointless."""
    return "" if missing.cause == "text" else _NOT_RUN[missing.cause][1]


def noise_sentence(noise: Noise | None) -> str:
    """Return why a benchmark is noisy; empty if it is not, or if the file does not contain it."""
    if noise is None or not noise.is_noisy:
        return ""
    reasons = []
    if noise.busy:
        load = f"load average {noise.load_average or 0:.1f} on {noise.installed_cores} cores at the start"
        share = noise.others_share
        reasons.append(load if share is None else f"other programs took {share:.0%} of the cores ({load})")
    if noise.wide and noise.interval_share is not None:
        reasons.append(f"half of the intervals are wider than {noise.interval_share:.0%} of their median")
    return f"noisy: {'; '.join(reasons)}; repeat it on a quiet machine"


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
