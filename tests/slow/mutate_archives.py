"""Damage packed bundles in a seeded way and unpack them: the very bundle or one line for each, and nothing outside the folder.

    python tests/slow/mutate_archives.py          # 3,061 of them, in about a minute
    python tests/slow/mutate_archives.py 200 --seed 7

Exits with 1 when an archive ends in anything else than the whole bundle or a VegrtError of one line, or leaves a file behind.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.bundle.pack import pack, unpack
from vegrt.errors import VegrtError
from vegrt.photo.contract import Contract


def make_bundle(path: Path) -> None:
    with changing(path) as staging:
        for number in range(3):
            staging.file(f"golden/{number}.bin").write_bytes(random.Random(number).randbytes(3000))
            staging.add(f"golden/{number}.bin", "golden")
        staging.finish(Manifest("small", ("a", "b"), Contract(), {}))


def damaged(content: bytes, draws: random.Random) -> bytes:
    changed = bytearray(content)
    kind = draws.choice(("flip", "flip", "cut", "splice", "repeat", "zeros"))
    start, size = draws.randrange(len(changed)), draws.randint(1, 600)
    if kind == "flip":
        for _ in range(draws.choice((1, 1, 2, 8, 64))):
            changed[draws.randrange(len(changed))] ^= 1 << draws.randrange(8)
    elif kind == "cut":
        del changed[start:]
    elif kind == "splice":
        del changed[start : start + size]
    elif kind == "repeat":
        changed[start:start] = changed[start : start + size]
    else:
        changed[start : start + size] = bytes(len(changed[start : start + size]))
    return bytes(changed)


def outcome(file: Path, out: Path, whole: str) -> str:
    try:
        bundle = unpack(file, out)
    except VegrtError as error:
        return "refused" if len(str(error).splitlines()) == 1 and not out.exists() else "refused in a bad way"
    except Exception:
        traceback.print_exc()
        return "traceback"
    return "unpacked" if bundle.sha256() == whole else "another bundle"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=3061)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    draws, counts = random.Random(arguments.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_bundle(work / "small")
        whole = open_bundle(work / "small").sha256()
        originals = {suffix: work / f"whole{suffix}" for suffix in (".zip", ".tar.zst")}
        for file in originals.values():
            pack(work / "small", file)
        for number in range(arguments.count):
            suffix = draws.choice(list(originals))
            file, out = work / f"{number}{suffix}", work / "place/out"
            file.write_bytes(damaged(originals[suffix].read_bytes(), draws))
            out.parent.mkdir()
            counts[outcome(file, out, whole)] += 1
            counts["left behind"] += any(path.name != "out" for path in out.parent.iterdir())
            shutil.rmtree(out.parent)
            file.unlink()
    sys.stdout.write(f"{arguments.count} archives: {dict(counts)}\n")
    raise SystemExit(
        sum(counts[kind] for kind in ("unpacked", "refused")) != arguments.count or counts["left behind"] > 0
    )


if __name__ == "__main__":
    main()
