"""Decodes the commonest photo in few steps: an upright 8-bit colour JPEG of one image, without a colour profile.

Pillow parses a JPEG's header in Python, a segment at a time, and `preprocess.decode` then copies the pixels once more. One pass
over the header finds out whether that can be left out. Any other file is left to Pillow (None is returned), a damaged one too, so
that neither pixels nor messages depend on this module.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from struct import Struct

from PIL import Image

_LARGEST_BYTES = 1 << 22  # of a file that is read at once; larger ones are decoded at a smaller scale by Pillow
_FIRST_BYTES = 1 << 16
# Not from vegrt.files.descriptors: this file is copied to devices. O_NONBLOCK: opening a named pipe would wait for ever
_READ = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"))
_START = b"\xff\xd8\xff"
_SEGMENT = Struct(">HH")  # marker and length
_FRAME = Struct(">HHBHHB")  # marker, length, bits per sample, height, width, channels
# Markers of ITU T.81: what may stand before the scan of a plain photo
_SCAN, _COMMENT, _TABLES, _HUFFMAN, _RESTART = 0xFFDA, 0xFFFE, 0xFFDB, 0xFFC4, 0xFFDD
_FRAMES = frozenset({0xFFC0, 0xFFC1, 0xFFC2})  # baseline, extended, progressive; Huffman-coded all
_JFIF, _EXIF_OR_XMP = 0xFFE0, 0xFFE1
# Exif's directory is one of TIFF 6.0: a number of entries, each a tag, a type, a count and a value
_ORIENTATION = 0x0112
_UPRIGHT = (_ORIENTATION, 3, 1, 1)
_ORDERS = {
    head: (Struct(f"{order}L"), Struct(f"{order}H"), Struct(f"{order}HHLH"))
    for head, order in ((b"II*\0", "<"), (b"MM\0*", ">"))
}


def file_content(path: Path) -> bytes | None:
    """Return the bytes of a JPEG file of ordinary size; None for any other file, and where it cannot be read."""
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_BYTES:
            return None
        content = os.read(descriptor, _FIRST_BYTES)
        if not content.startswith(_START):
            return None
        while len(content) < status.st_size and (more := os.read(descriptor, status.st_size - len(content))):
            content += more
        return content
    except OSError:
        return None
    finally:
        os.close(descriptor)


def decode_plain(content: bytes, is_reduced: Callable[[tuple[int, int]], bool], max_pixels: int) -> Image.Image | None:
    """Return the RGB image of a plain JPEG, exactly as `vegrt.photo.preprocess.decode` does; None for anything else.

    is_reduced: whether an image of that width and height is decoded at a smaller scale, which is left to Pillow.
    """
    try:
        size = _plain_size(content)
        if size is None or is_reduced(size) or size[0] * size[1] > max_pixels:
            return None
        return Image.frombytes("RGB", size, content, "jpeg", ("RGB", ""))
    except Exception:  # damaged, or no memory: Pillow's own way raises the error with the right words
        return None


def _plain_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height, in pixels; None where the header has anything unusual. Raises struct.error where it ends."""
    if not content.startswith(_START):
        return None
    at, size, has_exif = 2, None, False
    while True:
        marker, length = _SEGMENT.unpack_from(content, at)
        if marker == _SCAN:
            return size
        if marker in _FRAMES:
            _, _, bits, height, width, channels = _FRAME.unpack_from(content, at)
            if size is not None or (length, bits, channels) != (17, 8, 3) or not width * height:
                return None
            size = (width, height)
        elif marker == _EXIF_OR_XMP:
            payload = content[at + 4 : at + 2 + length]
            is_exif = payload.startswith(b"Exif\0\0")
            if (is_exif and (has_exif or not _is_upright(payload))) or (not is_exif and b"rientation" in payload):
                return None
            has_exif = has_exif or is_exif
        elif not _is_harmless(marker, length, content, at):
            return None
        at += 2 + length


def _is_harmless(marker: int, length: int, content: bytes, at: int) -> bool:
    """Return whether a segment changes nothing that the decoder does not see, and is formed as Pillow demands."""
    if marker == _TABLES:  # one or two of 64 numbers of 8 bits
        return content[at + 4] < 16 and (length == 67 or (length == 132 and content[at + 69] < 16))
    if marker == _JFIF:
        return length >= 16
    return marker in (_HUFFMAN, _RESTART, _COMMENT) and length >= 2


def _is_upright(exif: bytes) -> bool:
    """Return whether the first directory of Exif data states orientation 1 or none. Raises struct.error for damaged data."""
    if exif[6:10] not in _ORDERS:
        return False
    offset, length, entry = _ORDERS[exif[6:10]]
    start = 6 + offset.unpack_from(exif, 10)[0]
    (count,) = length.unpack_from(exif, start)
    entries = [entry.unpack_from(exif, start + 2 + 12 * number) for number in range(count)]
    return all(tag == _UPRIGHT for tag in entries if tag[0] == _ORIENTATION)
