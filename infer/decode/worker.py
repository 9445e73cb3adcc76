"""A process that decodes files for `vegrt.infer.decode.processes`, into memory that it shares with the process that started it.

Each request names a buffer and a few files with their rows; the answer has the errors and what was logged. The process ends when
its connections are closed, so also when the other process is killed. Only what decoding needs is imported.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vegrt.errors import DataError
from vegrt.infer.decode.local import reason_of
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import load_image
from vegrt.terminal.interrupts import leave_interrupts


def serve(job: Mapping[str, Any]) -> None:
    """Answer requests until the connections are closed.

    job: `memory` and `connections`, inherited file descriptors; `shape` of the memory, (buffers, B, H, W, 3) uint8; `contract`.
    """
    leave_interrupts()
    logged = _Logged()
    logging.getLogger().addHandler(logged)
    memory = np.frombuffer(mmap.mmap(job["memory"], 0), np.uint8).reshape(job["shape"])
    os.close(job["memory"])
    contract = Contract.from_dict(job["contract"])
    connections = [Connection(descriptor) for descriptor in job["connections"]]
    try:
        for connection in connections:
            connection.send_bytes(b"ready")
        while True:
            for ready in wait(connections):
                connection = cast("Connection", ready)
                number, files = json.loads(connection.recv_bytes())
                answer = _decode(memory[number], files, contract)
                connection.send_bytes(json.dumps({**answer, "logged": logged.take()}).encode())
    except (EOFError, ConnectionError):
        return


def _decode(buffer: NDArray[np.uint8], files: Sequence[tuple[int, str, str]], contract: Contract) -> dict[str, Any]:
    """Decode files, each (row, name, path), into their rows. Return `errors`, pairs (row, reason), and a traceback, `fault`."""
    errors = []
    try:
        for row, name, path in files:
            try:
                buffer[row] = load_image(Path(path), contract, name)
            except DataError as error:
                errors.append((row, reason_of(error)))
    except Exception:
        return {"errors": errors, "fault": traceback.format_exc()}
    return {"errors": errors, "fault": ""}


class _Logged(logging.Handler):
    """Keeps what is logged: the process that asked repeats it in its own log."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append((record.name, record.levelno, record.getMessage()))

    def take(self) -> list[tuple[str, int, str]]:
        """Return logger, level and message of all records since the last call."""
        records, self._records = self._records, []
        return records
