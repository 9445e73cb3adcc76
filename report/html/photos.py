"""Photos on the page: much reduced and embedded, so that the file needs nothing else."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from vegrt.errors import DataError
from vegrt.photo.preprocess import decode
from vegrt.report.html.markup import Html, element, html
from vegrt.report.language.language import translate

_SIDE_PX = 160  # of a thumbnail; 48 of them take about a quarter of a megabyte


def missing() -> Html:
    """Return what stands in the place of a photo that cannot be read."""
    return element("p", translate("photo not shown"), class_="missing")


def thumbnail(path: Path, name: str) -> Html | None:
    """Return the photo as an <img>, or None when it cannot be read. name: what it is called on the page."""
    try:
        image = decode(path, shorter_side=_SIDE_PX)
    except DataError:
        return None
    image.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    size = {"width": str(image.width), "height": str(image.height)}
    named = "".join(f' {key}="{value}"' for key, value in size.items())
    return Html(f'<img src="{uri}" alt="{html(translate("photo {name}", name=name))}"{named}>')
