"""The sockets of a service: at most so many connections, none of which waits for ever, and no storm at the limit of open files.

Accepted here and not by asyncio, whose accept loop tries as often as its backlog and logs each time once no descriptor is left
(CPython issue 151615).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket

import uvicorn

from vegrt.infer.serve.connection import Connection, Stage, plain_refusal
from vegrt.infer.serve.settings import ServerSettings

log = logging.getLogger(__name__)

_SPARE_FILES = 16  # for whatever else opens a file meanwhile
_OPEN_FILES = 64  # of a process whose open files cannot be counted
_PAUSE_S = 0.2  # after a connection that could not be accepted
_LOOK_S = 1.0  # at most, between two looks for overdue connections
_LOG_EVERY_S = 60.0


class Server(uvicorn.Server):
    """uvicorn that accepts within limits and closes connections whose clients have had their time."""

    def __init__(self, config: uvicorn.Config, settings: ServerSettings) -> None:
        super().__init__(config)
        self._settings = settings
        self._limit = most_connections(settings.max_connections)
        self._accepting: list[asyncio.Task[None]] = []
        self._watching: asyncio.Task[None] | None = None
        self._log_next = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept from listening sockets."""
        await super().startup(sockets=[])
        self._accepting = [asyncio.create_task(self._accept(listener)) for listener in sockets or ()]
        self._watching = asyncio.create_task(self._watch())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, wait for what is being answered, end."""
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets)
        if self._watching is not None:
            self._watching.cancel()

    @property
    def _connections(self) -> list[Connection]:
        return [each for each in self.server_state.connections if isinstance(each, Connection)]

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:  # of the process or the machine: no more files, no memory
                self._complain(f"a connection cannot be accepted ({error.strerror}); for more open files: ulimit -n")
                self._close_longest_waiting()
                await asyncio.sleep(_PAUSE_S)
                continue
            if len(self.server_state.connections) >= self._limit:
                self._complain(f"{self._limit} connections, which is the limit: who waits longest gives way")
                if not self._close_longest_waiting():
                    _refuse(client)
                    continue
            try:
                await loop.connect_accepted_socket(self._connection, client)
            except OSError:  # it has gone again
                client.close()

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)

    def _close_longest_waiting(self) -> bool:
        """Close a connection that waits for its client, one without a request first. Return whether there was one."""
        waiting = [each for each in self._connections if each.stage is not Stage.ANSWER]
        if not waiting:
            return False
        min(waiting, key=lambda each: (each.stage is Stage.BODY, each.since)).transport.abort()
        return True

    async def _watch(self) -> None:
        """Close overdue connections. Those that uvicorn has closed stay until their last byte was taken, so they count too."""
        settings, loop = self._settings, asyncio.get_running_loop()
        pause_s = min(_LOOK_S, settings.header_timeout_s / 4, settings.idle_timeout_s / 4)
        while True:
            await asyncio.sleep(pause_s)
            for each in self._connections:
                if each.is_overdue(loop.time(), settings):
                    each.transport.abort()

    def _complain(self, message: str) -> None:
        """Log a warning, at most one a minute."""
        now = asyncio.get_running_loop().time()
        if now >= self._log_next:
            self._log_next = now + _LOG_EVERY_S
            log.warning(message)


def most_connections(wanted: int) -> int:
    """Return how many connections may be open at once: so many, or fewer where the limit of open files is lower."""
    try:
        import resource
    except ImportError:  # Windows
        return wanted
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return wanted
    try:
        others = len(os.listdir("/dev/fd"))  # noqa: PTH208 (a count, no paths)
    except OSError:
        others = _OPEN_FILES
    most = max(1, allowed - others - _SPARE_FILES)
    if most < wanted:
        log.warning(
            "at most %d connections at once, not %d: %d open files are allowed; see ulimit -n", most, wanted, allowed
        )
    return min(wanted, most)


def _refuse(client: socket.socket) -> None:
    """Tell a client that there is no room, if it can be told at once."""
    with client, contextlib.suppress(OSError):
        client.send(plain_refusal("503 Service Unavailable", "too many connections; try again soon"))
        client.shutdown(socket.SHUT_WR)
