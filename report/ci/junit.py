"""An evaluation as JUnit XML, which CI servers show as tests: one test case for each candidate.

The format is that of Jenkins, which other CI servers read too:
https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd
"""

from __future__ import annotations

import datetime
from pathlib import Path
from xml.etree import ElementTree

from vegrt.evaluate.wording import gate_reason, not_run_cause
from vegrt.files.atomic import write_text
from vegrt.files.text import printable
from vegrt.report.evaluation import evaluation_title
from vegrt.results.common import Verdict
from vegrt.results.evaluation import CandidateResult, Evaluation, NotRun


def write_junit(evaluation: Evaluation, out: Path, *, inconclusive: Verdict = "INCONCLUSIVE") -> Path:
    """Write an evaluation as JUnit XML to `out`, atomically, and return the path. inconclusive: see junit_xml."""
    write_text(out, junit_xml(evaluation, inconclusive=inconclusive))
    return out


def junit_xml(evaluation: Evaluation, *, inconclusive: Verdict = "INCONCLUSIVE") -> str:
    """Return an evaluation as JUnit XML, so that it is red where the exit code is not 0.

    FAIL and INCONCLUSIVE are failures, with the verdict as their type; artifacts that were not run are skipped.
    inconclusive: the verdict as which INCONCLUSIVE counts; with PASS it is no failure, and the reason is in system-out.
    """
    cases = [_case(evaluation, row, inconclusive) for row in evaluation.candidates]
    cases += [_skipped(evaluation, missing) for missing in evaluation.not_run]
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": 0,
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    texts = {name: str(count) for name, count in counts.items()}
    skipped = {"skipped": texts.pop("skipped")}
    created = datetime.datetime.fromisoformat(evaluation.created).replace(tzinfo=None).isoformat()
    top = ElementTree.Element("testsuites", {"name": "vegrt evaluate", **texts, "time": "0"})
    suite = ElementTree.SubElement(
        top,
        "testsuite",
        {"name": printable(evaluation_title(evaluation)), **texts, **skipped, "time": "0", "timestamp": created},
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _facts(evaluation).items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": printable(value)})
    suite.extend(cases)
    ElementTree.indent(top)
    return ElementTree.tostring(top, encoding="unicode", xml_declaration=True) + "\n"


def _facts(evaluation: Evaluation) -> dict[str, str]:
    return {
        "bundle": evaluation.bundle.name,
        "bundle_sha256": evaluation.bundle.sha256,
        "data_fingerprint": evaluation.data_fingerprint,
        "images": str(evaluation.images),
        "margin_points": f"{evaluation.margin_points:g}",
        "cpu": evaluation.machine.cpu,
    }


def _case(evaluation: Evaluation, row: CandidateResult, inconclusive: Verdict) -> ElementTree.Element:
    case = _named(evaluation, row.key)
    own: Verdict = row.gate.verdict if len(evaluation.candidates) > 1 else "INCONCLUSIVE"  # nothing was judged
    reason = printable(f"{own}: {gate_reason(evaluation, row)}")
    verdict = inconclusive if own == "INCONCLUSIVE" else own
    if verdict in ("FAIL", "INCONCLUSIVE"):
        ElementTree.SubElement(case, "failure", {"message": reason, "type": own}).text = reason
    else:
        accuracy = f"top-1 {row.top1.value:.2%}, {row.paired.flips} flips"
        ElementTree.SubElement(case, "system-out").text = f"{reason}; {accuracy}"
    return case


def _skipped(evaluation: Evaluation, missing: NotRun) -> ElementTree.Element:
    case = _named(evaluation, missing.artifact)
    ElementTree.SubElement(case, "skipped", {"message": printable(not_run_cause(missing))})
    return case


def _named(evaluation: Evaluation, name: str) -> ElementTree.Element:
    place = f"vegrt.evaluate.{evaluation.bundle.name}.{evaluation.name or evaluation.split}"
    return ElementTree.Element("testcase", {"name": printable(name), "classname": printable(place), "time": "0"})
