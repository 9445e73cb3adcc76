"""What a report speaks of: a bundle and its current result files. Knows nothing of how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vegrt.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.infer.results import load_result

EVALUATION = "evaluate-test"
BENCHMARK = "bench"
CALIBRATION_EXTRAS = ("sensitivity", "curve")


@dataclass(frozen=True, slots=True)
class Flip:
    """A photo on which candidates answer otherwise than the reference. Classes are indices.

    path: `<Class>/<file>` below the split's folder. answers: the reference's first, then each that differs from it, as
    (key, class, its probability).
    """

    path: str
    label: int
    answers: tuple[tuple[str, int, float], ...]

    @property
    def newly_wrong(self) -> int:
        """Return how many candidates lost a photo that the reference has right."""
        reference, *others = (answer for _, answer, _ in self.answers)
        return sum(other != self.label for other in others) if reference == self.label else 0


@dataclass(frozen=True, slots=True)
class Facts:
    """A bundle with its results; None for one that is missing or was made with other artifacts."""

    bundle: Bundle
    evaluation: dict[str, Any] | None
    bench: dict[str, Any] | None
    sensitivity: dict[str, Any] | None = None
    curve: dict[str, Any] | None = None

    def evaluated(self) -> list[dict[str, Any]]:
        """Return the evaluation's rows, the reference first; none without an evaluation."""
        return list(self.evaluation["candidates"]) if self.evaluation else []

    def measured(self) -> list[dict[str, Any]]:
        """Return the benchmark's rows; none without a benchmark."""
        return list(self.bench["candidates"]) if self.bench else []

    def flips(self) -> list[Flip]:
        """Return every photo with a flip: those that most candidates lost first, then by path."""
        return sorted(self._flips(), key=lambda flip: (-flip.newly_wrong, -len(flip.answers), flip.path))

    def _flips(self) -> Iterator[Flip]:
        if not self.evaluation:
            return
        predictions = self.evaluation["predictions"]
        keys = [row["key"] for row in self.evaluated()]
        columns = [predictions["candidates"][key] for key in keys]
        for index, (path, label) in enumerate(zip(predictions["paths"], predictions["labels"], strict=True)):
            said = [(column["top1"][index], column["probability"][index]) for column in columns]
            answers = [(key, *answer) for key, answer in zip(keys, said, strict=True)]
            differing = [answer for answer in answers[1:] if answer[1] != answers[0][1]]
            if differing:
                yield Flip(path, label, (answers[0], *differing))


def load_facts(bundle: Bundle) -> Facts:
    """Return the bundle's facts. Raises VegrtError, naming the cure, when there is no result at all."""
    extras = (load_result(bundle, name) for name in CALIBRATION_EXTRAS)
    facts = Facts(bundle, load_result(bundle, EVALUATION), load_result(bundle, BENCHMARK), *extras)
    if facts.evaluation is None and facts.bench is None:
        raise VegrtError(
            f"{bundle.path}: no results of its present artifacts to report; make them: "
            f"vegrt evaluate {bundle.path} --data DATA; vegrt bench {bundle.path}"
        )
    return facts
