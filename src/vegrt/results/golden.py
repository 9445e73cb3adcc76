"""The schema of golden/golden.json: a few photos with their pixel hashes and fp32 logits on the exporting machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vegrt.bundle.bundle import Bundle
from vegrt.errors import FormatError
from vegrt.results.common import Figure
from vegrt.schema import NOT_EMPTY, Sha256, build, read_json


@dataclass(frozen=True, slots=True)
class GoldenPhoto:
    """A photo. file: its path in the bundle. pixels_sha256: of its uint8 pixels. logits: of fp32, one per class."""

    file: str
    pixels_sha256: Sha256
    logits: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class GoldenFile:
    """All golden photos."""

    images: Annotated[tuple[GoldenPhoto, ...], NOT_EMPTY]


def read_golden(bundle: Bundle) -> tuple[GoldenPhoto, ...]:
    """Return a bundle's golden photos. Raises OSError, and FormatError if a photo is no artifact or logits are missing."""
    photos = build(GoldenFile, read_json(bundle.listed_file("golden/golden.json"))).images
    listed = {artifact.path for artifact in bundle.manifest.artifacts}
    for index, photo in enumerate(photos):
        if photo.file not in listed:
            raise FormatError(f"is {photo.file[:80]!a}, which the manifest does not list", f"images[{index}].file")
        if len(photo.logits) != (classes := len(bundle.manifest.classes)):
            raise FormatError(f"has {len(photo.logits)} entries; expected {classes}", f"images[{index}].logits")
    return photos
