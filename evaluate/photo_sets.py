"""Which photos a result is of: the name of the set, and the refusals that keep one set's result from replacing another's.

`test` is the bundle's own test split, the one that steers `vegrt infer`; other photos have a name of their own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import SPLITS, Split
from vegrt.errors import DataError, VegrtError
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import load_result

PARTIAL = "-only-"  # before the runtime in the name of a result that is not of all of them
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def find_name(bundle: Bundle, split: Split, kind: str, *, name: str | None, partial: str = "", overwrite: bool) -> str:
    """Return what results of these photos are called: `name`, or the split's where they are the bundle's own photos of it.

    kind: evaluate or robustness. partial: the ending of a result that is not of all runtimes.
    Raises VegrtError for a name that is none, DataError where that name belongs to other photos, unless they may be replaced.
    """
    found, called = split.fingerprint(), split.name if name is None else check_name(name)
    files = [bundle.path / "results" / f"{one}.json" for one in (f"{kind}-{called}{partial}", f"evaluate-{called}")]
    owners = {str(file): known for file in files if (known := _fingerprint_in(file))}
    if not owners and name is None and (own := bundle.manifest.data.get(split.name, {}).get("fingerprint")):
        owners = {f"{bundle.path}, {split.name} photos of its training": str(own)}
    subject, known = next(iter(owners.items()), ("", found))
    if overwrite or found == known:
        return called
    raise DataError(
        f"{split.root}: other photos ({found[:12]}…) than those of {subject} ({known[:12]}…); keep this result under another "
        f"name, such as --name field, or replace that one with --overwrite"
    )


def check_name(name: str) -> str:
    """Return the name of a set of photos. Raises VegrtError unless it is a plain one that nothing else has."""
    if not _NAME.fullmatch(name):
        raise VegrtError(f"--name {name!r}: expected up to 64 small letters, digits and hyphens, such as field")
    if name in SPLITS:
        raise VegrtError(f"--name {name}: the bundle's own split is called so; choose another, or omit --name")
    if PARTIAL in f"-{name}-":
        raise VegrtError(f"--name {name}: -only- marks results of one runtime; choose another")
    return name


def other_sets(bundle: Bundle) -> dict[str, Evaluation]:
    """Return the current evaluations on other photos than the bundle's own test split, by name, in order."""
    files = sorted((bundle.path / "results").glob("evaluate-*.json"))
    names = [file.stem.removeprefix("evaluate-") for file in files if PARTIAL not in file.stem]
    found = {name: load_result(bundle, Evaluation, f"evaluate-{name}") for name in names if name != "test"}
    return {name: result for name, result in found.items() if result is not None}


def _fingerprint_in(file: Path) -> str | None:
    """Return whose photos the result in a file is of; None where there is none that says so."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    known = found.get("data_fingerprint") if isinstance(found, dict) else None
    return known if isinstance(known, str) else None
