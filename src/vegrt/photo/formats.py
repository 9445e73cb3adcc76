"""The one list of image formats that are opened, anywhere: what cameras, phones and browsers make.

Pillow knows forty more. One of them starts another program (PostScript goes to Ghostscript), most are rarely tested, and none
is a photo's. What a file is, its first bytes say, never its name.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError, WebPImagePlugin

from vegrt.errors import DataError, TooManyPixelsError, VegrtError
from vegrt.photo.heif import heif_or_avif, load_plugin

FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "PPM",
    "TIFF",
    "AVIF",
    "HEIF",
)  # JPEG: also MPO, a JPEG with more behind it
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".tif", ".tiff", ".avif", ".heic", ".heif", ".hif"}
)
MAX_PIXELS = 178_956_970  # what Pillow refuses as a decompression bomb: half a GiB of RGB
_COMMON = FORMATS[
    :6
]  # the plugins that Pillow loads at once; the others are loaded, each by one import, when first met
_HEAD_BYTES = 64
_OTHERS = {  # the first bytes of what is often named like a photo and is none, or is none that is opened
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"DDS ": "a DDS texture",
    b"BLP": "a BLP texture",
    b"qoif": "QOI",
    b"icns": "an Apple icon",
    b"\0\0\1\0": "a Windows icon",
    b"\xd7\xcd\xc6\x9a": "a Windows metafile",
    b"\x01\0\0\0": "a Windows metafile",
    b"\xd0\xcf\x11\xe0": "an OLE file (FlashPix, Office)",
    b"\x89HDF": "HDF5",
    b"GRIB": "GRIB",
    b"BUFR": "BUFR",
    b"SIMPLE  =": "FITS",
    b"PK\3\4": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"<?xml": "XML (SVG?)",
    b"<svg": "SVG",
    b"<": "a web page",
    b"{": "JSON",
}
_PREFIXES = {  # of what is opened
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"II\0*": "TIFF",
    b"MM*\0": "TIFF",
}
_PLUGINS = {"TIFF": "PIL.TiffImagePlugin", "AVIF": "PIL.AvifImagePlugin"}
Image.preinit()  # all of _COMMON is loaded here, so that decoding from several threads at once is safe
assert WebPImagePlugin.WebPImageFile.format in _COMMON


def open_image(source: Path | bytes, subject: str) -> ImageFile.ImageFile:
    """Return the image, of which no more than the header was read. To be closed by the caller.

    Raises DataError for what is none of FORMATS, and whatever Pillow raises for a damaged one: see `readable`.
    """
    opened = partial(Image.open, io.BytesIO(source) if isinstance(source, bytes) else source)
    try:
        return opened(formats=_COMMON)
    except UnidentifiedImageError:
        kind = _kind(head := _head(source))
        if kind in _COMMON or kind not in FORMATS:
            raise _refusal(subject, kind, head) from None
    _load_plugin(kind, subject)
    try:
        return opened(formats=(kind,))
    except UnidentifiedImageError:
        raise _refusal(subject, kind, head) from None


def image_size(source: Path | bytes) -> tuple[int, int]:
    """Return width and height, in pixels as stored, from the header alone. Raises DataError."""
    subject = "image" if isinstance(source, bytes) else str(source)
    with readable(subject), open_image(source, subject) as image:
        return image.size


@contextmanager
def readable(subject: str) -> Iterator[None]:
    """Map whatever reading an image raises to one DataError: plugins and decoders promise no kinds of exceptions."""
    try:
        yield
    except VegrtError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = f"more than {MAX_PIXELS:,} pixels, refused as a decompression bomb"
        raise TooManyPixelsError(f"{subject}: {found}") from error
    except MemoryError as error:
        raise DataError(f"{subject}: not enough memory to decode it") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise DataError(f"{subject}: cannot be read ({error.strerror})") from error
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{subject}: damaged image ({type(error).__name__}{reason and f': {reason}'})") from error


def _head(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:_HEAD_BYTES]
    with source.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _kind(head: bytes) -> str:
    """Return one of FORMATS, or what else begins like this, or nothing."""
    if head[:4] == b"RIFF":
        return {b"WEBP": "WEBP", b"AVI ": "a video", b"WAVE": "a sound"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return heif_or_avif(head) or "a video"
    known = _PREFIXES | _OTHERS
    return next((kind for prefix, kind in known.items() if head.startswith(prefix)), "")


def _refusal(subject: str, kind: str, head: bytes) -> DataError:
    if kind in FORMATS:
        return DataError(f"{subject}: damaged image (it begins as {kind} and goes on in no way that Pillow reads)")
    if not kind and head.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        kind = "text"
    found = f"not a photo but {kind}" if kind else "not a photo, or none of a known kind"
    return DataError(f"{subject}: {found}; expected {', '.join(FORMATS)}")


def _load_plugin(kind: str, subject: str) -> None:
    """Have Pillow know TIFF, AVIF or HEIF: by an import, which two threads may ask for at once. Raises DataError."""
    if kind == "HEIF":
        if not load_plugin():
            raise DataError(f"{subject}: a HEIC photo; to read it: pip install pillow-heif")
        return
    try:
        import_module(_PLUGINS[kind])
    except ImportError:
        raise DataError(
            f"{subject}: {kind}, which this Pillow cannot read; to read it: pip install -U pillow"
        ) from None
