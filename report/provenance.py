"""Where the numbers come from: calibration, engines, machine, versions, hashes."""

from __future__ import annotations

from typing import Any

from vegrt.bundle.manifest import Artifact
from vegrt.calibration.share import percent
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Chart, Section, Table, Text, charts, fact_table, section, table
from vegrt.report.language.language import translate

_HASH_DIGITS = 12


def calibration(facts: Facts, drawn: dict[str, Chart]) -> Section | None:
    """Return the methods chosen and the tournament that chose them; tolerates what an older bundle lacks."""
    found = facts.bundle.manifest.calibration
    if not found:
        return None
    chosen = {str(encoding): str(method) for encoding, method in dict(found.get("method", {})).items()}
    text = methods_text(found)
    counts = translate(
        "Ranges from {images} validation photos, judged on {others} others.",
        images=f"{found.get('images', 0):,}",
        others=f"{found.get('judged_images', 0):,}",
    )
    lines = [_contestant(entry, chosen) for entry in found.get("tournament", [])]
    heads = (translate("method"), translate("activations"), translate("agreement with fp32"), translate("KL, nats"), "")
    tournament = table(translate("Each method as a whole int8 model, on held-out photos"), heads, lines, text_columns=2)
    return section(
        "calibration",
        translate("Calibration"),
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
        translate("{method} for {encoding} activations", method=one, encoding=encoding)
        for encoding, one in methods.items()
    ]
    return translate("Range method: {methods}.", methods=", ".join(named)) if named else ""


def share_head(found: dict[str, Any]) -> str:
    """Return what `int8_macs_share` of a manifest's calibration counts; earlier versions counted convolutions alone."""
    return (
        translate("multiplications in 8 bits") if "weight_layers" in found else translate("convolution work in 8 bits")
    )


def _mixed(found: dict[str, Any]) -> list[Table | None]:
    """Return which layers stay in float, and the outlier channels."""
    kept = {variant: names for variant, names in found.get("float_layers", {}).items() if names}
    share = found.get("int8_macs_share", {})
    lines = [
        (variant, ", ".join(names), percent(share[variant]) if variant in share else "")
        for variant, names in kept.items()
    ]
    heads = (translate("variant"), translate("layers in float"), share_head(found))
    outliers = [
        (", ".join(one["layers"]), f"{one['channel']}", f"{one['peak']:.3g}", f"{one['typical']:.3g}")
        for one in found.get("outliers", [])
    ]
    of_inputs = (
        translate("layer"),
        translate("channel of its input"),
        translate("its largest value"),
        translate("the median channel's"),
    )
    caption = translate("Outlier channels: one scale for all leaves the others few steps")
    return [
        table(translate("Kept in float"), heads, lines, text_columns=2),
        table(caption, of_inputs, outliers, text_columns=1),
    ]


def _curve(facts: Facts) -> Table | None:
    if not (found := facts.curve):
        return None
    lines = [
        (f"{row['images']:,}", row["encoding"], f"{row['agreement']:.2%}", f"{row['kl']:.3g}") for row in found["rows"]
    ]
    heads = (
        translate("photos observed"),
        translate("activations"),
        translate("agreement with fp32"),
        translate("KL, nats"),
    )
    caption = translate("Ranges from fewer photos, judged on {images} others", images=f"{found['images']:,}")
    return table(caption, heads, lines, text_columns=2)


def engines(facts: Facts) -> Section | None:
    """Return the TensorRT engines with what their builder said of their layers."""
    found = [artifact for artifact in facts.bundle.manifest.artifacts if artifact.role == "engine"]
    lines = [(engine.path, _flat(engine.details), *_hash_and_size(engine)) for engine in found]
    heads = (translate("engine"), translate("layers and build"), "SHA-256", "MB")
    return section(
        "engines",
        translate("Engines"),
        table(translate("By the builder's own list of layers"), heads, lines, text_columns=3),
    )


def environment(facts: Facts) -> Section:
    """Return the machine and the versions of every result, and the hash of every artifact."""
    known = fact_table(translate("What was measured, where and with what"), _known(facts))
    return section("environment", translate("Environment"), known, artifacts(facts))


def artifacts(facts: Facts, *, digits: int = _HASH_DIGITS) -> Table | None:
    """Return every file of the bundle with so many digits of its hash."""
    lines = [
        (one.path, f"{one.role} {one.variant}", one.sha256[:digits], f"{one.size_bytes / 1e6:.1f}")
        for one in facts.bundle.manifest.artifacts
    ]
    return table(translate("Artifacts"), (translate("file"), translate("what"), "SHA-256", "MB"), lines, text_columns=3)


def _known(facts: Facts) -> list[tuple[str, str]]:
    manifest, evaluation = facts.bundle.manifest, facts.evaluation
    words = {
        "train": translate("train photos"),
        "validation": translate("validation photos"),
        "test": translate("test photos"),
    }
    results = [
        (translate("evaluation"), evaluation),
        (translate("robustness"), facts.robustness),
        (translate("benchmark"), facts.bench),
    ]
    results += [(translate("benchmark"), bench) for bench in facts.elsewhere]
    return [
        (
            translate("bundle"),
            translate("{name}, manifest SHA-256 {hash}", name=manifest.name, hash=facts.bundle.sha256()[:_HASH_DIGITS]),
        ),
        (translate("network"), _flat(manifest.model)),
        (translate("input"), _flat(manifest.contract.to_dict())),
        (translate("made with"), _flat(manifest.tools)),
        *((words.get(name, name), _split(split)) for name, split in manifest.data.items() if isinstance(split, dict)),
        (translate("evaluated photos"), _fingerprint(evaluation["data_fingerprint"]) if evaluation else ""),
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
    mark = translate("chosen") if chosen.get(entry["encoding"]) == entry["method"] else ""
    figures = f"{entry['agreement']:.2%}", f"{entry['kl']:.3g}"
    return entry["method"], entry["encoding"], *figures, mark


def _hash_and_size(artifact: Artifact) -> tuple[str, str]:
    return artifact.sha256[:_HASH_DIGITS], f"{artifact.size_bytes / 1e6:.1f}"


def _split(facts: dict[str, Any]) -> str:
    if not {"photos", "fingerprint"} <= facts.keys():
        return _flat(facts)
    return f"{facts['photos']:,}, {_fingerprint(facts['fingerprint'])}"


def _fingerprint(value: str) -> str:
    return translate("fingerprint {hash}", hash=value[:_HASH_DIGITS])


def _flat(values: dict[str, Any]) -> str:
    """Return `name value` pairs on one line."""
    return ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_flat(value)})"
    return " ".join(map(_plain, value)) if isinstance(value, list) else str(value)
