"""Frames of videos and cameras."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.infer.sources.items import items_of, names_of
from vegrt.errors import DataError
from vegrt.infer.decode.item import fetched
from vegrt.infer.sources.open import SourceOptions, is_endless


def test_frames_of_a_video(tree: Path) -> None:
    import av

    with av.open("clip.mp4", "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        for number in range(7):
            picture = np.full((24, 32, 3), number * 30, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
    frames = items_of("clip.mp4", every=3)
    assert [item.name for item in frames] == ["clip.mp4#0", "clip.mp4#3", "clip.mp4#6"]
    for item, value in zip(frames, (0, 90, 180), strict=True):
        frame = fetched(item)
        assert isinstance(frame, np.ndarray)
        assert frame.shape == (24, 32, 3)
        assert frame.dtype == np.uint8
        assert abs(float(frame.mean()) - value) < 8
    Path("bad.mp4").write_bytes(b"text")
    assert "bad.mp4: damaged video" in str(items_of("bad.mp4")[0].content)


def test_a_camera_that_is_not_there(tree: Path) -> None:
    for word in ("camera:77", "camera:x"):
        with pytest.raises(DataError, match="no such camera"):
            names_of(word)
    assert is_endless(["camera:0"], SourceOptions())
    assert not is_endless(["b.jpg"], SourceOptions())
