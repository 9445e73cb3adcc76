"""Where the numbers come from: calibration, engines, machine, versions, hashes, and the commands to make them again."""

from __future__ import annotations

import shlex
from typing import Any

from vegrt.bundle import Artifact
from vegrt.report import charts
from vegrt.report.embed import chart_figure
from vegrt.report.facts import Facts
from vegrt.report.markup import Html, element, fact_table, join, section, table

_HASH_DIGITS = 12


def calibration(facts: Facts) -> Html:
    """Return the methods chosen and the tournament that chose them; tolerates what an older bundle lacks."""
    found = facts.bundle.manifest.calibration
    if not found:
        return Html("")
    chosen = {str(encoding): str(method) for encoding, method in dict(found.get("method", {})).items()}
    text = "; ".join(f"{encoding} activations: {method}" for encoding, method in chosen.items())
    lines = [_contestant(entry, chosen) for entry in found.get("tournament", [])]
    counts = (
        f"Ranges from {found.get('images', 0):,} validation photos, judged on {found.get('judged_images', 0):,} others."
    )
    heads = ("method", "activations", "agreement with fp32", "KL, nats", "")
    tournament = (
        table("Each method as a whole int8 model, on held-out photos", heads, lines, text_columns=2) if lines else ""
    )
    return section(
        "Calibration",
        element("p", f"{text}. {counts}" if text else counts),
        tournament,
        _mixed(found),
        _sensitivity(facts),
        _curve(facts),
    )


def _mixed(found: dict[str, Any]) -> Html:
    """Return which layers stay in float, and the outlier channels."""
    kept = {variant: names for variant, names in found.get("float_layers", {}).items() if names}
    lines = [(variant, ", ".join(names), f"{found['int8_macs_share'][variant]:.1%}") for variant, names in kept.items()]
    heads = ("variant", "layers in float", "convolution work in 8 bits")
    outliers = [
        (", ".join(one["layers"]), f"{one['channel']}", f"{one['peak']:.3g}", f"{one['typical']:.3g}")
        for one in found.get("outliers", [])
    ]
    of_inputs = ("layer", "channel of its input", "its largest value", "the median channel's")
    tables = []
    if lines:
        tables.append(table("Kept in float", heads, lines, text_columns=2))
    if outliers:
        tables.append(table("Outlier channels: one scale for all leaves the others few steps", of_inputs, outliers))
    return join(tables)


def _sensitivity(facts: Facts) -> Html:
    if not (found := facts.sensitivity):
        return Html("")
    caption = f"Divergence of the answers on {found['images']} photos when only that layer is 8-bit; the most sensitive first."
    return chart_figure(charts.sensitivity(found["rows"]), "What each layer alone costs", caption)


def _curve(facts: Facts) -> Html:
    if not (found := facts.curve):
        return Html("")
    lines = [
        (f"{row['images']:,}", row["encoding"], f"{row['agreement']:.2%}", f"{row['kl']:.3g}") for row in found["rows"]
    ]
    heads = ("photos observed", "activations", "agreement with fp32", "KL, nats")
    return table(f"Ranges from fewer photos, judged on {found['images']:,} others", heads, lines, text_columns=2)


def engines(facts: Facts) -> Html:
    """Return the TensorRT engines with what their builder said of their layers."""
    found = [artifact for artifact in facts.bundle.manifest.artifacts if artifact.role == "engine"]
    if not found:
        return Html("")
    lines = [(engine.path, _flat(engine.details), *_hash_and_size(engine)) for engine in found]
    heads = ("engine", "layers and build", "SHA-256", "MB")
    return section("Engines", table("By the builder's own list of layers", heads, lines, text_columns=3))


def environment(facts: Facts) -> Html:
    """Return the machine and the versions of every result, and the hash of every artifact."""
    artifacts = facts.bundle.manifest.artifacts
    lines = [(one.path, f"{one.role} {one.variant}", *_hash_and_size(one)) for one in artifacts]
    files = table("Artifacts", ("file", "what", "SHA-256", "MB"), lines, text_columns=3)
    return section("Environment", fact_table("What was measured, where and with what", _known(facts)), files)


def _known(facts: Facts) -> list[tuple[str, str]]:
    manifest, evaluation = facts.bundle.manifest, facts.evaluation
    results = {"evaluation": evaluation, "benchmark": facts.bench}
    return [
        ("bundle", f"{manifest.name}, manifest SHA-256 {facts.bundle.sha256()[:_HASH_DIGITS]}"),
        ("network", _flat(manifest.model)),
        ("input", _flat(manifest.contract.to_dict())),
        ("made with", _flat(manifest.tools)),
        *((f"{name} photos", _split(split)) for name, split in manifest.data.items() if isinstance(split, dict)),
        ("evaluated photos", f"fingerprint {evaluation['data_fingerprint'][:_HASH_DIGITS]}" if evaluation else ""),
        *(
            (name, f"{result['created']}, {_flat(result['machine'])}; {_flat(result['versions'])}")
            for name, result in results.items()
            if result
        ),
    ]


def reproduce(facts: Facts) -> Html:
    """Return the commands that make the bundle, its results and this page again."""
    path, model = shlex.quote(str(facts.bundle.path)), facts.bundle.manifest.model
    backbone = f" --backbone {shlex.quote(str(model['backbone']))}" if "backbone" in model else ""
    made = [f"vegrt train --data DATA{backbone} --out {path}", f"vegrt export {path} --data DATA"]
    if "onnx" in model:
        source = f"--from-onnx {shlex.quote(str(model['onnx']))} --classes CLASSES --contract CONTRACT"
        made = [f"vegrt export {path} {source} --data DATA"]
    margin = f" --margin {facts.evaluation['margin_points']:g}" if facts.evaluation else ""
    commands = (
        *made,
        f"vegrt evaluate {path} --data DATA --split test{margin}",
        f"vegrt bench {path}",
        f"vegrt report {path} -o report.html",
    )
    return section("How to reproduce", element("pre", element("code", "\n".join(commands)), tabindex="0"))


def _contestant(entry: dict[str, Any], chosen: dict[str, str]) -> tuple[str, ...]:
    mark = "chosen" if chosen.get(entry["encoding"]) == entry["method"] else ""
    figures = f"{entry['agreement']:.2%}", f"{entry['kl']:.3g}"
    return entry["method"], entry["encoding"], *figures, mark


def _hash_and_size(artifact: Artifact) -> tuple[str, str]:
    return artifact.sha256[:_HASH_DIGITS], f"{artifact.size_bytes / 1e6:.1f}"


def _split(facts: dict[str, Any]) -> str:
    return (
        f"{facts['photos']:,}, fingerprint {facts['fingerprint'][:_HASH_DIGITS]}" if "photos" in facts else _flat(facts)
    )


def _flat(values: dict[str, Any]) -> str:
    """Return `name value` pairs on one line."""
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_flat(value)})"
    return " ".join(map(_plain, value)) if isinstance(value, list) else str(value)
