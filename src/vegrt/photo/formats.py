"""The image formats that all commands open: those that cameras, phones and browsers write.

Pillow supports forty more. One of them starts another program (Ghostscript, for PostScript), most are rarely tested, and none
is used for photos. The format is detected by the first bytes of a file, never by its name.
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

_PRELOADED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM")  # loaded by Image.preinit; the others on first use
FORMATS = (*_PRELOADED, "TIFF", "AVIF", "HEIF")  # JPEG includes MPO, a JPEG followed by more images
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm"}
    | {".tif", ".tiff", ".avif", ".heic", ".heif", ".hif"}
)
MAX_PIXELS = 178_956_970  # Pillow's limit for decompression bombs: half a GiB of RGB
_HEAD_BYTES = 64
_OTHER_PREFIXES = {  # first bytes of files that often have the name of a photo, and of image formats that are not supported
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
_PREFIXES = {  # first bytes of the supported formats
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
Image.preinit()  # load these plugins now, so that decoding in several threads is safe
assert WebPImagePlugin.WebPImageFile.format in _PRELOADED


def open_image(source: Path | bytes, subject: str) -> ImageFile.ImageFile:
    """Return the image after reading only its header. The caller closes it.

    Raises DataError for an unsupported format, and any of Pillow's exceptions for a damaged file: see `readable`.
    """
    opened = partial(Image.open, io.BytesIO(source) if isinstance(source, bytes) else source)
    try:
        return opened(formats=_PRELOADED)
    except UnidentifiedImageError:
        kind = _kind(head := _head(source))
        if kind in _PRELOADED or kind not in FORMATS:
            raise _refusal(subject, kind, head) from None
    _load_plugin(kind, subject)
    try:
        return opened(formats=(kind,))
    except UnidentifiedImageError:
        raise _refusal(subject, kind, head) from None


def image_size(source: Path | bytes) -> tuple[int, int]:
    """Return width and height in pixels, as stored, reading only the header. Raises DataError."""
    subject = "image" if isinstance(source, bytes) else str(source)
    with readable(subject), open_image(source, subject) as image:
        return image.size


@contextmanager
def readable(subject: str) -> Iterator[None]:
    """Map every exception raised while reading an image to DataError: Pillow's decoders do not document their exceptions."""
    try:
        yield
    except VegrtError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixelsError(
            f"{subject}: more than {MAX_PIXELS:,} pixels; refused as a decompression bomb"
        ) from error
    except MemoryError as error:
        raise DataError(f"{subject}: not enough memory to decode it; shrink the photo") from error
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
    """Return one of FORMATS, the name of another file type, or an empty string if it is unknown."""
    if head[:4] == b"RIFF":
        return {b"WEBP": "WEBP", b"AVI ": "a video", b"WAVE": "a sound"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return heif_or_avif(head) or "a video"
    prefixes = _PREFIXES | _OTHER_PREFIXES
    return next((kind for prefix, kind in prefixes.items() if head.startswith(prefix)), "")


def _refusal(subject: str, kind: str, head: bytes) -> DataError:
    if kind in FORMATS:
        return DataError(f"{subject}: damaged image (its header is that of {kind}, but Pillow cannot read it)")
    if not kind and head.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        kind = "text"
    fault = f"not a photo but {kind}" if kind else "not a photo, or an unknown format"
    return DataError(f"{subject}: {fault}; expected {', '.join(FORMATS)}")


def _load_plugin(kind: str, subject: str) -> None:
    """Import Pillow's plugin for TIFF, AVIF or HEIF; thread-safe. Raises DataError if it is not installed."""
    if kind == "HEIF":
        if not load_plugin():
            raise DataError(f"{subject}: HEIC needs a plugin; install it with: pip install pillow-heif")
        return
    try:
        import_module(_PLUGINS[kind])
    except ImportError:
        raise DataError(
            f"{subject}: {kind} is not supported by the installed Pillow; upgrade it with: pip install -U pillow"
        ) from None
