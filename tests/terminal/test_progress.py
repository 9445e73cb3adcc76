"""Progress bars: on a terminal, where a caller wants them, and never where a caller does not."""

from __future__ import annotations

import pytest

from vegrt.terminal.progress import showing_progress, track


@pytest.mark.parametrize(
    ("wanted", "forced", "shown"), [(True, "", True), (False, "1", False), (None, "", False), (None, "1", True)]
)
def test_a_caller_decides(
    wanted: bool | None,
    forced: str,
    shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if forced:
        monkeypatch.setenv("FORCE_COLOR", forced)
    else:
        monkeypatch.delenv("FORCE_COLOR", raising=False)
    with showing_progress(wanted):
        assert list(track([4, 5, 6], "photos")) == [4, 5, 6]
    written = capsys.readouterr()
    assert written.out == ""
    assert ("photos" in written.err) == shown
