"""The origin of the numbers: calibration, engines, machine, versions, hashes."""

from __future__ import annotations

from typing import Any

from vegrt.bundle.manifest import Artifact
from vegrt.calibration.graph.work import share_percent
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Chart, Section, Table, Text, charts_of, fact_table_of, section_of, table_of
from vegrt.report.language.language import translate
from vegrt.results.benchmark import Bench
from vegrt.results.common import Result
from vegrt.results.convert import to_dict

_HASH_DIGITS = 12


def calibration_section(facts: Facts, charts: dict[str, Chart]) -> Section | None:
    """Return the range methods and the tournament that selected them; bundles of older versions may lack parts."""
    calibration = facts.bundle.manifest.calibration
    if not calibration:
        return None
    chosen = {str(encoding): str(method) for encoding, method in dict(calibration.get("method", {})).items()}
    methods = methods_text(calibration)
    counts = translate(
        "Ranges from {images} validation photos, compared on {others} others.",
        images=f"{calibration.get('images', 0):,}",
        others=f"{calibration.get('judged_images', 0):,}",
    )
    lines = [_tournament_cells(entry, chosen) for entry in calibration.get("tournament", [])]
    headings = (
        translate("method"),
        translate("activations"),
        translate("agreement with fp32"),
        translate("KL, nats"),
        "",
    )
    caption = translate("Int8 models with each range method, on held-out photos")
    return section_of(
        "calibration",
        translate("Int8 calibration"),
        Text(f"{methods} {counts}" if methods else counts),
        charts_of(charts.get("tournament"), charts.get("sensitivity")),
        table_of(caption, headings, lines, text_columns=2),
        _float_table(calibration),
        _outlier_table(calibration),
        _curve_table(facts),
    )


def methods_text(calibration: dict[str, Any]) -> str:
    """Return the range method of each encoding. calibration: `calibration` of a manifest."""
    methods = [
        translate("{method} for {encoding} activations", method=method, encoding=encoding)
        for encoding, method in dict(calibration.get("method", {})).items()
    ]
    return translate("Range method: {methods}.", methods=", ".join(methods)) if methods else ""


def share_heading(calibration: dict[str, Any]) -> str:
    """Return the name of what `int8_macs_share` in a manifest counts; earlier versions counted only convolutions."""
    if "weight_layers" in calibration:
        return translate("multiplications in 8 bits")
    return translate("convolution work in 8 bits")


def _float_table(calibration: dict[str, Any]) -> Table | None:
    share = calibration.get("int8_macs_share", {})
    lines = [
        (variant, ", ".join(layers), share_percent(share[variant]) if variant in share else "")
        for variant, layers in calibration.get("float_layers", {}).items()
        if layers
    ]
    headings = (translate("variant"), translate("layers in float"), share_heading(calibration))
    return table_of(translate("Layers kept in float"), headings, lines, text_columns=2)


def _outlier_table(calibration: dict[str, Any]) -> Table | None:
    lines = [
        (", ".join(outlier["layers"]), f"{outlier['channel']}", f"{outlier['peak']:.3g}", f"{outlier['typical']:.3g}")
        for outlier in calibration.get("outliers", [])
    ]
    headings = (
        translate("layer"),
        translate("input channel"),
        translate("its maximum"),
        translate("maximum of the median channel"),
    )
    caption = translate("Outlier channels: with one scale for all channels, few steps are left for the others")
    return table_of(caption, headings, lines, text_columns=1)


def _curve_table(facts: Facts) -> Table | None:
    if not (curve := facts.curve):
        return None
    lines = [(f"{row.images:,}", row.encoding, f"{row.agreement:.2%}", f"{row.kl:.3g}") for row in curve.rows]
    headings = (
        translate("calibration photos"),
        translate("activations"),
        translate("agreement with fp32"),
        translate("KL, nats"),
    )
    caption = translate("Ranges from fewer photos, compared on {images} others", images=f"{curve.images:,}")
    return table_of(caption, headings, lines, text_columns=2)


def engine_section(facts: Facts) -> Section | None:
    """Return the TensorRT engines with the layers that their builder reports."""
    engines = [artifact for artifact in facts.bundle.manifest.artifacts if artifact.role == "engine"]
    lines = [(engine.path, _pairs_text(engine.details), *_hash_and_size(engine)) for engine in engines]
    headings = (translate("engine"), translate("layers and build"), "SHA-256", "MB")
    caption = translate("Engines, with the layers that their builder reports")
    return section_of("engines", translate("Engines"), table_of(caption, headings, lines, text_columns=3))


def environment_section(facts: Facts) -> Section:
    """Return the machine and the versions of every result, and the hash of every artifact."""
    origins = fact_table_of(translate("Bundle, machines and versions"), _origins(facts))
    return section_of("environment", translate("Environment"), origins, artifact_table(facts))


def artifact_table(facts: Facts, *, digits: int = _HASH_DIGITS) -> Table | None:
    """Return every file of the bundle. digits: number of hash digits to show."""
    lines = [
        (artifact.path, f"{artifact.role} {artifact.variant}", *_hash_and_size(artifact, digits))
        for artifact in facts.bundle.manifest.artifacts
    ]
    headings = (translate("file"), translate("role"), "SHA-256", "MB")
    return table_of(translate("Artifacts"), headings, lines, text_columns=3)


def _origins(facts: Facts) -> list[tuple[str, str]]:
    manifest, evaluation = facts.bundle.manifest, facts.evaluation
    words = {
        "train": translate("train photos"),
        "validation": translate("validation photos"),
        "test": translate("test photos"),
    }
    results: list[tuple[str, Result | None]] = [
        (translate("evaluation"), evaluation),
        (translate("robustness"), facts.robustness),
        (translate("benchmark"), facts.bench),
        *((translate("benchmark"), bench) for bench in facts.other_benches),
    ]
    name = translate("{name}, manifest SHA-256 {hash}", name=manifest.name, hash=facts.bundle.sha256()[:_HASH_DIGITS])
    return [
        (translate("bundle"), name),
        (translate("network"), _pairs_text(manifest.model)),
        (translate("input"), _pairs_text(manifest.contract.to_dict())),
        (translate("tools"), _pairs_text(manifest.tools)),
        *(
            (words.get(name, name), _split_text(split))
            for name, split in manifest.data.items()
            if isinstance(split, dict)
        ),
        (translate("evaluated photos"), _fingerprint_text(evaluation.data_fingerprint) if evaluation else ""),
        *((name, _origin_text(result)) for name, result in results if result),
    ]


def _origin_text(result: Result) -> str:
    """Return when, where and with which versions a result was made, and how a benchmark ran."""
    facts = [result.created, _pairs_text(to_dict(result.machine))]
    if isinstance(result, Bench):
        ways = {"threads": result.threads, "scenario": result.scenario, "images_source": result.images_source}
        facts.append(_pairs_text({name: value for name, value in ways.items() if value is not None}))
        if result.gpu is not None:
            gpu = {name: value for name, value in to_dict(result.gpu).items() if value is not None}
            facts.append(_pairs_text({"gpu": gpu}))
    return f"{', '.join(filter(None, facts))}; {_pairs_text(result.versions)}"


def _tournament_cells(entry: dict[str, Any], chosen: dict[str, str]) -> tuple[str, ...]:
    choice = translate("chosen") if chosen.get(entry["encoding"]) == entry["method"] else ""
    if stopped := entry.get("stopped"):
        choice = translate("stopped after the {images} hardest photos ({reason})", **_stop_words(stopped))
    return entry["method"], entry["encoding"], f"{entry['agreement']:.2%}", f"{entry['kl']:.3g}", choice


def _stop_words(stopped: dict[str, Any]) -> dict[str, str]:
    reasons = {"flips": translate("flips"), "accuracy": translate("accuracy"), "KL": "KL"}
    return {"images": f"{stopped['images']:,}", "reason": reasons.get(stopped["reason"], stopped["reason"])}


def _hash_and_size(artifact: Artifact, digits: int = _HASH_DIGITS) -> tuple[str, str]:
    return artifact.sha256[:digits], f"{artifact.size_bytes / 1e6:.1f}"


def _split_text(split: dict[str, Any]) -> str:
    if not {"photos", "fingerprint"} <= split.keys():
        return _pairs_text(split)
    return f"{split['photos']:,}, {_fingerprint_text(split['fingerprint'])}"


def _fingerprint_text(fingerprint: str) -> str:
    return translate("fingerprint {hash}", hash=fingerprint[:_HASH_DIGITS])


def _pairs_text(values: dict[str, Any]) -> str:
    """Return `name value` pairs on one line."""
    return ", ".join(f"{key} {_value_text(value)}" for key, value in values.items())


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_pairs_text(value)})"
    return " ".join(map(_value_text, value)) if isinstance(value, list) else str(value)
