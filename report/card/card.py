"""A model card: Markdown under the metadata header of the Hugging Face Hub, from the same facts as the report.

The header's fields: https://huggingface.co/docs/hub/model-cards and its model-index, the Papers with Code format of results.
What the facts do not say (a licence, the data set's name) is asked for, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.calibration.work import share_percent
from vegrt.errors import VegrtError
from vegrt.files.atomic import write_text
from vegrt.report import markdown
from vegrt.report.card.header import header
from vegrt.report.facts.data import data
from vegrt.report.facts.facts import Facts
from vegrt.report.html.blocks import Block, Code, Section, Text, fact_table, section, sections, table
from vegrt.report.html.page import made_by
from vegrt.report.language.language import Language, translate, using_language
from vegrt.report.provenance import artifacts, methods_text, share_head
from vegrt.report.reproduce import commands
from vegrt.report.summary import HEADS, NONE, TEXT_COLUMNS, rows
from vegrt.report.verdict import Conclusion, conclude
from vegrt.report.write import Sources, facts_of

_HASH_DIGITS = 64
_EXTRAS = {"openvino": "openvino", "tensorrt": "tensorrt"}  # the runtime's pip extra, where it is not cpu


@dataclass(frozen=True, slots=True)
class Claims:
    """What only its owner can say of a model. license: as the Hub calls it. dataset: the data set's name there, or empty."""

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
    """Write the model card of the one bundle to `out`, whole or not at all, and return it.

    Raises VegrtError when there is not exactly one bundle, when it has no results, or when a source is of something else.
    """
    if len(bundles) != 1:
        raise VegrtError(
            f"{out}: a model card is of one bundle, {len(bundles)} were named; expected: vegrt report BUNDLE --card {out}"
        )
    (facts,) = facts_of(bundles, sources or Sources())
    with using_language(language):
        write_text(out, card(facts, claims or Claims()))
    return out


def card(facts: Facts, claims: Claims) -> str:
    """Return the whole card."""
    conclusion = conclude(facts, rows(facts))
    title = f"# {markdown.escape(facts.bundle.manifest.name)}"
    said = markdown.body(_sections(facts, conclusion), lambda _: None, level=2)
    head = header(facts, license=claims.license, dataset=claims.dataset)
    parts = [head, title, markdown.escape(_summary(facts)), said, markdown.escape(made_by(translate("result files")))]
    return "\n\n".join(parts) + "\n"


def _summary(facts: Facts) -> str:
    manifest = facts.bundle.manifest
    return translate(
        "An image classifier of {count} classes ({classes}). Network: {backbone}. Input: one RGB photo of {size}x{size} "
        "pixels as uint8; everything after that is in the file.",
        count=len(manifest.classes),
        classes=", ".join(manifest.classes),
        backbone=manifest.model.get("backbone", manifest.model.get("onnx", translate("unknown"))),
        size=manifest.contract.size,
    )


def _sections(facts: Facts, conclusion: Conclusion) -> list[Section]:
    return sections(
        _use(facts),
        section("run", translate("How to run it"), Code(_how_to_run(facts, conclusion))),
        _evaluation(facts, conclusion),
        data(facts),
        _training(facts),
        _quantization(facts),
        section("limits", translate("Limits"), *(Text(limit) for limit in _limits(facts))),
        section("files", translate("Files"), artifacts(facts, digits=_HASH_DIGITS)),
        section("reproduce", translate("How to reproduce"), Code("\n".join(commands(facts, place=_place(facts))))),
    )


def _use(facts: Facts) -> Section:
    intended = translate(
        "To tell photos of these {count} classes apart, on a server or on an edge device, where each photo shows one of them.",
        count=len(facts.bundle.manifest.classes),
    )
    other = translate(
        "Not for photos of anything else: it has no answer for that, and names the class that is least unlike. Not for "
        "decisions about people's health or safety."
    )
    return section("use", translate("Intended use"), Text(intended), Text(other))


def _how_to_run(facts: Facts, conclusion: Conclusion) -> str:
    fast = conclusion.to_ship if conclusion.outcome == "PASS" else None
    extra = _EXTRAS.get(fast.runtime, "cpu") if fast else "cpu"
    flags = f" --variant {fast.variant} --runtime {fast.runtime}" if fast else ""
    place = _place(facts)
    return f"pip install 'vegrt[{extra}]'\nvegrt verify {place}\nvegrt infer images/ --model {place}{flags}"


def _evaluation(facts: Facts, conclusion: Conclusion) -> Section:
    compared = rows(facts)
    heads = [translate(head) for head in HEADS]
    lines = [row.cells() for row in compared]
    caption = translate("Accuracy, size and speed of every candidate")
    blocks: list[Block | None] = [Text(conclusion.headline), *map(Text, conclusion.sentences)]
    blocks.append(table(caption, heads, lines, text_columns=TEXT_COLUMNS))
    if facts.bench:
        where = facts.bench["machine"]
        machine = f"{where['cpu']}, {where.get('platform', NONE)}"
        blocks.append(
            Text(
                translate(
                    "Times were measured on {machine}, {date}.", machine=machine, date=facts.bench["created"][:10]
                )
            )
        )
    return section("evaluation", translate("Evaluation"), *blocks, _clean(facts))


def _clean(facts: Facts) -> Text | None:
    """Return the reference's accuracy without the photos that leaked."""
    reference = next((row for row in facts.evaluated() if "without_leaks" in row), None)
    if reference is None or not facts.evaluation or not facts.evaluation.get("leaked"):
        return None
    whole, clean = (100 * row["top1"]["value"] for row in (reference, reference["without_leaks"]))
    return Text(
        translate(
            "{leaked} of {images} test photos have a near duplicate in train or validation. Without them, {key} reaches "
            "{clean} % instead of {whole} %.",
            leaked=facts.evaluation["leaked"],
            images=f"{facts.evaluation['images']:,}",
            key=reference["key"],
            clean=f"{clean:.2f}",
            whole=f"{whole:.2f}",
        )
    )


def _training(facts: Facts) -> Section:
    training = facts.bundle.manifest.training
    recipe = {name: value for name, value in training.get("recipe", {}).items() if value not in ("", None)}
    if "weights" in recipe:  # a file's folder is nobody's business
        recipe["weights"] = Path(str(recipe["weights"])).name
    lines = [(str(name), str(value)) for name, value in recipe.items()]
    if training.get("validation_accuracy") is not None:
        lines.append((translate("validation accuracy"), f"{training['validation_accuracy']:.2%}"))
    if "device" in training:
        lines.append((translate("device"), str(training["device"])))
    return section("training", translate("Training"), fact_table(translate("The recipe"), lines))


def _quantization(facts: Facts) -> Section | None:
    found = facts.bundle.manifest.calibration
    if not found:
        return None
    text = translate(
        "Post-training quantization with explicit Q/DQ: weights per channel, activations per tensor. Ranges from {images} "
        "validation photos, never from test photos.",
        images=f"{found.get('images', 0):,}",
    )
    if facts.bundle.manifest.training.get("recipe", {}).get("qat"):
        text = f"{text} {translate('The network was trained further with simulated quantization.')}"
    share = found.get("int8_macs_share", {})
    lines = [
        (str(variant), share_percent(value), ", ".join(found.get("float_layers", {}).get(variant, [])) or NONE)
        for variant, value in share.items()
    ]
    chosen = methods_text(found)
    heads = (translate("variant"), share_head(found), translate("layers in float"))
    return section(
        "quantization",
        translate("Quantization"),
        Text(text),
        Text(chosen) if chosen else None,
        table(translate("What is in 8 bits"), heads, lines),
    )


def _limits(facts: Facts) -> list[str]:
    limits = [
        translate(
            "It was judged on photos like those that it learned from. Other cameras, light and places were not measured."
        )
    ]
    if not facts.robustness:
        limits.append(translate("How it takes blurred, dark or rotated photos was not measured."))
    if not facts.audit and not (facts.evaluation and facts.evaluation.get("leaked") is not None):
        limits.append(translate("Whether test photos have near duplicates in train was not checked."))
    if any(artifact.role == "engine" for artifact in facts.bundle.manifest.artifacts):
        limits.append(
            translate("A TensorRT engine runs only on the kind of GPU and the version that it was built for.")
        )
    if facts.evaluation:
        limits.append(
            translate(
                "PASS means: on {images} test photos, the {confidence} interval of the accuracy lost against fp32 lies below "
                "{margin} points. It says nothing of the accuracy of fp32 itself.",
                images=f"{facts.evaluation['images']:,}",
                confidence=f"{facts.evaluation['confidence']:.0%}",
                margin=f"{facts.evaluation['margin_points']:g}",
            )
        )
    return limits


def _place(facts: Facts) -> str:
    """Return where a reader is to put the bundle."""
    return f"models/{facts.bundle.manifest.name}"
