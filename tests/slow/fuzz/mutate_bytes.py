"""Random damage to bytes of any format."""

from __future__ import annotations

import random
from collections.abc import Sequence

MAX_BYTES = 1 << 20  # of an input
_INTEGERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    (1 << 64) - 1,
)


def mutated_bytes(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Return the bytes after one to three kinds of damage."""
    changed = bytearray(data)
    for _ in range(draws.choice((1, 1, 2, 3))):
        kind = draws.choice(
            (_flip, _flip, _header, _header, _integer, _cut, _remove, _splice, _repeat, _insert, _zeros)
        )
        kind(changed, corpus, draws)
    return bytes(changed[:MAX_BYTES])


def _flip(data: bytearray, corpus: Sequence[bytes], draws: random.Random) -> None:
    for _ in range(draws.choice((1, 1, 2, 8, 64)) if data else 0):
        data[draws.randrange(len(data))] ^= 1 << draws.randrange(8)


def _header(data: bytearray, corpus: Sequence[bytes], draws: random.Random) -> None:
    values = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF, draws.randrange(256))
    for _ in range(draws.randint(1, 6) if data else 0):
        data[draws.randrange(min(len(data), draws.choice((32, 64, 256))))] = draws.choice(values)


def _integer(data: bytearray, corpus: Sequence[bytes], draws: random.Random) -> None:
    """Write an integer where a size or an offset may be."""
    size, order = draws.choice((1, 2, 4, 8)), draws.choice(("little", "big"))
    value = draws.choice((*_INTEGERS, len(data), draws.randrange(1 << 16))) % (1 << 8 * size)
    at = draws.randrange(len(data) + 1)
    data[at : at + size] = value.to_bytes(size, "little" if order == "little" else "big")


def _cut(data: bytearray, corpus: Sequence[bytes], draws: random.Random) -> None:
    del data[draws.randrange(len(data) + 1) :]


def _remove(data: bytearray, corpus: Sequence[bytes], draws: random.Random) -> None:
    at = draws.randrange(len(data) + 1)
    del data[at : at + draws.randint(1, 600)]


def _splice(data: bytearray, corpus: Sequence[bytes], draws: random.Random) -> None:
    donor = draws.choice(corpus)
    start, size, at = draws.randrange(len(donor) + 1), draws.randint(1, 400), draws.randrange(len(data) + 1)
    data[at : at + size] = donor[start : start + size]


def _repeat(data: bytearray, corpus: Sequence[bytes], draws: random.Random) -> None:
    start, size = draws.randrange(len(data) + 1), draws.randint(1, 200)
    data[start:start] = data[start : start + size] * draws.randint(1, 20)


def _insert(data: bytearray, corpus: Sequence[bytes], draws: random.Random) -> None:
    at = draws.randrange(len(data) + 1)
    data[at:at] = draws.randbytes(draws.randint(1, 64))


def _zeros(data: bytearray, corpus: Sequence[bytes], draws: random.Random) -> None:
    at = draws.randrange(len(data) + 1)
    size = min(draws.randint(1, 600), len(data) - at)
    data[at : at + size] = bytes(size)
