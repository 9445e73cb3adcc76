"""Names of photo sets: each result belongs to one set, and a result is not replaced by one of other photos.

`test` is the bundle's own test split, whose result decides what `vegrt infer` runs; other photos get a name of their own.
"""

from __future__ import annotations

import re
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import SPLITS, Split
from vegrt.errors import DataError, FormatError, VegrtError
from vegrt.results.bundle_results import log_ignored
from vegrt.results.evaluation import Evaluation
from vegrt.results.evaluations import read_evaluation
from vegrt.results.rows import PARTIAL
from vegrt.schema import read_json

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def find_set_name(
    bundle: Bundle, split: Split, kind: str, *, name: str | None, partial: str = "", overwrite: bool
) -> str:
    """Return the set name for results of these photos: `name`, or the split's name if they are the bundle's own photos.

    kind: evaluate or robustness. partial: suffix of the file name of a result of some candidates; else empty.
    Raises VegrtError for an invalid name, DataError if the name belongs to other photos and `overwrite` is not set.
    """
    fingerprint, set_name = split.fingerprint(), split.name if name is None else check_set_name(name)
    stems = (f"{kind}-{set_name}{partial}", f"evaluate-{set_name}")
    files = [bundle.path / "results" / f"{stem}.json" for stem in stems]
    owners = {str(file): stored for file in files if (stored := _stored_fingerprint(file))}
    if not owners and name is None and (own := bundle.manifest.data.get(split.name, {}).get("fingerprint")):
        owners = {f"{bundle.path}, {split.name} photos of its training": str(own)}
    owner, expected = next(iter(owners.items()), ("", fingerprint))
    if overwrite or fingerprint == expected:
        return set_name
    raise DataError(
        f"{split.root}: other photos ({fingerprint[:12]}…) than those of {owner} ({expected[:12]}…); save this result under "
        f"another name, such as --name field, or replace the old one with --overwrite"
    )


def needs_name(bundle: Bundle, split: Split) -> bool:
    """Return whether `vegrt evaluate` refuses these photos without --name: they are not the bundle's own."""
    try:
        find_set_name(bundle, split, "evaluate", name=None, overwrite=False)
    except DataError:
        return True
    return False


def check_set_name(name: str) -> str:
    """Return the name of a photo set. Raises VegrtError if it has a wrong form or is reserved."""
    if not _NAME.fullmatch(name):
        raise VegrtError(f"--name {name!r}: expected up to 64 small letters, digits and hyphens, such as field")
    if name in SPLITS:
        raise VegrtError(f"--name {name}: is the name of a split of the bundle; choose another, or omit --name")
    if PARTIAL in f"-{name}-":
        raise VegrtError(f"--name {name}: -only- marks results of some candidates; choose another")
    return name


def other_sets(bundle: Bundle) -> dict[str, Evaluation]:
    """Return the current evaluations on photos other than the bundle's test split, by set name, sorted."""
    files = (bundle.path / "results").glob("evaluate-*.json")
    results: dict[str, Evaluation] = {}
    for name in sorted({file.stem.removeprefix("evaluate-").partition(PARTIAL)[0] for file in files} - {"test"}):
        merged, ignored = read_evaluation(bundle, name)
        log_ignored(bundle, ignored)
        results |= {name: merged.evaluation} if merged else {}
    return results


def _stored_fingerprint(file: Path) -> str | None:
    """Return the data fingerprint in a result file; None if the file is missing, unreadable, or has none."""
    try:
        content = read_json(file)
    except (OSError, FormatError):
        return None
    fingerprint = content.get("data_fingerprint") if isinstance(content, dict) else None
    return fingerprint if isinstance(fingerprint, str) else None
