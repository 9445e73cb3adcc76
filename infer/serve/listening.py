"""The sockets of a service: a limited number of connections, none of which waits forever, even at the limit of open files.

Connections are accepted here and not by asyncio, whose accept loop retries as often as its backlog and logs every failure once
no file descriptor is left (CPython issue 151615).
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

_SPARE_FILES = 16  # kept free for other files
_OPEN_FILES = 64  # assumed where open files cannot be counted
_PAUSE_S = 0.2  # pause after a failed accept
_LOOK_S = 1.0  # longest pause between two checks for overdue connections
_LOG_EVERY_S = 60.0


class Server(uvicorn.Server):
    """uvicorn that accepts within limits and closes connections whose clients exceed their time limits."""

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
        """Accept no more, wait for running answers, end."""
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets)
        if self._watching is not None:
            self._watching.cancel()

    @property
    def _connections(self) -> list[Connection]:
        return [item for item in self.server_state.connections if isinstance(item, Connection)]

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:  # of the process or the machine: no more files, no memory
                self._warn(f"a connection cannot be accepted ({error.strerror}); for more open files: ulimit -n")
                self._close_longest_waiting()
                await asyncio.sleep(_PAUSE_S)
                continue
            if len(self.server_state.connections) >= self._limit:
                self._warn(f"{self._limit} connections, which is the limit: the longest waiting one is closed")
                if not self._close_longest_waiting():
                    _refuse(client)
                    continue
            try:
                await loop.connect_accepted_socket(self._connection, client)
            except OSError:  # the client is gone
                client.close()

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)

    def _close_longest_waiting(self) -> bool:
        """Close a connection that waits for its client, one without a request first. Return whether there was one."""
        waiting = [connection for connection in self._connections if connection.stage is not Stage.ANSWER]
        if not waiting:
            return False
        min(waiting, key=lambda connection: (connection.stage is Stage.BODY, connection.since)).transport.abort()
        return True

    async def _watch(self) -> None:
        """Close overdue connections, including those that uvicorn closed but whose last bytes are not sent yet."""
        settings, loop = self._settings, asyncio.get_running_loop()
        pause_s = min(_LOOK_S, settings.header_timeout_s / 4, settings.idle_timeout_s / 4)
        while True:
            await asyncio.sleep(pause_s)
            for connection in self._connections:
                if connection.is_overdue(loop.time(), settings):
                    connection.transport.abort()

    def _warn(self, message: str) -> None:
        """Log a warning, at most one per minute."""
        now = asyncio.get_running_loop().time()
        if now >= self._log_next:
            self._log_next = now + _LOG_EVERY_S
            log.warning(message)


def most_connections(limit: int) -> int:
    """Return how many connections may be open at once: `limit`, or fewer if the limit of open files is lower."""
    try:
        import resource
    except ImportError:  # Windows
        return limit
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return limit
    try:
        others = len(os.listdir("/dev/fd"))  # noqa: PTH208 (a count, no paths)
    except OSError:
        others = _OPEN_FILES
    most = max(1, allowed - others - _SPARE_FILES)
    if most < limit:
        log.warning(
            "at most %d connections at once, not %d: %d open files are allowed; see ulimit -n", most, limit, allowed
        )
    return min(limit, most)


def _refuse(client: socket.socket) -> None:
    """Send an error to a client if that is possible at once, and close its connection."""
    with client, contextlib.suppress(OSError):
        client.send(plain_refusal("503 Service Unavailable", "too many connections; try again soon"))
        client.shutdown(socket.SHUT_WR)
