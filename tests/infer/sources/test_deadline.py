"""How long a download may take."""

from __future__ import annotations

import pytest

from vegrt.infer.sources import deadline as sources_deadline


def test_the_deadline_of_a_photo_moves_with_what_has_been_received(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_deadline, "HEAD_START_S", 0.0)
    deadline = sources_deadline.Deadline()
    assert deadline.is_over
    deadline.add(100 * sources_deadline.MIN_RATE)
    assert 90 < deadline.left_s <= 100
