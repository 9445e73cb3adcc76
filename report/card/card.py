"""A model card: Markdown with the metadata header of the Hugging Face Hub, from the same facts as the report.

The header's fields: https://huggingface.co/docs/hub/model-cards and its model-index, the Papers with Code format of results.
The licence and the data set's name are not among the facts: the user gives them, they are never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.graph.work import share_percent
from vegrt.dataset.classes import listed_classes
from vegrt.errors import VegrtError
from vegrt.files.atomic import write_text
from vegrt.report.card.header import card_header
from vegrt.report.facts.data import data_section
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Code, Section, Text, fact_table_of, section_of, sections_of, table_of
from vegrt.report.html.page import origin_sentence
from vegrt.report.language.language import Language, translate, using_language
from vegrt.report.markdown import escape_markdown, sections_markdown
from vegrt.report.provenance import artifact_table, methods_text, share_heading
from vegrt.report.reproduce import reproduction_commands
from vegrt.report.summary import HEADINGS, NONE, TEXT_COLUMNS, SummaryRow, summary_rows
from vegrt.report.verdict import Conclusion, conclude
from vegrt.report.write import Sources, load_all_facts

_HASH_DIGITS = 64
_MAX_CLASSES = 30  # listed in the summary
_EXTRAS = {"openvino": "openvino", "tensorrt": "tensorrt"}  # runtime -> its pip extra, if other than cpu


@dataclass(frozen=True, slots=True)
class Claims:
    """Facts that only the model's owner knows. license, dataset: their identifiers on the Hub; dataset may be empty."""

    license: str = "unknown"
    dataset: str = ""


def write_card(
    bundles: Sequence[Bundle],
    out: Path,
    *,
    sources: Sources | None = None,
    claims: Claims | None = None,
    language: Language = "en",
) -> Path:
    """Write the model card of the only bundle to `out`, atomically, and return the path.

    Raises VegrtError if there is not exactly one bundle, if it has no results, or if a source does not match it.
    """
    if len(bundles) != 1:
        raise VegrtError(
            f"{out}: a model card describes one bundle, but {len(bundles)} were given; expected: vegrt report BUNDLE --card {out}"
        )
    (facts,) = load_all_facts(bundles, sources or Sources())
    with using_language(language):
        write_text(out, card_markdown(facts, claims or Claims()))
    return out


def card_markdown(facts: Facts, claims: Claims) -> str:
    """Return the whole card."""
    rows = summary_rows(facts)
    parts = [
        card_header(facts, license=claims.license, dataset=claims.dataset),
        f"# {escape_markdown(facts.bundle.manifest.name)}",
        escape_markdown(_summary(facts)),
        sections_markdown(_sections(facts, rows, conclude(facts, rows)), lambda _: None, level=2),
        escape_markdown(origin_sentence(translate("result files"))),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(facts: Facts) -> str:
    manifest = facts.bundle.manifest
    return translate(
        "An image classifier with {count} classes ({classes}). Network: {backbone}. Input: an RGB photo of {width}x{height} "
        "pixels as uint8; all further steps are part of the file.",
        count=len(manifest.classes),
        classes=listed_classes(manifest.classes, _MAX_CLASSES),
        backbone=manifest.model.get("backbone", manifest.model.get("onnx", translate("unknown"))),
        width=manifest.contract.width,
        height=manifest.contract.height,
    )


def _sections(facts: Facts, rows: Sequence[SummaryRow], conclusion: Conclusion) -> list[Section]:
    commands = "\n".join(reproduction_commands(facts, bundle_path=_card_path(facts)))
    return sections_of(
        _use_section(facts),
        section_of("run", translate("How to run it"), Code(_run_commands(facts, conclusion))),
        _evaluation_section(facts, rows, conclusion),
        data_section(facts),
        _training_section(facts),
        _quantization_section(facts),
        section_of("limits", translate("Limits"), *map(Text, _limits(facts))),
        section_of("files", translate("Files"), artifact_table(facts, digits=_HASH_DIGITS)),
        section_of("reproduce", translate("How to reproduce"), Code(commands)),
    )


def _use_section(facts: Facts) -> Section:
    intended = translate(
        "Classify photos that show one of these {count} classes each, on a server or an edge device.",
        count=len(facts.bundle.manifest.classes),
    )
    excluded = translate(
        "Not for photos of anything else: the model cannot reject a photo and always answers with the most similar class. Not "
        "for decisions about people's health or safety."
    )
    return section_of("use", translate("Intended use"), Text(intended), Text(excluded))


def _run_commands(facts: Facts, conclusion: Conclusion) -> str:
    to_ship = conclusion.to_ship if conclusion.outcome == "PASS" else None
    on_gpu = to_ship is not None and to_ship.device == "cuda"
    extra = _EXTRAS.get(to_ship.runtime, "gpu" if on_gpu else "cpu") if to_ship else "cpu"
    flags = f" --variant {to_ship.variant} --runtime {to_ship.runtime}" if to_ship else ""
    flags += " --device cuda" if on_gpu else ""
    path = _card_path(facts)
    return f"pip install 'vegrt[{extra}]'\nvegrt verify {path}\nvegrt infer images/ --bundle {path}{flags}"


def _evaluation_section(facts: Facts, rows: Sequence[SummaryRow], conclusion: Conclusion) -> Section:
    headings = [translate(heading) for heading in HEADINGS]
    statements = [Text(str(statement)) for statement in conclusion.statements]
    caption = translate("Accuracy, size and speed of every candidate")
    return section_of(
        "evaluation",
        translate("Evaluation"),
        Text(conclusion.headline),
        *statements,
        table_of(caption, headings, [row.cells() for row in rows], text_columns=TEXT_COLUMNS),
        _machine_note(facts),
        _leak_note(facts),
    )


def _machine_note(facts: Facts) -> Text | None:
    if not facts.bench:
        return None
    machine = f"{facts.bench.machine.cpu}, {facts.bench.machine.platform or NONE}"
    date = facts.bench.created[:10]
    return Text(translate("Times were measured on {machine}, {date}.", machine=machine, date=date))


def _leak_note(facts: Facts) -> Text | None:
    """Return the reference's accuracy without the leaked photos."""
    row = next((row for row in facts.evaluated() if row.without_leaks), None)
    if row is None or row.without_leaks is None or not facts.evaluation or not facts.evaluation.leaked:
        return None
    return Text(
        translate(
            "{leaked} of {images} test photos have a near duplicate in train or validation. Without them, the top-1 accuracy of "
            "{key} is {clean} % instead of {whole} %.",
            leaked=facts.evaluation.leaked,
            images=f"{facts.evaluation.images:,}",
            key=row.key,
            clean=f"{100 * row.without_leaks.top1.value:.2f}",
            whole=f"{100 * row.top1.value:.2f}",
        )
    )


def _training_section(facts: Facts) -> Section:
    training = facts.bundle.manifest.training
    recipe = {name: value for name, value in training.get("recipe", {}).items() if value not in ("", None)}
    if "weights" in recipe:  # only the name, because a card is public
        recipe["weights"] = Path(str(recipe["weights"])).name
    lines = [(str(name), str(value)) for name, value in recipe.items()]
    if training.get("validation_accuracy") is not None:
        lines.append((translate("validation accuracy"), f"{training['validation_accuracy']:.2%}"))
    if "device" in training:
        lines.append((translate("device"), str(training["device"])))
    return section_of("training", translate("Training"), fact_table_of(translate("Training settings"), lines))


def _quantization_section(facts: Facts) -> Section | None:
    calibration = facts.bundle.manifest.calibration
    if not calibration:
        return None
    text = translate(
        "Post-training quantization with explicit Q/DQ: weights per channel, activations per tensor. Ranges from {images} "
        "validation photos, never from test photos.",
        images=f"{calibration.get('images', 0):,}",
    )
    if facts.bundle.manifest.training.get("recipe", {}).get("qat"):
        text = f"{text} {translate('The network was fine-tuned with quantization-aware training.')}"
    float_layers = calibration.get("float_layers", {})
    lines = [
        (str(variant), share_percent(share), ", ".join(float_layers.get(variant, [])) or NONE)
        for variant, share in calibration.get("int8_macs_share", {}).items()
    ]
    methods = methods_text(calibration)
    headings = (translate("variant"), share_heading(calibration), translate("layers in float"))
    return section_of(
        "quantization",
        translate("Quantization"),
        Text(text),
        Text(methods) if methods else None,
        table_of(translate("Share of the network in 8 bits"), headings, lines),
    )


def _limits(facts: Facts) -> list[str]:
    limits = [
        translate(
            "The model was evaluated on photos similar to its training photos. Other cameras, lighting and places were not "
            "tested."
        )
    ]
    if not facts.robustness:
        limits.append(translate("Robustness to blurred, dark or rotated photos was not measured."))
    if not facts.audit and not (facts.evaluation and facts.evaluation.leaked is not None):
        limits.append(translate("Test photos were not checked for near duplicates in train."))
    if any(artifact.role == "engine" for artifact in facts.bundle.manifest.artifacts):
        limits.append(
            translate("A TensorRT engine runs only on the GPU type and TensorRT version that it was built for.")
        )
    if facts.evaluation:
        limits.append(
            translate(
                "PASS means: on {images} test photos, the {confidence} interval of the accuracy lost against fp32 lies below "
                "{margin} points. It does not rate the accuracy of fp32 itself.",
                images=f"{facts.evaluation.images:,}",
                confidence=f"{facts.evaluation.confidence:.0%}",
                margin=f"{facts.evaluation.margin_points:g}",
            )
        )
    return limits


def _card_path(facts: Facts) -> str:
    """Return the path of the bundle in the card's commands: a suggested one, never the local path."""
    return f"models/{facts.bundle.manifest.name}"
