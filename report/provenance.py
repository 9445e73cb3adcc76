"""Where the numbers come from: calibration, engines, machine, versions, hashes."""

from __future__ import annotations

from typing import Any

from vegrt.bundle.bundle import Artifact
from vegrt.calibration.share import percent
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Chart, Section, Table, Text, charts, fact_table, section, table
from vegrt.report.language.language import say

_HASH_DIGITS = 12


def calibration(facts: Facts, drawn: dict[str, Chart]) -> Section | None:
    """Return the methods chosen and the tournament that chose them; tolerates what an older bundle lacks."""
    found = facts.bundle.manifest.calibration
    if not found:
        return None
    chosen = {str(encoding): str(method) for encoding, method in dict(found.get("method", {})).items()}
    text = methods_text(found)
    counts = say(
        "Ranges from {images} validation photos, judged on {others} others.",
        images=f"{found.get('images', 0):,}",
        others=f"{found.get('judged_images', 0):,}",
    )
    lines = [_contestant(entry, chosen) for entry in found.get("tournament", [])]
    heads = (say("method"), say("activations"), say("agreement with fp32"), say("KL, nats"), "")
    tournament = table(say("Each method as a whole int8 model, on held-out photos"), heads, lines, text_columns=2)
    return section(
        "calibration",
        say("Calibration"),
        Text(f"{text} {counts}" if text else counts),
        charts(drawn.get("tournament"), drawn.get("sensitivity")),
        tournament,
        *_mixed(found),
        _curve(facts),
    )


def methods_text(found: dict[str, Any]) -> str:
    """Return which range method each encoding has. found: a manifest's calibration."""
    methods = dict(found.get("method", {}))
    named = [
        say("{method} for {encoding} activations", method=one, encoding=encoding) for encoding, one in methods.items()
    ]
    return say("Range method: {methods}.", methods=", ".join(named)) if named else ""


def share_head(found: dict[str, Any]) -> str:
    """Return what `int8_macs_share` of a manifest's calibration counts; earlier versions counted convolutions alone."""
    return say("multiplications in 8 bits") if "weight_layers" in found else say("convolution work in 8 bits")


def _mixed(found: dict[str, Any]) -> list[Table | None]:
    """Return which layers stay in float, and the outlier channels."""
    kept = {variant: names for variant, names in found.get("float_layers", {}).items() if names}
    share = found.get("int8_macs_share", {})
    lines = [
        (variant, ", ".join(names), percent(share[variant]) if variant in share else "")
        for variant, names in kept.items()
    ]
    heads = (say("variant"), say("layers in float"), share_head(found))
    outliers = [
        (", ".join(one["layers"]), f"{one['channel']}", f"{one['peak']:.3g}", f"{one['typical']:.3g}")
        for one in found.get("outliers", [])
    ]
    of_inputs = (say("layer"), say("channel of its input"), say("its largest value"), say("the median channel's"))
    caption = say("Outlier channels: one scale for all leaves the others few steps")
    return [
        table(say("Kept in float"), heads, lines, text_columns=2),
        table(caption, of_inputs, outliers, text_columns=1),
    ]


def _curve(facts: Facts) -> Table | None:
    if not (found := facts.curve):
        return None
    lines = [
        (f"{row['images']:,}", row["encoding"], f"{row['agreement']:.2%}", f"{row['kl']:.3g}") for row in found["rows"]
    ]
    heads = (say("photos observed"), say("activations"), say("agreement with fp32"), say("KL, nats"))
    caption = say("Ranges from fewer photos, judged on {images} others", images=f"{found['images']:,}")
    return table(caption, heads, lines, text_columns=2)


def engines(facts: Facts) -> Section | None:
    """Return the TensorRT engines with what their builder said of their layers."""
    found = [artifact for artifact in facts.bundle.manifest.artifacts if artifact.role == "engine"]
    lines = [(engine.path, _flat(engine.details), *_hash_and_size(engine)) for engine in found]
    heads = (say("engine"), say("layers and build"), "SHA-256", "MB")
    return section(
        "engines",
        say("Engines"),
        table(say("By the builder's own list of layers"), heads, lines, text_columns=3),
    )


def environment(facts: Facts) -> Section:
    """Return the machine and the versions of every result, and the hash of every artifact."""
    known = fact_table(say("What was measured, where and with what"), _known(facts))
    return section("environment", say("Environment"), known, artifacts(facts))


def artifacts(facts: Facts, *, digits: int = _HASH_DIGITS) -> Table | None:
    """Return every file of the bundle with so many digits of its hash."""
    lines = [
        (one.path, f"{one.role} {one.variant}", one.sha256[:digits], f"{one.size_bytes / 1e6:.1f}")
        for one in facts.bundle.manifest.artifacts
    ]
    return table(say("Artifacts"), (say("file"), say("what"), "SHA-256", "MB"), lines, text_columns=3)


def _known(facts: Facts) -> list[tuple[str, str]]:
    manifest, evaluation = facts.bundle.manifest, facts.evaluation
    words = {"train": say("train photos"), "validation": say("validation photos"), "test": say("test photos")}
    results = [(say("evaluation"), evaluation), (say("robustness"), facts.robustness), (say("benchmark"), facts.bench)]
    results += [(say("benchmark"), bench) for bench in facts.elsewhere]
    return [
        (
            say("bundle"),
            say("{name}, manifest SHA-256 {hash}", name=manifest.name, hash=facts.bundle.sha256()[:_HASH_DIGITS]),
        ),
        (say("network"), _flat(manifest.model)),
        (say("input"), _flat(manifest.contract.to_dict())),
        (say("made with"), _flat(manifest.tools)),
        *((words.get(name, name), _split(split)) for name, split in manifest.data.items() if isinstance(split, dict)),
        (say("evaluated photos"), _fingerprint(evaluation["data_fingerprint"]) if evaluation else ""),
        *((name, _made(result)) for name, result in results if result),
    ]


def _made(result: dict[str, Any]) -> str:
    """Return when, where and with what a result was made, and how a benchmark ran."""
    ways = {name: result[name] for name in ("threads", "scenario", "images_source") if result.get(name) is not None}
    facts = [str(result["created"]), _flat(result["machine"]), _flat(ways)]
    if isinstance(result.get("gpu"), dict):
        facts.append(_flat({"gpu": result["gpu"]}))
    return f"{', '.join(filter(None, facts))}; {_flat(result.get('versions', {}))}"


def _contestant(entry: dict[str, Any], chosen: dict[str, str]) -> tuple[str, ...]:
    mark = say("chosen") if chosen.get(entry["encoding"]) == entry["method"] else ""
    figures = f"{entry['agreement']:.2%}", f"{entry['kl']:.3g}"
    return entry["method"], entry["encoding"], *figures, mark


def _hash_and_size(artifact: Artifact) -> tuple[str, str]:
    return artifact.sha256[:_HASH_DIGITS], f"{artifact.size_bytes / 1e6:.1f}"


def _split(facts: dict[str, Any]) -> str:
    if not {"photos", "fingerprint"} <= facts.keys():
        return _flat(facts)
    return f"{facts['photos']:,}, {_fingerprint(facts['fingerprint'])}"


def _fingerprint(value: str) -> str:
    return say("fingerprint {hash}", hash=value[:_HASH_DIGITS])


def _flat(values: dict[str, Any]) -> str:
    """Return `name value` pairs on one line."""
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_flat(value)})"
    return " ".join(map(_plain, value)) if isinstance(value, list) else str(value)
