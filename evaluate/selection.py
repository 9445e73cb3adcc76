"""The candidates that `vegrt evaluate` and `vegrt bench` measure: all that this machine would choose from, or those named."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.runtimes.candidates import Candidate, candidates, nothing_runs
from vegrt.infer.runtimes.runner import Device
from vegrt.results.rows import PARTIAL

_LONGEST_SUFFIX = 80


def answers_suffix(selection: Selection, names: Sequence[str]) -> str:
    """Return the suffix of a result's name with answers of these devices. names: at least one.

    What a file name cannot hold becomes a hyphen; a digest of the names tells them apart then.
    """
    stated = "-".join(["answers", *names])
    plain = re.sub(r"[^a-z0-9]+", "-", stated.lower()).strip("-")[:_LONGEST_SUFFIX]
    digest = "" if plain == stated else f"-{hashlib.sha256(stated.encode()).hexdigest()[:8]}"
    return f"{selection.suffix or PARTIAL.removesuffix('-')}-{plain}{digest}"


@dataclass(frozen=True, slots=True)
class Selection:
    """A request for candidates. None and empty: any."""

    runtime: str | None = None
    device: Device | None = None
    variants: tuple[str, ...] = ()

    @property
    def is_all(self) -> bool:
        """Return whether all candidates are requested."""
        return self == Selection()

    @property
    def suffix(self) -> str:
        """Return the suffix of a result's name; a result of some candidates does not replace that of all. Empty for all."""
        parts = [*self.variants, *filter(None, (self.runtime, self.device))]
        return f"{PARTIAL}{'-'.join(parts)}" if parts else ""


def select_candidates(bundle: Bundle, selection: Selection) -> list[Candidate]:
    """Return the requested candidates. Raises VegrtError when nothing runs here, and for a variant that no candidate has."""
    runnable = candidates(bundle, selection.runtime, selection.device)
    if not runnable:
        raise nothing_runs(bundle, runtime=selection.runtime)
    available = dict.fromkeys(candidate.variant for candidate in runnable)
    if unknown := [name for name in selection.variants if name not in available]:
        raise VegrtError(f"--variant {unknown[0]}: no runtime here runs it; expected one of {', '.join(available)}")
    return [candidate for candidate in runnable if not selection.variants or candidate.variant in selection.variants]
