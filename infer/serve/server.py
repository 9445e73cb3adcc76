"""Runs a service: opens the socket, warms up the runner, serves, and shuts down gracefully on SIGTERM."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from math import ceil

import numpy as np
import uvicorn

from vegrt.errors import VegrtError
from vegrt.infer.api import Model
from vegrt.infer.drift.counters import Counters
from vegrt.infer.serve.app import Service, build_app
from vegrt.infer.serve.connection import Connection
from vegrt.infer.serve.listening import Server
from vegrt.infer.serve.origins import Hosts
from vegrt.infer.serve.settings import ServerSettings

log = logging.getLogger(__name__)

_BACKLOG = 1024  # connections that the operating system holds until they are accepted
_LOOPBACK = ("127.0.0.1", "::1")


def serve(model: Model, host: str, port: int, settings: ServerSettings, counters: Counters | None = None) -> None:
    """Serve until SIGTERM or SIGINT; then accept no more requests, answer the accepted ones, and return.

    port: 0 for any free port; the address is logged. counters: of what the model's judge decides.
    Raises VegrtError if the service cannot listen on the address.
    """
    listener = listen(host, port)
    with listener:
        warm_up(model, settings.max_batch)
        server = make_server(Service(model, settings, counters), host)
        if listener.getsockname()[0] not in _LOOPBACK:
            log.warning("everyone who can reach %s can use this service: it has no authentication", host)
        log.info("serving on %s; stop with Ctrl-C", url_of(listener))
        if threading.current_thread() is threading.main_thread():
            # uvicorn raises the signal again after its shutdown; the default handler would end the process before this returns
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, server.handle_exit)
        server.run(sockets=[listener])
    if not server.started:
        raise VegrtError(f"{host} port {port}: the server did not start; see the messages above")
    log.info("stopped; every accepted request has been answered")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket. Raises VegrtError if the address cannot be used."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise VegrtError(f"{host} port {port}: cannot listen ({error}); choose another --host or --port") from error


def url_of(listener: socket.socket) -> str:
    """Return the URL of the listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def warm_up(model: Model, max_batch: int) -> None:
    """Run the smallest and the largest batch once, so that the first request is as fast as the others."""
    for count in {1, max_batch}:
        model.logits(np.zeros((count, *model.shape), np.uint8))


def make_server(service: Service, host: str = "127.0.0.1") -> Server:
    """Return the server of a service, for `run(sockets=[...])`; should_exit = True stops it gracefully.

    host: the address that the service listens on; browsers may use it as a name.
    """
    settings = service.settings
    config = uvicorn.Config(
        build_app(service, Hosts.of(host, settings.allowed_hosts)),
        http=Connection,
        log_config=None,
        log_level="error",  # below it, uvicorn logs a line for each request that is not HTTP
        access_log=False,
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=ceil(settings.idle_timeout_s),
        timeout_graceful_shutdown=int(settings.answer_timeout_s) + 1,
    )
    return Server(config, settings, service.metrics)
