"""Detects HEIC photos by their first bytes, and loads the plugin with which Pillow reads them on first use."""

from __future__ import annotations

from functools import lru_cache

_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})  # ISO/IEC 23008-12
_AVIF = frozenset({b"avif", b"avis"})


def heif_or_avif(head: bytes) -> str:
    """Return `HEIF` or `AVIF` by the major and compatible brands in the first bytes of a file; an empty string for a video.

    The brand `mif1` is used by both; the other brands decide.
    """
    end = min(len(head), int.from_bytes(head[:4], "big"))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
    return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIF else ""


@lru_cache(maxsize=None)
def load_plugin() -> bool:
    """Register the HEIC plugin with Pillow; return False if pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
