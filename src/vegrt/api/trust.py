"""vegrt.trust: when answers can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegrt.api.call import api_function
from vegrt.commands.options.shared import BundlePath, DataPath, MeasuredDeviceOption, RuntimeOption, VariantsOption
from vegrt.errors import ArgumentError

if TYPE_CHECKING:
    from vegrt.api.outcomes import LearnedTrust


def parse_percent(value: object) -> float:
    """Return the percent that a number, or a text such as `1%` or `0.5`, states. Raises ArgumentError for anything else."""
    try:
        percent = float(str(value).strip().removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 < percent < 100:
        raise ArgumentError(f"--max-error {value}: expected percent above 0 and below 100, such as 1%")
    return percent


MaxErrorOption = Annotated[
    float,
    typer.Option(
        "--max-error",
        metavar="PERCENT",
        parser=parse_percent,
        help="Largest share of errors among accepted answers, in percent, such as 1%.",
    ),
]


@api_function
def trust(
    bundle: BundlePath,
    data: DataPath,
    *,
    max_error: MaxErrorOption = 1.0,
    variant: VariantsOption = None,
    runtime: RuntimeOption = None,
    device: MeasuredDeviceOption = None,
    progress: bool | None = None,
) -> LearnedTrust:
    """Learn from DATA/validation when to trust an answer, and write trust.json into the bundle.

    For every candidate that runs here: the temperature that calibrates its probabilities, sets of classes, the score that tells
    foreign photos, and the probability from which an answer is accepted (docs/guide/trust.md has the sources). Probabilities and
    shares are 0 to 1.
    Raises DataError for photos that cannot be used, BundleError for a bundle without models, VegrtError when nothing runs here.
    """
    largest = parse_percent(max_error) / 100
    from vegrt.api.outcomes import LearnedTrust
    from vegrt.bundle.bundle import open_bundle
    from vegrt.dataset.photos import has_split, read_split
    from vegrt.evaluate.selection import Selection, select_candidates
    from vegrt.evaluate.trust.fit import fit_trust
    from vegrt.infer.trust.store import save_trust

    opened, data = open_bundle(Path(bundle)), Path(data)
    chosen = select_candidates(opened, Selection(runtime, device, tuple(variant or ())))
    split = read_split(data, "validation", opened.manifest.classes)
    train = read_split(data, "train", opened.manifest.classes) if has_split(data, "train") else None
    learned = fit_trust(opened, split, chosen, max_error=largest, train=train)
    return LearnedTrust(save_trust(opened.path, learned), learned)
