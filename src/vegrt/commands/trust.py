"""vegrt trust: learn when answers can be trusted."""

from __future__ import annotations

from typing import Any

from vegrt.api.trust import trust as run_trust
from vegrt.commands.options.derived import options_of
from vegrt.commands.options.shared import JsonOption, show


@options_of(run_trust)
def trust(*, as_json: JsonOption = False, **options: Any) -> None:
    """Learn when to trust an answer, and when to abstain.

    For every candidate that runs here, learns from DATA/validation: the temperature that calibrates its probabilities, sets of
    classes, the score that tells foreign photos, and the probability from which an answer is accepted. Photos of DATA/train, if
    it is there, may help to know what photos of the classes look like. Writes trust.json into
    the bundle, in place of an earlier one; a signature of the bundle must then be made again. vegrt infer --reject uses it.
    """
    learned = run_trust(**options)
    if as_json:
        show(learned.to_dict(), True)
        return
    from vegrt.evaluate.trust.tables import trust_table

    show(trust_table(learned.trust), False)
