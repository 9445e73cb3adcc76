"""vegrt trust: learn when answers can be trusted."""

from __future__ import annotations

from typing import Annotated

import typer

from vegrt.commands.options.shared import (
    BundleArgument,
    DataOption,
    JsonOption,
    MeasuredDeviceOption,
    RuntimeOption,
    VariantsOption,
    show,
)

MaxErrorOption = Annotated[
    str,
    typer.Option("--max-error", metavar="PERCENT", help="Largest share of errors among accepted answers, such as 1%."),
]


def trust(
    bundle: BundleArgument,
    data: DataOption,
    max_error: MaxErrorOption = "1%",
    variant: VariantsOption = None,
    runtime: RuntimeOption = None,
    device: MeasuredDeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn when to trust an answer, and when to abstain.

    For every candidate that runs here, learns from DATA/validation: the temperature that calibrates its probabilities, sets of
    classes, the score that tells foreign photos, and the probability from which an answer is accepted. Writes trust.json into
    the bundle, in place of an earlier one; a signature of the bundle must then be made again. vegrt infer --reject uses it.
    """
    largest = parse_percent(max_error, "--max-error")
    from dataclasses import asdict

    from vegrt.bundle.bundle import open_bundle
    from vegrt.dataset.photos import read_split
    from vegrt.evaluate.selection import Selection, select_candidates
    from vegrt.evaluate.trust.fit import fit_trust
    from vegrt.evaluate.trust.tables import trust_table
    from vegrt.infer.trust.store import save_trust

    opened = open_bundle(bundle)
    chosen = select_candidates(opened, Selection(runtime, device.value if device else None, tuple(variant or ())))
    split = read_split(data, "validation", opened.manifest.classes)
    learned = fit_trust(opened, split, chosen, max_error=largest)
    save_trust(opened.path, learned)
    show(
        {key: value for key, value in asdict(learned).items() if key != "embeddings"}
        if as_json
        else trust_table(learned),
        as_json,
    )


def parse_percent(text: str, option: str) -> float:
    """Return the share that a text such as `1%` or `0.5` states in percent. Exits with wrong usage for anything else."""
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not 0 < percent < 100:
        raise typer.BadParameter(f"{text!r}: expected percent above 0 and below 100, such as 1%", param_hint=option)
    return percent / 100
