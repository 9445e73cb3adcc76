"""The items of sources, for the tests of every source."""

from __future__ import annotations

from pathlib import Path

from vegrt.infer.decode.item import Item
from vegrt.infer.sources.open import SourceOptions, open_sources


def items_of(*words: str | Path, **how: object) -> list[Item]:
    """Return the items of these words, without pauses; how: fields of SourceOptions."""
    return [item for item in open_sources(words, SourceOptions(**how)) if item is not None]  # type: ignore[arg-type]


def names_of(*words: str | Path, **how: object) -> list[str]:
    """Return the names of the items of these words."""
    return [item.name for item in items_of(*words, **how)]
