"""The language of a report. English texts are the keys of a catalogue; a text without a translation stays English.

`translate` is called with literals, or with texts that `mark` marks elsewhere, so that a test can find all keys in the code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Language = Literal["en", "ko"]

_language: ContextVar[Language] = ContextVar("language", default="en")


def translate(text: str, /, **values: object) -> str:
    """Return a text in the current language, with `values` in its {places}."""
    translated = _catalogue().get(text, text)
    return translated.format(**values) if values else translated


def mark(text: str) -> str:
    """Return the text unchanged. Marks a constant that is passed to `translate` later."""
    return text


def present_language() -> Language:
    """Return the current language as its ISO 639 code, for an HTML `lang` attribute."""
    return _language.get()


@contextmanager
def using_language(language: Language) -> Iterator[None]:
    """Make `translate` use this language inside the block."""
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
