"""The language that a report is written in. English is the key: a text without a translation stays English.

`translate` is called with literals, or with texts that `mark` marked elsewhere, so that a test can compare them with a catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Language = Literal["en", "ko"]

_language: ContextVar[Language] = ContextVar("language", default="en")


def translate(text: str, /, **values: object) -> str:
    """Return a text in the present language, with `values` at its {places}."""
    found = _catalogue().get(text, text)
    return found.format(**values) if values else found


def mark(text: str) -> str:
    """Return the text as it is. Marks a constant that `translate` is given later."""
    return text


def present_language() -> Language:
    """Return the language of `translate` as its ISO 639 code, for an HTML `lang` attribute."""
    return _language.get()


@contextmanager
def using_language(language: Language) -> Iterator[None]:
    """Let `translate` use this language inside the block."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def _catalogue() -> Mapping[str, str]:
    if _language.get() == "en":
        return {}
    from vegrt.report.language.korean import KOREAN

    return KOREAN
