"""HEIC photos, which Pillow reads with a plugin only: recognised by their first bytes; the plugin is loaded when first needed."""

from __future__ import annotations

from functools import cache

_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})  # ISO/IEC 23008-12
_AVIF = frozenset({b"avif", b"avis"})


def heif_or_avif(head: bytes) -> str:
    """Return `HEIF` or `AVIF` by the brands, major or compatible, in the first bytes of a file; an empty text for a video.

    The brand `mif1` alone may be either; the brands after it decide.
    """
    end = min(len(head), int.from_bytes(head[:4], "big"))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
    return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIF else ""


@cache
def load_plugin() -> bool:
    """Register the HEIC plugin with Pillow; return False where pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
