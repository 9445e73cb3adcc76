"""The comparison: one row per variant and runtime, its accuracy and its speed joined; for people and for --json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.bundle.bundle import Bundle
from vegrt.infer.runtimes.objective import Objective
from vegrt.report.facts.dict_timings import best_batch, single_photo
from vegrt.report.facts.facts import Facts, load_facts
from vegrt.report.html.blocks import Badge, verdict_words
from vegrt.report.language.language import mark, translate
from vegrt.results.common import Interval

if TYPE_CHECKING:
    from rich.table import Table

HEADS = (
    mark("variant"),
    mark("runtime"),
    mark("gate"),
    mark("top-1 %"),
    mark("drop, points"),
    mark("flips"),
    "MB",
    mark("p50 ms"),
    mark("p99 ms"),
    mark("images/s"),
)
TEXT_COLUMNS = 3  # of HEADS; the rest are numbers
TIMES = slice(7, 10)  # of HEADS
RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "tensorrt": "TensorRT", "torch": "PyTorch"}
NONE = "–"


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One candidate. None: not evaluated, or not measured.

    top1, drop: proportions. p50_ms, p99_ms: of one photo; p50_low_ms, p50_high_ms: the interval of the median.
    images_per_s: of the batch size where it is highest. images_to_decide: where the gate is inconclusive.
    """

    key: str
    variant: str
    runtime: str
    size_bytes: int
    top1: Interval | None = None
    drop: Interval | None = None
    flips: int | None = None
    verdict: str | None = None
    reason: str = ""
    p50_ms: float | None = None
    p99_ms: float | None = None
    images_per_s: float | None = None
    best_batch: int | None = None
    p50_low_ms: float | None = None
    p50_high_ms: float | None = None
    images_to_decide: int | None = None

    @property
    def verdict_words(self) -> str:
        """Return the verdict in the report's language."""
        return verdict_words(self.verdict) if self.verdict else NONE

    @property
    def runtime_name(self) -> str:
        """Return the runtime as its makers spell it."""
        return RUNTIMES.get(self.runtime, self.runtime)

    def cost_ms(self, objective: Objective) -> float | None:
        """Return milliseconds per photo by the objective; None where it was not measured."""
        if objective == "latency":
            return self.p50_ms
        return None if self.images_per_s is None else 1e3 / self.images_per_s

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values, units in the keys."""
        named = ("key", "variant", "runtime", "size_bytes", "flips", "verdict", "reason", "p50_ms", "p99_ms")
        return {
            **{name: getattr(self, name) for name in named},
            **_percent("top1", "percent", self.top1),
            **_percent("drop", "points", self.drop),
            "images_per_s": self.images_per_s,
            "best_batch_images": self.best_batch,
        }

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell for each of HEADS."""
        drop = None if self.verdict == "REFERENCE" else self.drop
        return (
            self.variant,
            self.runtime_name,
            Badge(self.verdict or NONE),
            f"{100 * self.top1.value:.2f}" if self.top1 else NONE,
            span(drop) if drop else NONE,
            NONE if self.flips is None else f"{self.flips:,}",
            f"{self.size_bytes / 1e6:.1f}",
            NONE if self.p50_ms is None else f"{self.p50_ms:.2f}",
            NONE if self.p99_ms is None else f"{self.p99_ms:.2f}",
            NONE if self.images_per_s is None else f"{self.images_per_s:,.0f}",
        )


def comparison(bundle: Bundle, *, benches: Sequence[Path] = ()) -> list[SummaryRow]:
    """Return the bundle's rows, the reference first. Raises VegrtError when the bundle has no results. benches: as load_facts."""
    return rows(load_facts(bundle, benches=benches))


def rows(facts: Facts) -> list[SummaryRow]:
    """Return one row for each candidate that was evaluated or measured, joined by key."""
    return rows_with(facts, facts.bench)


def rows_with(facts: Facts, bench: dict[str, Any] | None) -> list[SummaryRow]:
    """Return the rows as `rows` does, with the times of this benchmark."""
    evaluated = {row["key"]: row for row in facts.evaluated()}
    measured = {row["key"]: row for row in (bench["candidates"] if bench else ())}
    return [joined(evaluated.get(key), measured.get(key)) for key in evaluated | measured]


def render(compared: Iterable[SummaryRow]) -> Table:
    """Return the rows as a table for the terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for number, head in enumerate(HEADS):
        table.add_column(head, justify="right" if number >= TEXT_COLUMNS else "left", no_wrap=number < TEXT_COLUMNS)
    colours = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}
    for row in compared:
        cells = [*row.cells()]
        if colour := colours.get(row.verdict or ""):
            cells = [f"[{colour}]{cell}[/]" if isinstance(cell, Badge) else cell for cell in cells]
        table.add_row(*cells)
    return table


def points(proportion: float) -> str:
    """Return a difference of proportions in signed percentage points; never a negative zero."""
    return f"{round(100 * proportion, 2) + 0.0:+.2f}"


def span(drop: Interval) -> str:
    """Return a difference of proportions with its interval, in signed percentage points."""
    return translate(
        "{value} ({low} to {high})", value=points(drop.value), low=points(drop.low), high=points(drop.high)
    )


def joined(evaluated: dict[str, Any] | None, measured: dict[str, Any] | None) -> SummaryRow:
    """Return the row of a candidate from what each result file says of it, at least one of them."""
    known = evaluated or measured or {}
    row = {name: known[name] for name in ("key", "variant", "runtime", "size_bytes")}
    if evaluated:
        row |= {
            "top1": _interval(evaluated["top1"]),
            "drop": _interval(evaluated["paired"]["drop"]),
            "flips": evaluated["paired"]["flips"],
            **{name: evaluated["gate"].get(name) for name in ("verdict", "images_to_decide")},
            "reason": evaluated["gate"]["reason"],
        }
    if measured:
        best, single = best_batch(measured["batches"]), single_photo(measured["batches"])
        row |= {"images_per_s": best["images_per_s"], "best_batch": best["batch"]} if best else {}
        times = ("p50_ms", "p99_ms", "p50_low_ms", "p50_high_ms")
        row |= {name: single.get(name) for name in times} if single else {}
    return SummaryRow(**row)


def _interval(found: dict[str, float]) -> Interval:
    return Interval(found["value"], found["low"], found["high"])


def name_of(row: SummaryRow) -> str:
    """Return a candidate as people call it."""
    return translate("{variant} on {runtime}", variant=row.variant, runtime=row.runtime_name)


def _percent(name: str, unit: str, interval: Interval | None) -> dict[str, float | None]:
    parts = {f"{name}_{unit}": "value", f"{name}_low_{unit}": "low", f"{name}_high_{unit}": "high"}
    return {key: None if interval is None else 100 * getattr(interval, part) for key, part in parts.items()}
