"""Errors that refuse a request, with their HTTP status."""

from __future__ import annotations

from vegrt.files.text import printable


class Refusal(Exception):
    """A refused request. status: the HTTP status; the message is sent to the client, as one line of Unicode text.

    closes: whether the connection is closed after the answer, because the rest of the body would still arrive.
    """

    status = 400
    closes = False

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(printable(message))  # it may quote the request
        self.status = status or self.status


class TooSlow(Refusal):
    """A body that did not arrive in time."""

    status = 408
    closes = True


class TooLarge(Refusal):
    """More bytes or pixels than the service accepts."""

    status = 413


class NotAPhoto(Refusal):
    """A body that cannot be decoded as a photo."""

    status = 422


class Overloaded(Refusal):
    """The queue is full: try again in `retry_after_s` seconds."""

    status = 503
    retry_after_s = 1


class ShareTaken(Overloaded):
    """One client holds as much of the service as it may: try again in `retry_after_s` seconds."""

    status = 429


class Dropped(Overloaded):
    """A body that arrived so slowly that it was dropped to free memory for another one."""

    closes = True
