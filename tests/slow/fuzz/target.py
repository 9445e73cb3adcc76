"""What is fuzzed: a reader of the program, whole inputs for it, and how they are damaged."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.slow.fuzz.mutate_bytes import mutated_bytes
from tests.slow.fuzz.mutate_text import mutated

Mutate = Callable[[bytes, Sequence[bytes], random.Random], bytes]


def as_json(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Damage JSON, mostly so that it stays JSON."""
    return _as_text(data, corpus, draws, is_json=True)


def as_lines(data: bytes, corpus: Sequence[bytes], draws: random.Random) -> bytes:
    """Damage lines of text and the words in them."""
    return _as_text(data, corpus, draws, is_json=False)


def _as_text(data: bytes, corpus: Sequence[bytes], draws: random.Random, *, is_json: bool) -> bytes:
    if data and draws.random() < 0.8:
        try:
            return mutated(data, draws, is_json=is_json)
        except (ValueError, RecursionError, IndexError):  # an input of the corpus that is no JSON or UTF-8 any more
            pass
    return mutated_bytes(data, corpus, draws)


@dataclass(frozen=True)
class Target:
    """One reader.

    seeds: whole inputs, from the folder of base.py. run: reads one input; it may write below its folder, and raises VegrtError or
    Refusal for an input that it refuses. mutate: an input, the corpus and the draws -> a damaged input. weight: its part of all
    inputs. limit_s, limit_mib: the most CPU time and resident memory for one. per_worker: inputs of one process.
    """

    name: str
    seeds: Callable[[Path], Sequence[bytes]]
    run: Callable[[bytes, Path], object]
    mutate: Mutate = mutated_bytes
    weight: float = 1.0
    limit_s: float = 5.0
    limit_mib: int = 1024
    per_worker: int = 20_000
