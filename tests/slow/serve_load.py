"""Load on `vegrt serve`: python tests/slow/serve_load.py BUNDLE PHOTOS [--clients 32 --requests 2000 ...]

Starts the service on a free loopback port and, from one asyncio process on the same machine,
1. closed loop: so many clients, each sending its next photo when its last one is answered;
2. open loop: four times that rate for a few seconds, whatever comes back: 503 with Retry-After is expected, nothing else;
3. recovery: the closed loop again, in which nothing may be refused.
Every answer is compared with what the same model says of that photo through the Python API. As a yardstick it first
measures that API's stream over the same files. Ends by itself; exit code 1 for any lost, wrong or unexpected answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from vegrt import Model, Prediction, load

MAX_CONNECTIONS = 600
TOLERANCE = 0.02  # of a probability: int8 and bfloat16 kernels round differently in batches of other sizes


class Connection:
    """One kept-alive HTTP/1.1 connection; no more of HTTP than the service needs, to leave it the cores."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, body: bytes) -> tuple[int, bool, bytes]:
        """Return status, whether Retry-After was sent, and the body."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        return int(head[9:12]), b"retry-after: " in head, await reader.readexactly(length)

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()


@dataclass
class Tally:
    """What one phase saw. latencies: in seconds, of the answers with 200."""

    latencies: list[float] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def line(self, name: str) -> str:
        times = sorted(self.latencies) or [0.0]
        p50, p99 = (1000 * times[min(len(times) - 1, int(share * len(times)))] for share in (0.5, 0.99))
        codes = ", ".join(f"{code}: {number}" for code, number in sorted(self.codes.items()))
        rate = len(self.latencies) / self.seconds
        return f"{name}: {rate:.1f} images/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms; {codes}; faults {dict(self.faults)}"


class Load:
    """The photos, the right answers and the port."""

    def __init__(self, port: int, bodies: list[bytes], want: list[Prediction]) -> None:
        self.port, self.bodies, self.want = port, bodies, want

    async def ask(self, connection: Connection, number: int, tally: Tally) -> None:
        number %= len(self.bodies)
        started = time.perf_counter()
        status, retry_after, content = await asyncio.wait_for(connection.post(self.bodies[number]), 90)
        tally.codes[status] += 1
        if status == 503:
            tally.faults["503 without Retry-After"] += not retry_after
        elif status != 200:
            tally.faults[content.decode()[:80]] += 1
        else:
            tally.latencies.append(time.perf_counter() - started)
            tally.faults["wrong answer"] += not fits(json.loads(content), self.want[number])

    async def closed(self, clients: int, requests: int) -> Tally:
        tally, numbers = Tally(), iter(range(requests))

        async def client() -> None:
            connection = Connection(self.port)
            for number in numbers:
                await self.ask(connection, number, tally)
            await connection.close()

        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        tally.seconds = time.perf_counter() - started
        tally.faults["lost"] = requests - sum(tally.codes.values())
        return tally

    async def open(self, rate: float, seconds: float) -> Tally:
        tally, idle = Tally(), [Connection(self.port) for _ in range(MAX_CONNECTIONS)]
        everyone, tasks, unsent = list(idle), set(), 0

        async def once(number: int) -> None:
            connection = idle.pop()
            await self.ask(connection, number, tally)
            idle.append(connection)

        started = time.perf_counter()
        for number in count():
            if (now := time.perf_counter() - started) >= seconds:
                break
            if (wait := number / rate - now) > 0:
                await asyncio.sleep(wait)
            if idle:
                tasks.add(task := asyncio.create_task(once(number)))
                task.add_done_callback(tasks.discard)
                await asyncio.sleep(0)
            else:
                unsent += 1
        sent = number - unsent
        sys.stdout.write(f"open loop: {sent} sent in {seconds:.0f} s ({sent / seconds:.0f}/s), {unsent} unsent\n")
        while tasks:
            await asyncio.wait(tasks)
        tally.seconds = time.perf_counter() - started
        tally.faults["lost"] = sent - sum(tally.codes.values())
        for connection in everyone:
            await connection.close()
        return tally


def fits(answer: dict[str, object], want: Prediction) -> bool:
    top = answer["top"]
    assert isinstance(top, list)
    probabilities = {score["index"]: score["probability"] for score in top}
    return all(abs(probabilities.get(score.index, 0.0) - score.probability) < TOLERANCE for score in want.top[:2])


def distinguishable(want: list[Prediction]) -> float:
    """Return the share of pairs of photos of which a swapped answer would be seen."""
    sample = want[:: max(1, len(want) // 300)]
    pairs = [(a, b) for a in sample for b in sample if a is not b]
    return sum(not fits(a.to_dict(), b) for a, b in pairs) / len(pairs)


def yardstick(model: Model, photos: list[Path]) -> tuple[float, list[Prediction]]:
    """Return images/s of the API's stream over the files, and its answers; a first pass warms up."""
    model.predict(photos[: 4 * model.batch])
    started = time.perf_counter()
    want = list(model.predict_iter(photos))
    return len(photos) / (time.perf_counter() - started), want


async def phases(load_: Load, options: argparse.Namespace) -> list[Tally]:
    warm = await load_.closed(options.clients, 4 * options.clients)
    closed = await load_.closed(options.clients, options.requests)
    rate = 4 * len(closed.latencies) / closed.seconds
    overload = await load_.open(rate, options.overload_s)
    return [warm, closed, overload, await load_.closed(options.clients, options.requests // 4)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--overload-s", type=float, default=5.0)
    parser.add_argument("--variant")
    parser.add_argument("--runtime")
    parser.add_argument("flags", nargs="*", help="after --: more flags for vegrt serve")
    options = parser.parse_args()
    photos = sorted(options.photos.rglob("*.jpg"))
    model = load(options.bundle, variant=options.variant, runtime=options.runtime)
    pipeline, want = yardstick(model, photos)
    words = ["--variant", model.variant, "--runtime", model.runtime, "--port", "0", *options.flags]
    sys.stdout.write(
        f"{model.variant} on {model.runtime}, {len(photos)} photos, stream of files: {pipeline:.1f} images/s\n"
    )
    sys.stdout.write(f"a swapped answer would be seen in {100 * distinguishable(want):.1f} % of pairs\n")
    del model
    command = [sys.executable, "-m", "vegrt.cli", "serve", str(options.bundle), *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        try:
            port = next(int(match[1]) for line in service.stderr if (match := re.search(r"serving on .*:(\d+)/", line)))
            tallies = asyncio.run(phases(Load(port, [path.read_bytes() for path in photos], want), options))
        finally:
            service.send_signal(signal.SIGTERM)
        service.wait(90)
    for name, tally in zip(("warm-up", "closed loop", "4x overload", "recovery"), tallies, strict=True):
        sys.stdout.write(tally.line(name) + "\n")
    _, closed, overload, recovery = tallies
    share = len(closed.latencies) / closed.seconds / pipeline
    sys.stdout.write(
        f"closed loop / stream of files: {100 * share:.1f} %; exit code of the service {service.returncode}\n"
    )
    sound = not any(sum(tally.faults.values()) for tally in tallies) and service.returncode == 0
    return 0 if sound and overload.codes[503] and not closed.codes[503] and not recovery.codes[503] else 1


if __name__ == "__main__":
    sys.exit(main())
