"""Random mutations of JSON, TOML, CSV and text, most of which keep the syntax."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 2**64, 10**400, 1e308, -1e308, 1e-320, 0.5, -0.5),
    *(float("nan"), float("inf"), float("-inf")),
    *(
        "",
        " ",
        "a",
        "1",
        "NaN",
        "é",
        "\x00",
        "\x1b[31m",
        "a\nb",
        "\ud800",
        "\u202e",
        "../../etc/passwd",
        "/etc/passwd",
        "a" * 5000,
    ),
    *([], {}, [[]], [None], [{}], {"a": 1}, {"": {}}, [1, 2, 3], ["a", "a"], [0.5] * 3),
)
DEEP = "@deep@"
LISTED_CLASSES = (
    b"Beet\nCress\nEggplant\n",
    b"0: Beet\n1: Cress\n2: Eggplant\n",
    b'["Beet", "Cress", "Eggplant"]',
    b'{"0": ["n1", "Beet"], "1": ["n2", "Beet"], "2": "Cress"}',
    b'{"id2label": {"0": "Beet", "1": "Cress"}}',
    b"{'Beet': 0, 'Cress': 1}",
)
TEXTS = (
    "nan",
    "inf",
    "-1",
    "1e999",
    "9" * 5000,
    '"\\u0000"',
    "true",
    "[]",
    "{}",
    "[[",
    "'",
    '"',
    ",",
    "=",
    "\x00",
    "\x1b",
    "\udcff",
)


def mutated(content: bytes, draws: random.Random, *, is_json: bool) -> bytes:
    """Return the content with one or a few changes; most keep the syntax."""
    kind = draws.random()
    if kind < 0.08:
        changed = bytearray(content)
        for _ in range(draws.choice((1, 1, 3, 20))):
            changed[draws.randrange(len(changed))] = draws.randrange(256)
        return bytes(changed)
    if kind < 0.1:
        return content[: draws.randrange(len(content))]
    return mutated_json(content, draws) if is_json else mutated_text(content, draws)


def mutated_json(content: bytes, draws: random.Random) -> bytes:
    value = json.loads(content)
    if draws.random() < 0.02:
        value = draws.choice(NASTY)
    for _ in range(draws.choice((1, 1, 1, 2, 3))):
        entries = list(entries_of(value))
        if entries:
            change(value, draws.choice(entries), draws)
    text = json.dumps(value).replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000)
    if draws.random() < 0.03:
        text = text.replace("{", '{"classes": ["a", "b"], ', 1)
    return text.encode("utf-8", "surrogatepass")


def entries_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of every entry; of a long list only the first ones."""
    keys = list(value) if isinstance(value, dict) else range(min(len(value), 6)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from entries_of(value[key])


def change(value: Any, entry: tuple[Any, Any], draws: random.Random) -> None:
    container, key = entry
    how = draws.random()
    if how < 0.2:
        del container[key]
    elif how < 0.3 and isinstance(container, dict):
        container[f"{key}x"] = container.pop(key)
    elif how < 0.36 and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif how < 0.4:
        container[key] = DEEP
    elif how < 0.44 and isinstance(container[key], int | float) and not isinstance(container[key], bool):
        container[key] = -container[key]
    else:
        container[key] = copy.deepcopy(draws.choice(NASTY))


def mutated_text(content: bytes, draws: random.Random) -> bytes:
    """Change lines and the words in them, of TOML, CSV or plain text."""
    lines = content.decode().splitlines()
    for _ in range(draws.choice((1, 1, 2, 4))):
        number, how = draws.randrange(len(lines)), draws.random()
        if how < 0.15 and len(lines) > 1:
            del lines[number]
        elif how < 0.3:
            lines.insert(draws.randrange(len(lines)), lines[number])
        elif how < 0.35:
            lines[number] += "[" * 5000 + "]" * 5000
        else:
            words = re.split(r"([,=\s])", lines[number])
            words[draws.randrange(len(words))] = draws.choice((*TEXTS, *(str(value) for value in NASTY)))
            lines[number] = "".join(words)
    text = "\n".join(lines).replace("\ud800", "\udcff")
    return text.encode("utf-8", "surrogateescape" if draws.random() < 0.5 else "replace")
