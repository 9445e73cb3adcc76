"""The sections of a bundle's report, in order. Those without content are omitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vegrt.report.answers import class_section, reliability_section, robustness_section
from vegrt.report.comparisons import comparison_section, leak_section, photo_set_section, speed_section
from vegrt.report.facts.data import data_section
from vegrt.report.facts.facts import Facts
from vegrt.report.gallery import flip_gallery
from vegrt.report.html.blocks import Chart, Section, Text, charts_of, section_of, sections_of, table_of
from vegrt.report.language.language import translate
from vegrt.report.provenance import calibration_section, engine_section, environment_section
from vegrt.report.reproduce import reproduce_section
from vegrt.report.summary import SummaryRow
from vegrt.report.trust import trust_section
from vegrt.report.verdict import Conclusion

_MAX_CONFUSIONS = 10


def bundle_sections(
    facts: Facts, rows: Sequence[SummaryRow], conclusion: Conclusion, charts: dict[str, Chart], photos: Path | None
) -> list[Section]:
    """Return all sections below a bundle's verdict. charts: by name. photos: the data folder."""
    return sections_of(
        comparison_section(facts, rows),
        leak_section(facts),
        photo_set_section(facts),
        speed_section(facts, charts),
        class_section(facts, conclusion.chosen, charts.get("flips-per-class")),
        section_of("changed", translate("Photos with changed answers"), flip_gallery(facts, photos)),
        _confusion_section(facts, conclusion, charts.get("confusion")),
        reliability_section(facts, charts.get("reliability")),
        trust_section(facts, conclusion.chosen, charts.get("risk-coverage")),
        robustness_section(facts, charts.get("robustness")),
        _training_section(facts.bundle.manifest.training, charts),
        calibration_section(facts, charts),
        data_section(facts),
        engine_section(facts),
        environment_section(facts),
        reproduce_section(facts),
    )


def _confusion_section(facts: Facts, conclusion: Conclusion, chart: Chart | None) -> Section | None:
    if not facts.evaluation:
        return None
    classes = facts.evaluation.classes
    pair = facts.reference_and(conclusion.chosen.key if conclusion.chosen else "")
    matrices = [row.confusion_counts() for row in pair]
    counts = {
        (truth, answer): tuple(matrix.get((truth, answer), 0) for matrix in matrices)
        for truth, answer in set().union(*matrices)
        if truth != answer
    }
    most_frequent = sorted(counts.items(), key=lambda item: (-sum(item[1]), item[0]))[:_MAX_CONFUSIONS]
    lines = [(classes[truth], classes[answer], *map(str, photos)) for (truth, answer), photos in most_frequent]
    headings = (translate("true class"), translate("answer"), *(row.key for row in pair))
    table = table_of(translate("Most frequent confusions, in photos"), headings, lines, text_columns=2)
    return section_of("confusion", translate("Confusion matrix"), charts_of(chart), table)


def _training_section(training: dict[str, Any], charts: dict[str, Chart]) -> Section | None:
    """Return the section on the training. training: `training` of the manifest."""
    epochs = training.get("epochs") or []
    if not epochs:
        return None
    head = sum(epoch["phase"] == "head" for epoch in epochs)
    text = translate(
        "{head} epochs of the head on frozen features, then {all} of the whole network.",
        head=head,
        all=len(epochs) - head,
    )
    if "seconds" in training:
        minutes, device = f"{training['seconds'] / 60:.1f}", training.get("device", translate("an unknown device"))
        text = f"{text} {translate('Duration: {minutes} minutes on {device}.', minutes=minutes, device=device)}"
    curves = charts_of(charts.get("training-loss"), charts.get("training-accuracy"))
    return section_of("training", translate("Training"), Text(text), curves)
