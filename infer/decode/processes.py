"""Worker processes that decode files: beyond some rate, threads wait for Python's lock (docs/decisions/0024).

Pixels are written into memory shared with this process; what crosses the connections is names and errors. The memory has no name
and the workers end with their connections, so nothing is left behind even when this process is killed. Photos that are not files
(members of archives, frames, fetched bytes) are decoded in the calling thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from vegrt.errors import VegrtError
from vegrt.infer.decode.local import decode_rows
from vegrt.infer.decode.ring import Run
from vegrt.infer.decode.shared_buffers import SharedBuffers
from vegrt.photo.contract import Contract

_CURE = "use fewer (--decode-workers), or --decode threads"
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # as high as glibc itself would raise them: else it may return each photo's memory to the system and ask for it again
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
LEAVE_S = 2.0  # longest wait at the end for all workers; then they are killed
# -I: the current folder, maybe full of a stranger's files, is not searched for modules
_PROGRAM = (
    "import json, sys; job = json.loads(sys.argv[1]); sys.path[:] = job['path'];"
    "from vegrt.infer.decode.worker import serve; serve(job)"
)


class Workers:
    """Running worker processes. decoders: some for each process, every one for a thread of its own."""

    def __init__(self, count: int, callers: int, buffers: SharedBuffers, contract: Contract, *, keep: bool) -> None:
        self._workers: list[_Worker] = []
        self.decoders: list[RemoteDecoder] = []
        try:
            for _ in range(count):
                worker = _Worker(callers, buffers, contract)
                self._workers.append(worker)
                self.decoders += [RemoteDecoder(worker, ours, contract, keep=keep) for ours in worker.connections]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the processes; threads that wait for an answer get an error."""
        for worker in self._workers:
            worker.hang_up()
        deadline = time.monotonic() + LEAVE_S
        for worker in self._workers:
            worker.end(deadline)


class RemoteDecoder:
    """Decodes runs in a worker process. Not thread-safe."""

    def __init__(self, worker: _Worker, connection: Connection, contract: Contract, *, keep: bool) -> None:
        self._worker, self._connection, self._contract, self._keep = worker, connection, contract, keep

    def wait_until_ready(self) -> None:
        """Return when the worker has started. Raises VegrtError when it ended instead."""
        try:
            self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._worker.failure("while it started") from None

    def decode(self, run: Run) -> dict[int, str]:
        """Decode a run into its buffer; return the reason for each row that is no photo. Raises VegrtError for a dead worker."""
        items = run.slot.items
        rows = {row for row in run.rows if isinstance(items[row].content, Path)}
        files = [(row, items[row].name, str(items[row].content)) for row in sorted(rows)]
        try:
            if files:
                self._connection.send_bytes(json.dumps((run.slot.number, files)).encode())
            errors = decode_rows(run, (row for row in run.rows if row not in rows), self._contract, keep=self._keep)
            return errors | self._answer() if files else errors
        except (EOFError, OSError):
            others = f" or one of the {len(files) - 1} photos after it" if len(files) > 1 else ""
            raise self._worker.failure(f"at {files[0][1]}{others}") from None

    def _answer(self) -> dict[int, str]:
        answer = json.loads(self._connection.recv_bytes())
        for name, level, message in answer["logged"]:
            logging.getLogger(name).log(level, "%s", message)
        if answer["fault"]:
            raise RuntimeError(f"in a decode worker:\n{answer['fault']}")
        return dict(answer["errors"])


class _Worker:
    """One process. connections: this process's ends."""

    def __init__(self, callers: int, buffers: SharedBuffers, contract: Contract) -> None:
        pairs = [Pipe() for _ in range(callers)]
        self.connections, theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        job = {
            "memory": buffers.descriptor,
            "shape": buffers.arrays.shape,
            "connections": [their.fileno() for their in theirs],
            "contract": contract.to_dict(),
            "path": [str(folder) for folder in sys.path],
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _PROGRAM, json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | _ENVIRONMENT,
                pass_fds=(buffers.descriptor, *(their.fileno() for their in theirs)),
                start_new_session=True,  # Ctrl-C reaches this process, which ends the workers
            )
        except OSError as error:
            raise VegrtError(f"decode worker: cannot be started ({error.strerror}); {_CURE}") from error
        finally:
            for their in theirs:
                their.close()

    def failure(self, moment: str) -> VegrtError:
        """Return what to say of a process that ended on its own. moment: when that was seen."""
        try:
            code = self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            return VegrtError(f"decode worker: stopped answering {moment}; {_CURE}")
        name = signal.Signals(-code).name if code < 0 else ""
        if name == "SIGKILL":
            return VegrtError(f"decode worker: killed (SIGKILL) {moment}, most often for lack of memory; {_CURE}")
        how = f"crashed ({name})" if name else f"ended with exit code {code}"
        return VegrtError(f"decode worker: {how} {moment}; {_CURE}")

    def hang_up(self) -> None:
        """Shut the connections, so that the process ends and no thread waits for it any more."""
        for connection in self.connections:
            with socket.socket(fileno=os.dup(connection.fileno())) as end, contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def end(self, deadline: float) -> None:
        """Wait for the process until `deadline`, a time.monotonic(), then kill it."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(
                subprocess.TimeoutExpired
            ):  # it hangs in the system, for instance on a dead network disk
                self._process.wait(LEAVE_S)
