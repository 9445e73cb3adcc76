"""An audit as one self-contained HTML page: counts, faults, and near duplicates side by side for review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vegrt.dataset.photos import base_folder
from vegrt.errors import require
from vegrt.files.atomic import write_json, write_text
from vegrt.report.html.photos import jpeg_uri, reduce_photo
from vegrt.train.data.audit_file import Audit, Pair
from vegrt.train.data.near_duplicates import MAX_RMS

MAX_PAIRS_SHOWN = 200
MAX_ROWS_SHOWN = 200
_SIDE_PX = 128  # of a thumbnail; the 400 on a page take about 2 MB


@dataclass(frozen=True, slots=True)
class _Fault:
    """One kind of fault: a table with a row for each photo or group."""

    title: str
    headings: tuple[str, str]
    rows: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _PairView:
    """A near pair on the page. uris: thumbnails of both photos."""

    left: str
    right: str
    rms: float
    flags: tuple[str, ...]
    uris: tuple[str, ...]


def write_audit(audit: Audit, data: Path, out: Path) -> None:
    """Write audit.json and audit.html into the folder `out`. data: the folder, or the CSV file, that was audited.

    Raises MissingExtraError without jinja2, which the extras `report` and `train` install, after writing audit.json.
    """
    write_json(out / "audit.json", audit.to_dict())
    require("jinja2", "report")
    write_text(out / "audit.html", audit_html(audit, base_folder(data)))


def audit_html(audit: Audit, data: Path) -> str:
    """Return the page. data: the audited folder, from which thumbnails are embedded."""
    from vegrt.report.html.templates import fill_template, read_asset

    return fill_template(
        "audit.html",
        css=read_asset("audit.css"),
        summary=_summary_rows(audit),
        count_headings=("class", *audit.counts),
        counts=_count_rows(audit),
        faults=_faults(audit),
        max_rows=MAX_ROWS_SHOWN,
        pair_count=len(audit.near_pairs),
        max_rms=MAX_RMS,
        pairs=[_pair_view(pair, data) for pair in _evenly_spread(audit.near_pairs)],
    ).lstrip()


def _summary_rows(audit: Audit) -> list[tuple[str, str]]:
    photos = sum(sum(classes.values()) for classes in audit.counts.values())
    counts = {
        "photos": photos,
        "unreadable": len(audit.unreadable),
        f"not {' x '.join(map(str, audit.usual_size_px))} pixels": len(audit.odd_sizes_px),
        "groups of exact duplicates": len(audit.exact_duplicates),
        "near pairs": len(audit.near_pairs),
        "near pairs across splits": sum(pair.cross_split for pair in audit.near_pairs),
        "near pairs across classes": sum(_class_of(pair.left) != _class_of(pair.right) for pair in audit.near_pairs),
        "clusters": len(audit.clusters),
        "photos in clusters": sum(map(len, audit.clusters)),
        **{f"test photos leaked from {name}": len(leaked) for name, leaked in audit.leaked_test_images.items()},
    }
    return [(name, f"{count:,}") for name, count in counts.items()]


def _count_rows(audit: Audit) -> list[tuple[str, ...]]:
    classes = next(iter(audit.counts.values()))
    return [(name, *(f"{counts[name]:,}" for counts in audit.counts.values())) for name in classes]


def _faults(audit: Audit) -> list[_Fault]:
    sizes = [(name, " x ".join(map(str, size))) for name, size in audit.odd_sizes_px.items()]
    copies = [(names[0], ", ".join(names[1:])) for names in audit.exact_duplicates]
    return [
        _Fault("Unreadable", ("photo", "reason"), list(audit.unreadable.items())),
        _Fault("Unusual sizes", ("photo", "pixels"), sizes),
        _Fault("Exact duplicates", ("photo", "copies"), copies),
    ]


def _evenly_spread(pairs: Sequence[Pair]) -> list[Pair]:
    """Return at most MAX_PAIRS_SHOWN of the sorted pairs, evenly spaced, including the first and the last."""
    if len(pairs) <= MAX_PAIRS_SHOWN:
        return list(pairs)
    step = (len(pairs) - 1) / (MAX_PAIRS_SHOWN - 1)
    return [pairs[round(index * step)] for index in range(MAX_PAIRS_SHOWN)]


def _pair_view(pair: Pair, data: Path) -> _PairView:
    flags = {
        "across splits": pair.cross_split,
        "across classes": _class_of(pair.left) != _class_of(pair.right),
        "mirrored": pair.mirrored,
    }
    uris = tuple(jpeg_uri(reduce_photo(data / name, side_px=_SIDE_PX)) for name in (pair.left, pair.right))
    return _PairView(pair.left, pair.right, pair.rms, tuple(name for name, holds in flags.items() if holds), uris)


def _class_of(name: str) -> str:
    return name.split("/")[1]  # <split>/<Class>/<file>
