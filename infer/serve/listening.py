"""Accepts a limited number of connections, in all and of each client, and closes overdue ones, also at the limit of open files.

asyncio does not accept the connections, because at the limit of open files its accept loop retries as often as the backlog is
long and logs every failure (CPython issue 151615; docs/decisions/0019).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket

import uvicorn

from vegrt.infer.serve.clients import client_of
from vegrt.infer.serve.connection import Connection, Stage, plain_refusal
from vegrt.infer.serve.metrics import Metrics
from vegrt.infer.serve.settings import ServerSettings

log = logging.getLogger(__name__)

_SPARE_FILES = 16  # kept free for other files
_OPEN_FILES = 64  # assumed if open files cannot be counted
_PAUSE_S = 0.2  # pause after a failed accept
_CHECK_S = 1.0  # longest pause between two checks for overdue connections
_LOG_EVERY_S = 60.0


class Server(uvicorn.Server):
    """A uvicorn server with limits on connections, which closes those whose clients exceed their time limits."""

    def __init__(self, config: uvicorn.Config, settings: ServerSettings, metrics: Metrics) -> None:
        super().__init__(config)
        self._settings, self._metrics = settings, metrics
        self._limit = most_connections(settings.max_connections)
        self._client_limit = settings.share_of(self._limit)
        metrics.watch_connections(lambda: len(self.server_state.connections))
        self._accepting: list[asyncio.Task[None]] = []
        self._watching: asyncio.Task[None] | None = None
        self._log_next = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections from listening sockets."""
        await super().startup(sockets=[])
        self._accepting = [asyncio.create_task(self._accept(listener)) for listener in sockets or ()]
        self._watching = asyncio.create_task(self._watch())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, wait for running answers, then stop."""
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
                client, address = await loop.sock_accept(listener)
            except OSError as error:  # no file descriptor or memory left, in the process or the machine
                self._warn(
                    f"a connection cannot be accepted ({error.strerror}); raise the limit of open files with: ulimit -n"
                )
                self._close_longest_waiting(self._connections)
                await asyncio.sleep(_PAUSE_S)
                continue
            if not self._make_room(address[0]):
                _refuse(client)
                continue
            try:
                await loop.connect_accepted_socket(self._connection, client)
            except OSError:  # the client is gone
                client.close()

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state, metrics=self._metrics)

    def _make_room(self, address: str) -> bool:
        """Close a connection if a new one from this address would exceed a limit. Return whether there is room now."""
        connections = self._connections
        if self._client_limit < self._limit:
            owner = client_of(address)
            own = [connection for connection in connections if connection.owner == owner]
            if len(own) >= self._client_limit:
                self._warn(f"{owner} has {len(own)} connections, its share; closing the one that has waited longest")
                return self._close_longest_waiting(own)
        if len(connections) < self._limit:
            return True
        self._warn(f"the limit of {self._limit} connections is reached; closing the one that has waited longest")
        return self._close_longest_waiting(connections)

    def _close_longest_waiting(self, connections: list[Connection]) -> bool:
        """Close a connection that waits for its client, preferably one without a request. Return whether there was one."""
        waiting = [connection for connection in connections if connection.stage is not Stage.ANSWER]
        self._metrics.closed.labels("limit" if waiting else "refused").inc()
        if not waiting:
            return False
        min(waiting, key=lambda connection: (connection.stage is Stage.BODY, connection.since)).transport.abort()
        return True

    async def _watch(self) -> None:
        """Close overdue connections, including those that uvicorn closed but whose last bytes have not been sent."""
        settings, loop = self._settings, asyncio.get_running_loop()
        pause_s = min(_CHECK_S, settings.header_timeout_s / 4, settings.idle_timeout_s / 4)
        while True:
            await asyncio.sleep(pause_s)
            for connection in self._connections:
                if reason := connection.overdue(loop.time(), settings):
                    connection.close_overdue(reason)

    def _warn(self, message: str) -> None:
        """Log a warning, at most one per minute."""
        now = asyncio.get_running_loop().time()
        if now >= self._log_next:
            self._log_next = now + _LOG_EVERY_S
            log.warning(message)


def most_connections(limit: int) -> int:
    """Return how many connections may be open simultaneously: `limit`, or fewer if the limit of open files is lower."""
    try:
        import resource
    except ImportError:  # Windows
        return limit
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return limit
    try:
        others = len(os.listdir("/dev/fd"))  # noqa: PTH208 (only counted)
    except OSError:
        others = _OPEN_FILES
    most = max(1, allowed - others - _SPARE_FILES)
    if most < limit:
        log.warning(
            "at most %d connections at once instead of %d, because only %d open files are allowed; raise it with: ulimit -n",
            most,
            limit,
            allowed,
        )
    return min(limit, most)


def _refuse(client: socket.socket) -> None:
    """Send an error to a client if that is possible without waiting, and close its connection."""
    with client, contextlib.suppress(OSError):
        client.send(plain_refusal(503, "too many connections; try again soon"))
        client.shutdown(socket.SHUT_WR)
