"""Clients of all kinds on a real `vegrt serve`, for as long as wanted: memory, lost answers, latency, refusals.

    python peers/soak_serve.py PHOTOS --bundle BUNDLE [--minutes 20] [--settle-minutes 10] [--good 4] [--json] [-- flags of serve]

Good clients send photos one after the other, as bytes, as a form and as tensors, and compare every answer with that of the Python
API. Beside them, each kind from its own address of 127.0.0.0/8, are clients that are slow (header, body, reading), broken, large,
tiny, cancelled and greedy. Goals: every request of a good client is answered correctly, within its retries after 429 and 503; no
status 500; no place is left over at the end; exit code 0 on SIGTERM; and the resident memory grows by at most 5 MiB an hour after
the settling time (least squares over the lowest value of each half minute, because bodies in memory come and go; with the 95 %
interval of the slope). Exit status: 0 all goals met, 1 one was missed, 4 the interval of the growth contains the goal, so that a
longer run is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from soak import resident_mib

from vegrt import load
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.serve.protocol import model_name
from vegrt.photo.preprocess import load_image

GOAL_MIB_PER_HOUR = 5.0
SAMPLE_S, WINDOW_S = 1.0, 30.0
TOLERANCE = 0.02  # of a probability: int8 kernels round differently in batches of other sizes
RETRIES = 200
PREDICT = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"
BROKEN = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    PREDICT + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    PREDICT + b"Content-Length: 4, 5\r\n\r\nabcde",
    PREDICT + b"Content-Length: 99999999999\r\n\r\n",
    PREDICT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    PREDICT + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9\r\n\r\n--b\r\nX: y",
    PREDICT + b"Origin: http://evil.example\r\nContent-Length: 0\r\n\r\n",
    PREDICT + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /v2/models/x/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
)


@dataclass
class Subject:
    """What is sent, and what must come back.

    bodies: encoded photos. pixels: the same, (N, H, W, 3) uint8. want: their probabilities by the Python API, (N, K) float32.
    """

    port: int
    name: str
    bodies: list[bytes]
    pixels: np.ndarray
    want: np.ndarray


@dataclass
class Tally:
    """What all clients saw. statuses: by kind of client; faults: what must not happen."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    faults: Counter[str] = field(default_factory=Counter)
    answered: int = 0

    def count(self, kind: str, status: str) -> None:
        """Count a status that a client of that kind got; an internal error is a fault whoever gets it."""
        self.statuses[kind][status] += 1
        if status.startswith("5") and status not in ("501", "503", "505"):
            self.faults[f"status {status} for a {kind} client"] += 1


class Client:
    """A connection from an address of its own."""

    def __init__(self, port: int, address: str) -> None:
        self.port, self.address = port, address
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def send(self, content: bytes) -> None:
        """Send bytes, on a new connection if there is none."""
        if self.writer is None:
            source = (self.address, 0)
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=source)
        self.writer.write(content)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Return the next answer, within 90 s: status, header in lower case, body."""
        return await asyncio.wait_for(self._answer(), 90)

    async def _answer(self) -> tuple[int, bytes, bytes]:
        assert self.reader is not None
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"\r\ncontent-length: ", 1)[1].split(b"\r\n", 1)[0])
        return int(head[9:12]), head, await self.reader.readexactly(length)

    def close(self) -> None:
        """Close the connection, without waiting."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def as_bytes(subject: Subject, number: int) -> bytes:
    """Return a request with a photo as its body."""
    body = subject.bodies[number]
    return PREDICT + b"Content-Length: %d\r\n\r\n" % len(body) + body


def as_form(subject: Subject, number: int) -> bytes:
    """Return a request with a photo in a form."""
    part = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = part + subject.bodies[number] + b"\r\n--edge--\r\n"
    head = b"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: %d\r\n\r\n"
    return PREDICT + head % len(body) + body


def as_tensor(subject: Subject, number: int) -> bytes:
    """Return a request of the Open Inference Protocol with binary pixels."""
    pixels = subject.pixels[number]
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, *pixels.shape]}
    tensor["parameters"] = {"binary_data_size": pixels.size}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    head = (
        f"POST /v2/models/{subject.name}/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: {len(text)}\r\n"
    )
    return f"{head}Content-Length: {len(text) + pixels.size}\r\n\r\n".encode() + text + pixels.tobytes()


def is_right(subject: Subject, number: int, head: bytes, body: bytes) -> bool:
    """Return whether an answer is that of the photo."""
    want = subject.want[number]
    if b"inference-header-content-length: " in head:
        length = int(head.split(b"inference-header-content-length: ", 1)[1].split(b"\r\n", 1)[0])
        logits = np.frombuffer(body[length:], "<f4")
        return logits.shape == want.shape and bool(np.abs(softmax(logits[None])[0] - want).max() < TOLERANCE)
    top = {score["index"]: score["probability"] for score in json.loads(body)["top"]}
    return all(abs(top.get(int(index), 0.0) - want[index]) < TOLERANCE for index in want.argsort()[-2:])


async def good(subject: Subject, client: Client, draw: random.Random, tally: Tally) -> None:
    """One request; after 429, 503 or a closed connection it is sent again, as the service says."""
    number, make = draw.randrange(len(subject.bodies)), draw.choice((as_bytes, as_form, as_tensor))
    started = time.perf_counter()
    for _ in range(RETRIES):
        try:
            await client.send(make(subject, number))
            status, head, body = await client.answer()
        except asyncio.TimeoutError:
            client.close()
            break
        except (OSError, EOFError):
            tally.count("good", "closed")
            client.close()
            continue
        tally.count("good", str(status))
        if status in (429, 503):
            await asyncio.sleep(0.2)
            continue
        tally.latencies_s.append(time.perf_counter() - started)
        tally.answered += status == 200
        if status != 200 or not is_right(subject, number, head, body):
            tally.faults[f"wrong answer, status {status}: {body[:80]!r}"] += 1
        return
    tally.faults["lost answer"] += 1


async def slow_header(subject: Subject, client: Client, draw: random.Random, tally: Tally) -> None:
    """Never complete a header."""
    await client.send(b"GET / HTTP/1.1\r\nX: ")
    await drip(client, draw, tally, "slow header")


async def slow_body(subject: Subject, client: Client, draw: random.Random, tally: Tally) -> None:
    """Never complete a body."""
    await client.send(PREDICT + b"Content-Length: 100000\r\n\r\n")
    await drip(client, draw, tally, "slow body")


async def drip(client: Client, draw: random.Random, tally: Tally, kind: str) -> None:
    """Send a byte now and then until there is an answer, or the connection is closed."""
    assert client.reader is not None
    answer = asyncio.create_task(client.answer())
    while not answer.done():
        await client.send(b"a")
        await asyncio.wait([answer], timeout=draw.uniform(0.2, 2.0))
    tally.count(kind, str((await answer)[0]))


async def slow_reader(subject: Subject, client: Client, draw: random.Random, tally: Tally) -> None:
    """Ask for pages and read a few bytes of the answers a second."""
    for _ in range(2000):
        try:
            await asyncio.wait_for(client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 5)
        except asyncio.TimeoutError:
            break
    assert client.reader is not None
    while await client.reader.read(100):
        await asyncio.sleep(1)
    tally.count("slow reader", "closed")


async def broken(subject: Subject, client: Client, draw: random.Random, tally: Tally) -> None:
    """Send what is not HTTP, not a request of the service, or not a photo."""
    content = draw.choice((*BROKEN, None, None))
    if content is None:
        photo = bytearray(draw.choice(subject.bodies))
        del photo[draw.randrange(len(photo)) :]
        photo += draw.randbytes(draw.randrange(2000))
        content = PREDICT + b"Content-Length: %d\r\n\r\n" % len(photo) + photo
    await client.send(content)
    tally.count("broken", str((await client.answer())[0]))


async def large(subject: Subject, client: Client, draw: random.Random, tally: Tally) -> None:
    """Send bodies of up to 20 MiB: noise, or a photo with bytes behind it."""
    size = draw.randrange(1 << 20, 20 << 20)
    start = draw.choice((b"", draw.choice(subject.bodies)))
    await client.send(PREDICT + b"Content-Length: %d\r\n\r\n" % size)
    for block in (start, *(b"\x00" * (1 << 16) for _ in range((size - len(start)) // (1 << 16)))):
        await client.send(block)
    await client.send(b"\x00" * ((size - len(start)) % (1 << 16)))
    tally.count("large", str((await client.answer())[0]))


async def tiny(subject: Subject, client: Client, draw: random.Random, tally: Tally) -> None:
    """Send nothing, a byte, or a photo of one pixel."""
    body = draw.choice((b"", b"x", b"P6 1 1 255\nabc"))
    await client.send(PREDICT + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    status = (await client.answer())[0]
    tally.count("tiny", str(status))
    if status != (200 if len(body) > 1 else 422) and status not in (429, 503):
        tally.faults[f"status {status} for a tiny body"] += 1


async def cancelled(subject: Subject, client: Client, draw: random.Random, tally: Tally) -> None:
    """Close the connection in the middle of a request, or before its answer."""
    content = as_bytes(subject, draw.randrange(len(subject.bodies)))
    await client.send(content[: draw.choice((draw.randrange(1, len(content)), len(content)))])
    await asyncio.sleep(draw.uniform(0, 0.05))
    client.close()
    tally.count("cancelled", "closed by the client")


async def greedy(subject: Subject, client: Client, draw: random.Random, tally: Tally) -> None:
    """Send 100 requests at once from one address."""
    clients = [Client(client.port, client.address) for _ in range(100)]

    async def once(each: Client) -> None:
        try:
            await each.send(as_bytes(subject, draw.randrange(len(subject.bodies))))
            tally.count("greedy", str((await each.answer())[0]))
        except (OSError, EOFError, asyncio.TimeoutError):
            tally.count("greedy", "closed")
        each.close()

    await asyncio.gather(*map(once, clients))
    await asyncio.sleep(draw.uniform(5, 10))


Kind = Callable[[Subject, Client, random.Random, Tally], Awaitable[None]]
# kind -> clients, longest pause in s between two turns
OTHERS: dict[Kind, tuple[int, float]] = {
    slow_header: (20, 1.0),
    slow_body: (20, 1.0),
    slow_reader: (2, 1.0),
    broken: (2, 0.5),
    large: (1, 3.0),
    tiny: (1, 0.5),
    cancelled: (2, 0.5),
    greedy: (1, 1.0),
}


async def repeat(kind: Kind, subject: Subject, address: str, pause_s: float, tally: Tally, end: float) -> None:
    """Let a client do its kind of thing until the end."""
    client, draw = Client(subject.port, address), random.Random(address)
    while time.monotonic() < end:
        try:
            await kind(subject, client, draw, tally)
        except (OSError, EOFError, asyncio.TimeoutError, asyncio.LimitOverrunError):
            tally.count(kind.__name__.replace("_", " "), "closed")
        if kind is not good:
            client.close()
        await asyncio.sleep(draw.uniform(0, pause_s))
    client.close()


async def sampled(pid: int, end: float, samples: list[tuple[float, float]]) -> None:
    """Append (seconds since the start, MiB) every second."""
    start = time.monotonic()
    while time.monotonic() < end:
        samples.append((time.monotonic() - start, resident_mib(pid)))
        if len(samples) % 60 == 0:
            sys.stderr.write(f"{samples[-1][0] / 60:.0f} min, {samples[-1][1]:.1f} MiB\n")
        await asyncio.sleep(SAMPLE_S)


async def run(subject: Subject, pid: int, clients: int, seconds: float, tally: Tally) -> list[tuple[float, float]]:
    """Run all clients; return the samples of memory. Those that still wait at the end are cancelled, good ones never."""
    end, samples = time.monotonic() + seconds, list[tuple[float, float]]()
    well = [repeat(good, subject, f"127.0.1.{n + 1}", 0.1, tally, end) for n in range(clients)]
    others = [
        asyncio.create_task(repeat(kind, subject, f"127.0.{place + 2}.1", pause_s, tally, end))
        for place, (kind, (count, pause_s)) in enumerate(OTHERS.items())
        for _ in range(count)
    ]
    await asyncio.gather(sampled(pid, end, samples), *well)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return samples


def growth(samples: list[tuple[float, float]], settle_s: float) -> tuple[float, float, float]:
    """Return the slope of memory in MiB an hour, and the ends of its 95 % interval: least squares over minima of half minutes."""
    windows: dict[int, list[float]] = defaultdict(list)
    for second, mib in samples:
        if second >= settle_s:
            windows[int((second - settle_s) // WINDOW_S)].append(mib)
    x = [number * WINDOW_S / 3600 for number in windows]
    y = [min(values) for values in windows.values()]
    if len(x) < 4:
        return math.nan, -math.inf, math.inf
    slope, intercept = statistics.linear_regression(x, y)
    residual = sum((b - slope * a - intercept) ** 2 for a, b in zip(x, y, strict=True)) / (len(x) - 2)
    error = math.sqrt(residual / sum((a - statistics.fmean(x)) ** 2 for a in x))
    half = (1.96 + 2.4 / (len(x) - 2)) * error  # close to Student's t from 4 degrees of freedom on
    return slope, slope - half, slope + half


async def metrics(port: int) -> str:
    """Return the metrics of the service."""
    client = Client(port, "127.0.1.250")
    await client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    text = (await client.answer())[2].decode()
    client.close()
    return text


async def left_over(port: int) -> tuple[str, dict[str, float]]:
    """Return the metrics once the service has settled, and the places that are still taken after 60 s."""
    taken: dict[str, float] = {}
    for _ in range(60):
        text = await metrics(port)
        pattern = r"^(vegrt_(?:inside_images|queue_images|reading_bodies)) (\S+)$"
        taken = {name: float(value) for name, value in re.findall(pattern, text, re.MULTILINE) if float(value)}
        if not taken:
            break
        await asyncio.sleep(1)
    return text, taken


def refusals(text: str) -> dict[str, int]:
    """Return the refused requests by status and the closed connections by reason, from the metrics."""
    counts: Counter[str] = Counter()
    for name, value in re.findall(r'^vegrt_requests_total\{code="([45]\d\d)",.*\} (\S+)$', text, re.MULTILINE):
        counts[name] += int(float(value))
    for name, value in re.findall(r'^vegrt_connections_closed_total\{reason="(\w+)"\} (\S+)$', text, re.MULTILINE):
        counts[f"closed: {name}"] += int(float(value))
    return {name: count for name, count in sorted(counts.items()) if count}


def subject_of(arguments: argparse.Namespace) -> tuple[Subject, list[str]]:
    """Return what is sent, with the API's answers, and the words that make the service use the same candidate."""
    photos = sorted(arguments.photos.rglob("*.jpg"))[:: max(1, arguments.step)][:200]
    model = load(arguments.bundle, variant=arguments.variant, runtime=arguments.runtime)
    contract = model.bundle.manifest.contract
    pixels = np.stack([load_image(path, contract) for path in photos])
    logits = np.concatenate([model.logits(image[None]) for image in pixels])
    name = model_name(model.bundle.manifest.name)
    subject = Subject(0, name, [path.read_bytes() for path in photos], pixels, softmax(logits))
    return subject, ["--variant", model.variant, "--runtime", model.runtime]


def drained(stream: IO[str], lines: list[str]) -> None:
    """Read what the service logs."""
    lines.extend(stream)


def rounded(value: float) -> float | None:
    """Return a figure for JSON; None if it is not known."""
    return round(value, 2) if math.isfinite(value) else None


def summary(tally: Tally, samples: list[tuple[float, float]], settle_s: float, text: str) -> dict[str, Any]:
    """Return what is printed."""
    times = sorted(tally.latencies_s) or [math.nan]
    slope, low, high = growth(samples, settle_s)
    settled = [mib for second, mib in samples if second >= settle_s] or [math.nan]
    return {
        "minutes": round(samples[-1][0] / 60, 1),
        "good_answers": tally.answered,
        "answers_per_s": round(tally.answered / samples[-1][0], 1),
        "p50_ms": round(1000 * times[len(times) // 2], 1),
        "p99_ms": round(1000 * times[int(0.99 * (len(times) - 1))], 1),
        "rss_mib_settled": round(settled[0], 1),
        "rss_mib_highest": round(max(mib for _, mib in samples), 1),
        "growth_mib_per_hour": rounded(slope),
        "growth_interval": [rounded(low), rounded(high)],
        "growth_goal": GOAL_MIB_PER_HOUR,
        "refused": refusals(text),
        "clients": {kind: dict(sorted(counts.items())) for kind, counts in sorted(tally.statuses.items())},
        "faults": dict(tally.faults),
    }


def main() -> int:
    """Run the service and its clients, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--settle-minutes", type=float, default=10.0)
    parser.add_argument("--good", type=int, default=4, help="Number of good clients.")
    parser.add_argument("--step", type=int, default=7, help="Use every n-th photo, at most 200.")
    parser.add_argument("--variant")
    parser.add_argument("--runtime")
    parser.add_argument("--json", action="store_true", help="Print one line of JSON.")
    parser.add_argument("flags", nargs="*", help="After --: more flags of vegrt serve.")
    arguments = parser.parse_args()
    subject, words = subject_of(arguments)
    command = [
        sys.executable,
        "-m",
        "vegrt.cli",
        "serve",
        str(arguments.bundle),
        "--port",
        "0",
        "--client-share",
        "0.25",
    ]
    tally, lines = Tally(), list[str]()
    with subprocess.Popen([*command, *words, *arguments.flags], stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        try:
            subject.port = next(int(m[1]) for line in service.stderr if (m := re.search(r"serving on .*:(\d+)/", line)))
            reader = threading.Thread(target=drained, args=(service.stderr, lines), daemon=True)
            reader.start()
            samples = asyncio.run(run(subject, service.pid, arguments.good, 60 * arguments.minutes, tally))
            text, taken = asyncio.run(left_over(subject.port))
        except BaseException:
            service.kill()
            raise
        service.send_signal(signal.SIGTERM)
        service.wait(90)
        reader.join()
    if taken:
        tally.faults[f"places left over: {taken}"] += 1
    if service.returncode or any("Traceback" in line for line in lines):
        tally.faults[f"exit code {service.returncode}: {''.join(lines)[-2000:]}"] += 1
    result = summary(tally, samples, 60 * arguments.settle_minutes, text)
    low, high = (math.inf if end is None else end for end in result["growth_interval"])
    missed = bool(tally.faults) or not tally.answered or (high < math.inf and low > GOAL_MIB_PER_HOUR)
    result["verdict"] = "missed" if missed else "met" if high <= GOAL_MIB_PER_HOUR else "growth undecided, run longer"
    sys.stdout.write(json.dumps(result) + "\n" if arguments.json else json.dumps(result, indent=1) + "\n")
    return 1 if missed else 0 if result["verdict"] == "met" else 4


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
