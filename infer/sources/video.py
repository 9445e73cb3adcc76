"""Frames of video files and cameras, through PyAV. Cameras have not been tested: none was available."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from vegrt.errors import DataError, require
from vegrt.files.text import as_utf8
from vegrt.infer.decode.item import Item
from vegrt.photo.formats import MAX_PIXELS


def open_video(path: Path, every: int = 1) -> Iterator[Item]:
    """Return every Nth frame of a video, from the first, as `clip.mp4#120` with the number of frames before it.

    Frames are rotated as the file says. A damaged file is one item, its error, after the frames before the damage.
    Raises MissingExtraError without PyAV.
    """
    return _frames(require("av", "video"), as_utf8(path), str(path), every, Event())


def open_camera(word: str, number: str, every: int, stop: Event) -> Iterator[Item]:
    """Return every Nth frame of the camera /dev/video<number> until `stop` is set. Raises DataError if there is none."""
    av = require("av", "video")
    if not number.isdigit() or not Path(f"/dev/video{number}").exists():
        raise DataError(f"{word}: no such camera; expected camera:N for a /dev/videoN that exists, such as camera:0")
    return _frames(av, word, f"/dev/video{number}", every, stop, format="v4l2")


def _frames(av: Any, name: str, file: str, every: int, stop: Event, **options: str) -> Iterator[Item]:
    try:
        with av.open(file, **options) as container:
            if not container.streams.video:
                yield Item(name, DataError(f"{name}: holds no video"))
                return
            video = container.streams.video[0]
            video.thread_type = "AUTO"
            if video.codec_context.width * video.codec_context.height > MAX_PIXELS:
                yield Item(name, DataError(f"{name}: frames of more than {MAX_PIXELS:,} pixels; refused"))
                return
            for number, frame in enumerate(container.decode(video)):
                if stop.is_set():
                    return
                if number % every == 0:
                    yield Item(f"{name}#{number}", _upright(frame))
    except (av.FFmpegError, OSError, ValueError) as error:
        yield Item(name, DataError(f"{name}: damaged video ({' '.join(str(error).split())})"))


def _upright(frame: Any) -> Any:
    """Return the frame as (H, W, 3) uint8 RGB, rotated upright."""
    pixels = frame.to_ndarray(format="rgb24")
    quarters = round(getattr(frame, "rotation", 0) / 90) % 4  # counterclockwise; in PyAV since version 14
    return np.ascontiguousarray(np.rot90(pixels, quarters)) if quarters else pixels
