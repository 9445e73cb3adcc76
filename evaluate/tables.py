"""Results of evaluations as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

_HEADINGS = ("candidate", "top-1 %", "drop, points (95 %)", "flips", "McNemar p", "NLL", "ECE %", "gate")


def evaluation_table(body: Mapping[str, Any]) -> Table:
    """Return an evaluation's result as a table."""
    from rich.table import Table

    unreadable = len(body.get("unreadable", ()))
    total = f"{body['images']} of {body['images'] + unreadable}" if unreadable else f"{body['images']}"
    auto = " (auto: the least that so many decide)" if body["margin_auto"] else ""
    table = Table(title=f"{total} {body['split']} images, margin {body['margin_points']:g} points{auto}")
    clean = bool(body["leaked"])
    for heading in [*_HEADINGS, f"top-1 % without {body['leaked']} leaked"] if clean else _HEADINGS:
        table.add_column(heading)
    for row in body["candidates"]:
        paired = row["paired"]
        table.add_row(
            row["key"],
            percent(row["top1"]),
            points(paired["drop"]),
            str(paired["flips"]),
            f"{paired['mcnemar_p']:.3f}",
            f"{row['nll']['value']:.4f}",
            f"{100 * row['ece']['value']:.2f}",
            row["gate"]["verdict"],
            *([percent(row["without_leaks"]["top1"])] if clean and "without_leaks" in row else []),
        )
    table.caption, table.caption_justify = "\n".join(_notes(body)), "left"
    return table


def percent(interval: Mapping[str, float]) -> str:
    """Return a proportion and its interval in percent."""
    return f"{100 * interval['value']:.2f} ({100 * interval['low']:.2f} to {100 * interval['high']:.2f})"


def points(interval: Mapping[str, float]) -> str:
    """Return a drop and its interval in percentage points."""
    return f"{100 * interval['value']:+.2f} ({100 * interval['low']:+.2f} to {100 * interval['high']:+.2f})"


def _notes(body: Mapping[str, Any]) -> list[str]:
    """Return what the table's numbers do not say: reasons of verdicts, classes that lost, what so many images can show."""
    notes = [
        f"{row['key']}: {row['gate']['reason']}"
        for row in body["candidates"]
        if row["gate"]["verdict"] in ("FAIL", "INCONCLUSIVE")
    ]
    for row in body["candidates"]:
        for name, one in zip(body["classes"], row["paired"]["classes"], strict=True):
            if one["p_holm"] < 0.05:
                notes.append(f"{row['key']}: {name} {points(one['drop'])} points, p {one['p_holm']:.3f} (Holm)")
    if len(body["candidates"]) == 1:
        notes.append("Nothing was judged: the reference alone was run.")
    notes += [f"{one['artifact']} was not run: {one['cause']}" for one in body.get("not_run", ())]
    drops = [row["paired"]["detectable_drop"] for row in body["candidates"][1:]]
    if known := [drop for drop in drops if drop is not None]:
        notes.append(f"So many images show a drop of {100 * max(known):.2f} points with 80 % power (McNemar, 5 %).")
    return notes


def robustness_table(body: Mapping[str, Any]) -> Table:
    """Return a robustness result as a table: rows are corruption and level, columns the candidates, then the answer in words."""
    from rich.table import Table

    reference, *others = [row["key"] for row in body["candidates"]]
    table = Table(title=f"{body['images']} {body['split']} images; drop of int8 against fp32, points (95 %)")
    for heading in ("corruption", "level", "parameter", f"{reference} top-1 %", *others):
        table.add_column(heading)
    cells: dict[tuple[str, int], dict[str, Any]] = {}
    for row in body["rows"]:
        cells.setdefault((row["corruption"], row["level"]), {})[row["candidate"]] = row
    for (name, level), row in cells.items():
        own = row[reference]
        parameter = "" if own["parameter"] is None else f"{own['parameter']:g}"
        drops = [points(row[key]["drop"]) for key in others]
        table.add_row(name, str(level), parameter, f"{100 * own['top1']['value']:.2f}", *drops, end_section=level == 5)
    table.caption, table.caption_justify = "\n".join(one["sentence"] for one in body["summary"]), "left"
    return table
