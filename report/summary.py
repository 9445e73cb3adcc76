"""The comparison table: accuracy and speed of each variant and runtime, as text and for --json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vegrt.bundle.bundle import Bundle
from vegrt.evaluate.wording import gate_reason, signed_points
from vegrt.infer.runtimes.objective import Objective, best_batch, single_photo, timing_cost_ms
from vegrt.report.facts.benches import BenchFile
from vegrt.report.facts.facts import Facts, load_facts
from vegrt.report.html.blocks import Badge, verdict_words
from vegrt.report.language.language import mark, translate
from vegrt.results.benchmark import Bench, Timing
from vegrt.results.common import ANSWERS, CandidateRow, Interval, Verdict
from vegrt.results.evaluation import Figures, Gate
from vegrt.terminal.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = (
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
TEXT_COLUMNS = 3  # of HEADINGS; the others hold numbers
TIMES = slice(7, 10)  # of HEADINGS
RUNTIMES = {
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-tensorrt": "ONNX Runtime with TensorRT",
    "openvino": "OpenVINO",
    "mnn": "MNN",
    "tensorrt": "TensorRT",
    "torch": "PyTorch",
}
NONE = "–"


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One candidate. None: not evaluated, or not measured.

    top1, drop: proportions. reason: reason for the verdict, in English. single: the timing of one photo. best: the timing of the
    batch size with the most images per second.
    """

    key: str
    variant: str
    runtime: str
    device: str
    size_bytes: int
    artifact_sha256: str
    top1: Interval | None = None
    drop: Interval | None = None
    flips: int | None = None
    gate: Gate | None = None
    reason: str = ""
    single: Timing | None = None
    best: Timing | None = None

    @property
    def verdict(self) -> Verdict | None:
        """Return the gate's verdict; None if the candidate was not evaluated."""
        return self.gate.verdict if self.gate else None

    @property
    def verdict_words(self) -> str:
        """Return the verdict in the report's language."""
        return verdict_words(self.verdict) if self.verdict else NONE

    @property
    def p50_ms(self) -> float | None:
        """Return the median time of one photo."""
        return self.single.p50_ms if self.single else None

    @property
    def p99_ms(self) -> float | None:
        """Return the 99th percentile of the time of one photo."""
        return self.single.p99_ms if self.single else None

    @property
    def images_per_s(self) -> float | None:
        """Return the highest number of images per second over all batch sizes."""
        return self.best.images_per_s if self.best else None

    @property
    def runtime_name(self) -> str:
        """Return the runtime in its official spelling, with the device or the target of an engine where the key states it."""
        if self.runtime == ANSWERS:
            return translate("answers file")
        name, place = RUNTIMES.get(self.runtime, self.runtime), self.key.removeprefix(f"{self.variant}/{self.runtime}")
        return f"{name} ({place.strip('/').upper()})" if place else name

    def cost_ms(self, objective: Objective) -> float | None:
        """Return milliseconds per photo for the objective; None if it was not measured."""
        return timing_cost_ms(self.single if objective == "latency" else self.best, objective)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON values, units in the keys."""
        names = ("key", "variant", "runtime", "device", "size_bytes", "flips", "verdict", "reason", "p50_ms", "p99_ms")
        return {
            **{name: getattr(self, name) for name in names},
            **_percent("top1", "percent", self.top1),
            **_percent("drop", "points", self.drop),
            "images_per_s": self.images_per_s,
            "best_batch_images": self.best.batch if self.best else None,
        }

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell for each of HEADINGS."""
        return (
            self.key if self.runtime == ANSWERS else self.variant,
            self.runtime_name,
            Badge(self.verdict or NONE),
            self.top1_cell(),
            self.drop_cell(),
            self.flips_cell(),
            NONE if self.runtime == ANSWERS else f"{self.size_bytes / 1e6:.1f}",
            NONE if self.p50_ms is None else f"{self.p50_ms:.2f}",
            NONE if self.p99_ms is None else f"{self.p99_ms:.2f}",
            NONE if self.images_per_s is None else f"{self.images_per_s:,.0f}",
        )

    def top1_cell(self) -> str:
        """Return the top-1 accuracy in percent."""
        return f"{100 * self.top1.value:.2f}" if self.top1 else NONE

    def drop_cell(self) -> str:
        """Return the drop with its interval in points; the reference has none."""
        return drop_text(self.drop) if self.drop and self.verdict != "REFERENCE" else NONE

    def flips_cell(self) -> str:
        """Return the number of flips."""
        return NONE if self.flips is None else f"{self.flips:,}"


def summarize(bundle: Bundle, *, benches: Sequence[BenchFile] = ()) -> list[SummaryRow]:
    """Return the bundle's rows, the reference first. benches: as for load_facts. Raises VegrtError if it has no results."""
    return summary_rows(load_facts(bundle, benches=benches))


def summary_rows(facts: Facts) -> list[SummaryRow]:
    """Return one row for each candidate that was evaluated or measured, joined by key."""
    return summary_rows_on(facts, facts.bench)


def summary_rows_on(facts: Facts, bench: Bench | None) -> list[SummaryRow]:
    """Return the rows with the times of this benchmark, which may come from another machine."""
    evaluated = {row.key: row for row in facts.evaluated()}
    measured = {row.key: row for row in (bench.candidates if bench else ())}
    rows = []
    for key in evaluated | measured:
        figures, timed = evaluated.get(key), measured.get(key)
        candidate = figures or timed
        assert candidate is not None
        reason = gate_reason(facts.evaluation, figures) if facts.evaluation and figures else ""
        rows.append(summary_row(candidate, figures, timed.batches if timed else (), reason=reason))
    return rows


def summary_row(
    candidate: CandidateRow, figures: Figures | None, timings: Sequence[Timing] = (), *, reason: str = ""
) -> SummaryRow:
    """Return a candidate's row. figures: None if it was not evaluated. timings: one for each measured batch size."""
    return SummaryRow(
        candidate.key,
        candidate.variant,
        candidate.runtime,
        candidate.device,
        candidate.size_bytes,
        candidate.artifact_sha256,
        top1=figures.top1 if figures else None,
        drop=figures.paired.drop if figures else None,
        flips=figures.paired.flips if figures else None,
        gate=figures.gate if figures else None,
        reason=reason,
        single=single_photo(timings),
        best=best_batch(timings),
    )


def summary_table(rows: Iterable[SummaryRow]) -> Table:
    """Return the rows as a table for the terminal."""
    styles = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}
    return make_table("", HEADINGS, [row.cells() for row in rows], text=HEADINGS[:TEXT_COLUMNS], styles=styles)


def drop_text(drop: Interval) -> str:
    """Return a difference of proportions with its interval, in signed percentage points."""
    return translate(
        "{value} ({low} to {high})",
        value=signed_points(drop.value),
        low=signed_points(drop.low),
        high=signed_points(drop.high),
    )


def candidate_name(row: SummaryRow) -> str:
    """Return a candidate's name in a sentence."""
    return translate("{variant} on {runtime}", variant=row.variant, runtime=row.runtime_name)


def _percent(name: str, unit: str, interval: Interval | None) -> dict[str, float | None]:
    parts = {f"{name}_{unit}": "value", f"{name}_low_{unit}": "low", f"{name}_high_{unit}": "high"}
    return {key: None if interval is None else 100 * getattr(interval, part) for key, part in parts.items()}
