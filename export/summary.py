"""What an exported bundle holds, as lines for people and as JSON values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.manifest import Artifact
from vegrt.calibration.manifest import work_lines
from vegrt.terminal.tables import make_table

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = ("model", "mnn", "engine")  # roles


def export_lines(bundle: Bundle) -> list[str]:
    """Return one line per ONNX model, MNN model and engine of a bundle, and one per int8 model with its share of 8-bit work."""
    lines = [_line(bundle, artifact) for artifact in bundle.manifest.artifacts if artifact.role in _SHOWN]
    return [*lines, *work_lines(bundle.manifest.calibration)]


def seconds_table(seconds: Mapping[str, float]) -> Table:
    """Return the seconds of each stage of an export as a table."""
    rows = [(stage, f"{figure:.1f}") for stage, figure in seconds.items()]
    return make_table("", ("stage", "seconds"), rows, text=("stage",))


def describe_export(bundle: Bundle) -> dict[str, Any]:
    """Return the contents of an exported bundle, as JSON values for `vegrt export --json`."""
    shown = [artifact for artifact in bundle.manifest.artifacts if artifact.role in _SHOWN]
    artifacts = [
        {"path": artifact.path, "variant": artifact.variant, "size_bytes": artifact.size_bytes} | artifact.details
        for artifact in shown
    ]
    return {
        "bundle": str(bundle.path),
        "artifacts": json.loads(json.dumps(artifacts)),
        "calibration": bundle.manifest.calibration,
    }


def _line(bundle: Bundle, artifact: Artifact) -> str:
    details = artifact.details
    size = f"{bundle.path / artifact.path}: {artifact.size_bytes / 1e6:.1f} MB"
    if artifact.role == "engine":
        matched = f"{details['matched']} of {details['weight_layers']} weight layers {details['wanted']}"
        unchecked = f", {details['unchecked']} not checked" if details.get("unchecked") else ""
        return f"{size}, {matched}{unchecked} by the {details.get('layers_from', 'builder')}"
    parity = details["parity"]
    agreement = f"{parity['top1_agreement']:.1%} of {parity['images']} photos"
    not_run = f"; not run: {details['not_run']}" if "not_run" in details else ""
    return f"{size}, same top-1 as {details['reference']} on {agreement}{not_run}"
