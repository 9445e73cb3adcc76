"""HEIC photos, which Pillow reads with a plugin only: recognised by their first bytes, the plugin loaded on first sight."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})  # ISO/IEC 23008-12


def is_heif(source: Path | bytes) -> bool:
    """Return whether a file, or its bytes, begins like a HEIC photo."""
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with source.open("rb") as file:
            head = file.read(12)
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS


@cache
def load_plugin() -> bool:
    """Have Pillow read HEIC from now on; return False where pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
