"""The result of a guess: the contracts that were tried to the end, ranked, with what tells them apart from the best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vegrt.photo.contract import Contract
from vegrt.results.common import Drop, Interval, Proportion
from vegrt.schema import Count, Share, build

SCHEMA = "vegrt-contract-guess"


@dataclass(frozen=True, slots=True)
class GuessedContract:
    """A contract and its answers to the first `photos` photos, compared with the best one's to the same photos.

    name: the contract in words. top1: accuracy. loss: the mean score, in nats (see vegrt.export.guess.race). drop: in accuracy,
    against the best; positive is worse. loss_excess: the same of the score. mcnemar_p: of the accuracy. p_holm: of the score,
    corrected for the number of contracts. worse: whether the contract can be told apart from the best. same_pixels: other
    contracts that give the network the same numbers for these photos.
    """

    name: str
    contract: Contract
    photos: Count
    top1: Proportion
    loss: Interval
    drop: Drop
    mcnemar_p: Share
    loss_excess: Interval
    p_holm: Share
    worse: bool
    same_pixels: tuple[Contract, ...] = ()


@dataclass(frozen=True, slots=True)
class Guess:
    """Which contract fits a classifier.

    model: name of the file. layout: NCHW or NHWC. classes: in the order of the scores. photos: number of photos that decided.
    tried: number of contracts. computed: images that the classifier answered. moves: classes that the best contract's answers
    have swapped, truth to answer. ranking: the contracts, the best first.
    """

    model: str
    layout: str
    classes: tuple[str, ...]
    photos: Count
    unreadable: Count
    tried: Count
    computed: Count
    moves: dict[str, str]
    ranking: tuple[GuessedContract, ...]

    @property
    def best(self) -> GuessedContract:
        """Return the first of the ranking."""
        return self.ranking[0]

    @property
    def ties(self) -> tuple[GuessedContract, ...]:
        """Return the contracts that cannot be told apart from the best."""
        return tuple(row for row in self.ranking[1:] if not row.worse)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        rows = [
            asdict(row)
            | {
                "contract": row.contract.to_dict(),
                "same_pixels": [contract.to_dict() for contract in row.same_pixels],
            }
            for row in self.ranking
        ]
        header = {"schema": SCHEMA, "schema_version": 1}
        return header | asdict(self) | {"classes": list(self.classes), "ranking": rows}

    @classmethod
    def from_dict(cls, value: Any) -> Guess:
        """Return the result written by `to_dict`. Raises FormatError."""
        return build(cls, value)
