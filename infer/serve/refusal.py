"""The errors of refused requests, with their HTTP status."""

from __future__ import annotations


class Refusal(Exception):
    """A request that is refused: `status` is the HTTP status, the message is for the client.

    closes: whether the connection ends with the answer, because the rest of an unwanted body would follow.
    """

    status = 400
    closes = False

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status or self.status


class TooSlow(Refusal):
    """A body that did not arrive in time."""

    status = 408
    closes = True


class TooLarge(Refusal):
    """More bytes or pixels than the service accepts."""

    status = 413


class NotAPhoto(Refusal):
    """A body that cannot be decoded."""

    status = 422


class Overloaded(Refusal):
    """The queue is full: try again in `retry_after_s` seconds."""

    status = 503
    retry_after_s = 1


class GaveWay(Overloaded):
    """A body that arrived so slowly that its memory was given to another one."""

    closes = True
