"""The charts of one training run, for its page and as PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import altair as alt
import vl_convert

from vegrt.files import replacing
from vegrt.report import charts
from vegrt.report.charts import EPOCH, SERIES, Spec, finish
from vegrt.report.embed import chart_figure
from vegrt.report.markup import Html
from vegrt.train.history import Run

_COLOURS = ("#3d8bd4", "#2fa39b", "#5f9e1a", "#b3870f", "#dc7a1f", "#d9482b", "#c2549d", "#8f7be0")  # from the input on
_PNG_WIDTH_PX, _PNG_SCALE = 720, 2


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its words. name: of its PNG file. label: for those who do not see it."""

    name: str
    spec: Spec
    label: str
    caption: str

    def figure(self) -> Html:
        """Return the chart as part of a page."""
        return chart_figure(self.spec, self.label, self.caption)


def run_charts(run: Run) -> dict[str, Chart]:
    """Return the run's charts by name: loss, accuracy, gradients, confusion; without those that have no data."""
    return {chart.name: chart for chart in _charts(run)}


def write_pngs(run: Run, folder: Path) -> list[Path]:
    """Write every chart of the run to `folder`, black on white, and return the files."""
    written = []
    for chart in run_charts(run).values():
        look = {"width": _PNG_WIDTH_PX, "config": chart.spec["config"] | {"background": "white"}}
        title = {"title": f"{run.recipe.get('backbone', 'run')} {run.id}: {chart.label}"}
        png = vl_convert.vegalite_to_png(chart.spec | look | title, scale=_PNG_SCALE, allowed_base_urls=[])
        path = folder / f"{chart.name}.png"
        with replacing(path) as temporary:
            temporary.write_bytes(png)
        written.append(path)
    return written


def _charts(run: Run) -> Iterator[Chart]:
    epochs = [asdict(record) for record in run.epochs]
    best = run.best()
    if best is not None:
        photos = "Training's is on augmented photos once all layers learn" if run.augmented else "No augmentation"
        caption = f"Cross-entropy. {photos}. Dashed: the epoch of the lowest validation loss."
        yield Chart("loss", charts.training_curve(epochs, "loss", best.epoch), "Loss by epoch", caption)
        caption = f"{photos}. Training's is a mean over the epoch, while the weights change."
        yield Chart("accuracy", charts.training_curve(epochs, "accuracy", best.epoch), "Accuracy by epoch", caption)
    if any(norm > 0 for record in run.epochs for norm in record.gradient_norms.values()):
        caption = "Mean over an epoch's steps, before clipping, of all weights of a stage."
        yield Chart("gradients", gradient_norms(run), "Gradient norm of each stage by epoch", caption)
    counts, classes = run.explanation.get("confusion"), run.explanation.get("classes", ())
    if counts and len(classes) <= charts.MAX_CLASSES_DRAWN:
        wrong = [count for true, row in enumerate(counts) for said, count in enumerate(row) if true != said]
        spec = charts.confusion(counts, classes, maximum=max(wrong))
        caption = f"{sum(wrong):,} of {sum(map(sum, counts)):,} validation photos wrong. Mistakes are coloured."
        yield Chart("confusion", spec, "Confusion matrix of the best epoch", caption)


def gradient_norms(run: Run) -> Spec:
    """Return the gradient norm of each stage by epoch, on a log axis, which has no place for zeros."""
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
        x=EPOCH,
        y=alt.Y("norm:Q", title="gradient norm (log)", scale=alt.Scale(type="log"), axis=axis),
        color=alt.Color("stage:O" if many else "stage:N", sort=stages, scale=colours, legend=SERIES),
        tooltip=["epoch:O", "stage:N", alt.Tooltip("norm:Q", format=".3g")],
    )
    return finish(base.mark_line(), base.mark_point(filled=True, size=44, opacity=1), height=220)
