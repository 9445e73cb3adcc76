"""What the functions of the API return beside the results of vegrt.results: a bundle, and what was done to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.bundle.bundle import Bundle
from vegrt.infer.trust.record import Trust
from vegrt.results.shown import Shown

if TYPE_CHECKING:
    from vegrt.calibration.analysis import Analyses
    from vegrt.report.facts.facts import Facts
    from vegrt.report.summary import SummaryRow
    from vegrt.report.verdict import Conclusion


@dataclass(frozen=True, slots=True)
class Trained(Shown):
    """A finished training: the bundle that it wrote."""

    bundle: Bundle

    @property
    def validation_accuracy(self) -> float:
        """Return the accuracy on DATA/validation in the chosen epoch, 0 to 1."""
        return float(self.bundle.manifest.training["validation_accuracy"])

    @property
    def best_epoch(self) -> int:
        """Return the number of the chosen epoch, from 1 on."""
        return int(self.bundle.manifest.training["best_epoch"])

    def to_dict(self) -> dict[str, Any]:
        """Return {"bundle", "training"} as JSON values; `training` is that of the manifest (docs/bundle-format.md)."""
        return {"bundle": str(self.bundle.path), "training": self.bundle.manifest.training}


@dataclass(frozen=True, slots=True)
class Exported(Shown):
    """A finished export. seconds: of each stage, of all else as "other", and in all as "total"."""

    bundle: Bundle
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return {"bundle", "artifacts", "calibration", "seconds"} as JSON values, sizes in bytes."""
        from vegrt.export.summary import describe_export

        return describe_export(self.bundle) | {"seconds": dict(self.seconds)}


@dataclass(frozen=True, slots=True)
class Calibrated(Shown):
    """A calibration, and the analyses that were requested. replaced: whether int8 and int8-cpu were calibrated again."""

    bundle: Bundle
    analyses: Analyses
    replaced: bool

    def to_dict(self) -> dict[str, Any]:
        """Return {"bundle", "calibration"} and each requested analysis by name, as JSON values."""
        calibration = {"bundle": str(self.bundle.path), "calibration": self.bundle.manifest.calibration}
        return calibration | self.analyses.to_dict()


@dataclass(frozen=True, slots=True)
class LearnedTrust(Shown):
    """What was learned about when to trust answers. trust: as stored in the bundle's trust.json."""

    bundle: Bundle
    trust: Trust

    def to_dict(self) -> dict[str, Any]:
        """Return trust.json as JSON values, without the packed statistics of embeddings."""
        return {name: value for name, value in self.trust.to_dict().items() if name != "embeddings"}


@dataclass(frozen=True, slots=True)
class Reported(Shown):
    """A written report. written: its files. facts: what it says of each bundle. mlflow_runs: ids of the runs that were logged."""

    written: tuple[Path, ...]
    facts: tuple[Facts, ...]
    mlflow_runs: tuple[str, ...] = ()

    @property
    def summaries(self) -> dict[str, list[SummaryRow]]:
        """Return the compared candidates of each bundle, the reference first, by the bundle's path."""
        from vegrt.report.summary import summary_rows

        return {str(facts.bundle.path): summary_rows(facts) for facts in self.facts}

    @property
    def conclusions(self) -> dict[str, Conclusion]:
        """Return the verdict on each bundle by its path."""
        from vegrt.report.summary import summary_rows
        from vegrt.report.verdict import conclude

        return {str(facts.bundle.path): conclude(facts, summary_rows(facts)) for facts in self.facts}

    def to_dict(self) -> dict[str, Any]:
        """Return {"report", "written", "bundles"} as JSON values: the first file, all files, the rows of each bundle; and
        {"mlflow_runs"} if there are any.
        """
        rows = {path: [row.to_dict() for row in summary] for path, summary in self.summaries.items()}
        files = {"report": str(self.written[0]), "written": [str(file) for file in self.written]}
        runs = {"mlflow_runs": list(self.mlflow_runs)} if self.mlflow_runs else {}
        return {**files, "bundles": rows, **runs}
