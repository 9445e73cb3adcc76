"""The audit as one self-contained HTML page: counts, faults, and near pairs side by side for a person to judge."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from vegrt.dataset.photos import base_folder
from vegrt.files.atomic import write_json, write_text
from vegrt.photo.preprocess import decode
from vegrt.train.data.audit_file import Audit, Pair
from vegrt.train.data.near_duplicates import MAX_RMS

MAX_PAIRS_SHOWN = 200
MAX_ROWS_SHOWN = 200
_SIDE_PX = 128  # of a photo on the page; at most 400 of them take about 2 MB

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Dataset audit</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .15rem .9rem .15rem 0; text-align: right; border-bottom: 1px solid #8884; }}
th:first-child, td:first-child {{ text-align: left; overflow-wrap: anywhere; }}
.pairs {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(17.5rem, 1fr)); gap: 1rem; }}
figure {{ margin: 0; padding: .6rem; border: 1px solid #8884; border-radius: .5rem; }}
figure img {{ width: 49%; aspect-ratio: 1; object-fit: cover; }}
figcaption {{ font-size: 12px; overflow-wrap: anywhere; }}
.flag {{ color: #c2410c; font-weight: 600; }}
@media (prefers-color-scheme: dark) {{ .flag {{ color: #fb923c; }} }}
</style></head><body>
<h1>Dataset audit</h1>
{summary}
<h2>Photos</h2>
{counts}
{faults}
<h2>Near duplicates</h2>
<p>{shown}</p>
<div class="pairs">{pairs}</div>
</body></html>
"""


def write_audit(audit: Audit, data: Path, out: Path) -> None:
    """Write audit.json and audit.html into the folder `out`. data: the folder, or the CSV file, that was audited."""
    write_json(out / "audit.json", audit.to_dict())
    write_text(out / "audit.html", render_page(audit, base_folder(data)))


def render_page(audit: Audit, data: Path) -> str:
    """Return the page. data: the folder that was audited, for the photos; they are embedded, much reduced."""
    pairs = _spread(audit.near_pairs)
    shown = f"{len(pairs):,} of {len(audit.near_pairs):,} pairs, spread evenly from the closest to the most doubtful. "
    shown += f"The number is the RMS difference of two thumbnails, of 255; near is at most {MAX_RMS:g}."
    return _PAGE.format(
        summary=_table(("found", "count"), _summary(audit)),
        counts=_table(("class", *audit.counts), _count_rows(audit)),
        faults="".join(_fault(*fault) for fault in _faults(audit)),
        shown=shown,
        pairs="".join(_figure(pair, data) for pair in pairs),
    )


def _summary(audit: Audit) -> list[tuple[str, str]]:
    photos = sum(sum(classes.values()) for classes in audit.counts.values())
    counts = {
        "photos": photos,
        "unreadable": len(audit.unreadable),
        f"not {' x '.join(map(str, audit.usual_size_px))} pixels": len(audit.odd_sizes_px),
        "groups of exact duplicates": len(audit.exact_duplicates),
        "near pairs": len(audit.near_pairs),
        "near pairs across splits": sum(pair.cross_split for pair in audit.near_pairs),
        "near pairs across classes": sum(_class(pair.left) != _class(pair.right) for pair in audit.near_pairs),
        "clusters": len(audit.clusters),
        "photos in clusters": sum(map(len, audit.clusters)),
        **{f"test photos leaked from {name}": len(leaked) for name, leaked in audit.leaked_test_images.items()},
    }
    return [(name, f"{count:,}") for name, count in counts.items()]


def _count_rows(audit: Audit) -> list[tuple[str, ...]]:
    classes = next(iter(audit.counts.values()))
    return [(name, *(f"{counts[name]:,}" for counts in audit.counts.values())) for name in classes]


def _faults(audit: Audit) -> list[tuple[str, tuple[str, str], list[tuple[str, str]]]]:
    """Return title, column heads and rows of each kind of fault."""
    odd = [(name, " x ".join(map(str, size))) for name, size in audit.odd_sizes_px.items()]
    copies = [(names[0], ", ".join(names[1:])) for names in audit.exact_duplicates]
    return [
        ("Unreadable", ("photo", "reason"), list(audit.unreadable.items())),
        ("Odd sizes", ("photo", "pixels"), odd),
        ("Exact duplicates", ("photo", "copies"), copies),
    ]


def _fault(title: str, heads: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    more = f"<p>and {len(rows) - MAX_ROWS_SHOWN:,} more in audit.json</p>" if len(rows) > MAX_ROWS_SHOWN else ""
    body = _table(heads, rows[:MAX_ROWS_SHOWN]) + more
    return f"<details><summary>{title} ({len(rows):,})</summary>{body}</details>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _spread(pairs: Sequence[Pair]) -> list[Pair]:
    """Return at most MAX_PAIRS_SHOWN of the sorted pairs at even steps, the first and the last among them."""
    if len(pairs) <= MAX_PAIRS_SHOWN:
        return list(pairs)
    step = (len(pairs) - 1) / (MAX_PAIRS_SHOWN - 1)
    return [pairs[round(index * step)] for index in range(MAX_PAIRS_SHOWN)]


def _figure(pair: Pair, data: Path) -> str:
    flags = {
        "across splits": pair.cross_split,
        "across classes": _class(pair.left) != _class(pair.right),
        "mirrored": pair.mirrored,
    }
    flag = f"<span class='flag'>{', '.join(name for name, holds in flags.items() if holds)}</span>"
    images = "\n".join(f"<img alt='' src='{_data_uri(data / name)}'>" for name in (pair.left, pair.right))
    names = f"{escape(pair.left)}<br>{escape(pair.right)}"
    return f"<figure>{images}<figcaption><b>{pair.rms:.1f}</b> {flag}<br>{names}</figcaption></figure>\n"


def _data_uri(path: Path) -> str:
    image = decode(path, shorter_side=_SIDE_PX)
    image.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _class(name: str) -> str:
    return name.split("/")[1]  # <split>/<Class>/<file>
