"""vegrt drift: say whether the photos of a device have moved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.shared import BundleArgument, JsonOption, show

CountersArgument = Annotated[
    Path, typer.Argument(metavar="COUNTERS", help="File that --counters of vegrt infer or serve wrote.")
]
LastOption = Annotated[
    int | None, typer.Option("--last", min=1, metavar="HOURS", help="Consider only the last hours, such as 24.")
]
MixOption = Annotated[bool, typer.Option("--mix", help="A changed mix of classes alone counts as moved, too.")]


def drift(
    bundle: BundleArgument,
    counters: CountersArgument,
    last: LastOption = None,
    mix: MixOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether the photos of a device have moved away from those of validation.

    Exit 0: no. 3: photos of the same classes look different to the model. 4: too few photos to say. A changed mix of classes is
    reported, but people may simply buy more carrots: it counts only with --mix. See docs/drift.md.
    """
    import time

    from vegrt.bundle.bundle import open_bundle
    from vegrt.infer.drift.counters import read_counters
    from vegrt.infer.drift.verdict import judge_drift

    judged = judge_drift(
        open_bundle(bundle), read_counters(counters), counters, now=int(time.time()), hours=last, mix=mix
    )
    show(judged.to_dict(), True) if as_json else typer.echo("\n".join(judged.lines()))
    raise typer.Exit(judged.exit_code)
