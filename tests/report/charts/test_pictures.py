"""PNG pictures in a language whose letters need a font that may be missing."""

from __future__ import annotations

import json

import pytest

from vegrt.report.charts import pictures
from vegrt.report.html.blocks import Spec
from vegrt.report.language.language import using_language


@pytest.mark.parametrize(("has_font", "warnings"), [(True, 0), (False, 1)])
def test_letters_that_no_font_has_are_named(
    has_font: bool, warnings: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a font, every letter is the same box."""

    def drawn(spec: Spec, *, scale: float) -> bytes:
        return json.dumps(spec).encode() if has_font else b"box"

    monkeypatch.setattr(pictures, "to_png", drawn)
    with using_language("ko"):
        pictures.warn_without_font()
    assert len(caplog.records) == warnings
    assert not warnings or "no installed font has the letters" in caplog.text
