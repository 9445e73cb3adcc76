"""The charts of one training run, for its page and as PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import altair as alt

from vegrt.report.charts.answers import confusion_spec, mistakes_of, most_confused
from vegrt.report.charts.pictures import write_pictures
from vegrt.report.charts.theme import SERIES, epoch_axis, finish
from vegrt.report.charts.training import training_curve_spec
from vegrt.report.html.blocks import Chart, Spec
from vegrt.train.history.mistakes import Explanation
from vegrt.train.history.runs_db import Run

_COLOURS = (
    "#3d8bd4",
    "#2fa39b",
    "#5f9e1a",
    "#b3870f",
    "#dc7a1f",
    "#d9482b",
    "#c2549d",
    "#8f7be0",
)  # from input to output


def run_charts(run: Run) -> dict[str, Chart]:
    """Return the run's charts by name: loss, accuracy, gradients, confusion; those without data are omitted."""
    return {chart.name: chart for chart in _charts(run)}


def write_pngs(run: Run, folder: Path) -> list[Path]:
    """Write every chart of the run to `folder`, black on white, and return the files."""
    return write_pictures(
        run_charts(run).values(), folder, "png", subject=f"{run.recipe.get('backbone', 'run')} {run.id}"
    )


def _charts(run: Run) -> Iterator[Chart]:
    epochs = [asdict(record) for record in run.epochs]
    best = run.best()
    if best is not None:
        photos = "Training uses augmented photos once all layers learn" if run.augmented else "No augmentation"
        caption = f"Cross-entropy. {photos}. Dashed line: the epoch with the lowest validation loss."
        yield Chart("loss", (training_curve_spec(epochs, "loss", best.epoch),), "Loss by epoch", caption)
        caption = f"{photos}. Training accuracy is a mean over the epoch, during which the weights change."
        yield Chart("accuracy", (training_curve_spec(epochs, "accuracy", best.epoch),), "Accuracy by epoch", caption)
    if any(norm > 0 for record in run.epochs for norm in record.gradient_norms.values()):
        caption = "Norm over all weights of a stage before clipping, averaged over the steps of an epoch."
        yield Chart("gradients", (_gradient_norms_spec(run),), "Gradient norm of each stage by epoch", caption)
    if run.explanation.confusion:
        counts, classes = _confusion_counts(run.explanation), run.explanation.classes
        drawn, wrong = most_confused([counts], len(classes)), mistakes_of(counts).values()
        spec = confusion_spec(counts, drawn, classes, maximum=max(wrong, default=0))
        caption = f"{sum(wrong):,} of {sum(counts.values()):,} validation photos wrong. Only mistakes are coloured."
        if len(drawn) < len(classes):
            caption = f"{caption} The {len(drawn)} of {len(classes):,} classes with the most mistakes."
        yield Chart("confusion", (spec,), "Confusion matrix of the best epoch", caption)


def _confusion_counts(explanation: Explanation) -> dict[tuple[int, int], int]:
    return {
        (truth, answer): photos
        for truth, row in enumerate(explanation.confusion)
        for answer, photos in enumerate(row)
        if photos
    }


def _gradient_norms_spec(run: Run) -> Spec:
    """Return the gradient norm of each stage by epoch, on a log axis and therefore without zeros."""
    stages = list(dict.fromkeys(stage for record in run.epochs for stage in record.gradient_norms))
    data = [
        {"epoch": record.epoch, "stage": stage, "norm": norm}
        for record in run.epochs
        for stage, norm in record.gradient_norms.items()
        if norm > 0
    ]
    many = len(stages) > len(_COLOURS)
    colours = alt.Scale(scheme="viridis") if many else alt.Scale(domain=stages, range=list(_COLOURS[: len(stages)]))
    axis = alt.Axis(format="~g", tickCount=6)
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=epoch_axis(),
        y=alt.Y("norm:Q", title="gradient norm (log)", scale=alt.Scale(type="log"), axis=axis),
        color=alt.Color("stage:O" if many else "stage:N", sort=stages, scale=colours, legend=SERIES),
        tooltip=["epoch:O", "stage:N", alt.Tooltip("norm:Q", format=".3g")],
    )
    return finish(base.mark_line(), base.mark_point(filled=True, size=44, opacity=1), height=220)
