"""vegrt report: the results of bundles as an HTML page, Markdown, pictures or a model card."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegrt.commands.options.audits import AUDIT, places
from vegrt.commands.options.recorded import recorded
from vegrt.commands.options.shared import JsonOption, ObjectiveName, ObjectiveOption, PublicKeyOption, show

if TYPE_CHECKING:
    from vegrt.bundle.bundle import Bundle
    from vegrt.report.write import ReportFiles
    from vegrt.train.data.audit_file import ReportedAudit

log = logging.getLogger(__name__)

_MARKDOWN = (".md", ".markdown")
_DEFAULT = Path("report.html")


class Language(str, Enum):
    """The values of --lang."""

    en = "en"
    ko = "ko"


def report(
    ctx: typer.Context,
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles with results.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help=f"HTML file, or Markdown file if it ends in .md; default: {_DEFAULT}."),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Markdown file that links to the pictures.")] = None,
    png: Annotated[Path | None, typer.Option(help="Folder for the charts as PNG files, without photos.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Folder for the charts as SVG files, without photos.")] = None,
    card: Annotated[Path | None, typer.Option(help="Model card for the Hugging Face Hub; for one bundle only.")] = None,
    card_license: Annotated[
        str, typer.Option(help="Licence of the model for the card, by its Hub identifier.")
    ] = "unknown",
    card_dataset: Annotated[str, typer.Option(help="Data set for the card, by its Hub identifier.")] = "",
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the evaluated photos, to show those with changed answers.")
    ] = None,
    bench: Annotated[
        list[Path] | None, typer.Option(help="bench.json of the same artifacts from another device; may be repeated.")
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            help=f"audit.json of `vegrt data audit`; default: the one for these photos in BUNDLE, in DATA, or {AUDIT}."
        ),
    ] = None,
    objective: ObjectiveOption = ObjectiveName.latency,
    lang: Annotated[Language, typer.Option(help="Language of the report.")] = Language.en,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a report on the results.

    Writes one offline HTML page, Markdown, pictures or a model card from the result files of evaluate, bench and calibrate, and
    prints the comparison of all variants.
    """
    from vegrt.bundle.signature import open_signed
    from vegrt.report.card.card import Claims, write_card
    from vegrt.report.facts.benches import read_bench_files
    from vegrt.report.summary import summarize, summary_table
    from vegrt.report.write import Sources, write_report

    opened = [open_signed(bundle, public_key) for bundle in bundles]
    audits = _audits(audit, data, opened)
    sources = Sources(data, read_bench_files(bench or ()), audits, objective.value, recorded(ctx))
    outputs = _outputs(out, markdown, png, svg, only_card=card is not None)
    written = write_report(opened, outputs, sources=sources, language=lang.value) if outputs is not None else []
    if card is not None:
        claims = Claims(card_license, card_dataset)
        written.append(write_card(opened, card, sources=sources, claims=claims, language=lang.value))
    summaries = {str(bundle.path): summarize(bundle, benches=sources.benches) for bundle in opened}
    if as_json:
        files = {"report": str(written[0]), "written": [str(path) for path in written]}
        rows = {path: [row.to_dict() for row in summary] for path, summary in summaries.items()}
        show(files | {"bundles": rows}, True)
        return
    for path, summary in summaries.items():
        typer.echo(path)
        show(summary_table(summary), False)
    for file in written:
        typer.echo(f"report: {file}")


def _outputs(
    out: Path | None, markdown: Path | None, png: Path | None, svg: Path | None, *, only_card: bool
) -> ReportFiles | None:
    """Return the files to write: the HTML page by default; None where only the card was requested."""
    from vegrt.report.write import ReportFiles

    if out is not None and out.suffix.lower() in _MARKDOWN:
        out, markdown = None, out if markdown is None else markdown
    nothing = (out, markdown, png, svg) == (None,) * 4
    if nothing and only_card:
        return None
    return ReportFiles(_DEFAULT if nothing else out, markdown, png, svg)


def _audits(file: Path | None, data: Path | None, bundles: list[Bundle]) -> list[ReportedAudit]:
    """Return the requested audit, or all audits of the bundles' photos in a bundle, next to the photos or in this folder."""
    from vegrt.errors import DataError
    from vegrt.report.facts.data import is_audit_of
    from vegrt.train.data.audit_file import read_reported_audit

    audits = []
    for path in [file] if file else places(data, *(bundle.path for bundle in bundles)):
        try:
            audit = read_reported_audit(path)
            if not any(is_audit_of(audit, bundle.manifest.data) for bundle in bundles):
                raise DataError(f"{path}: not of the photos of these bundles; run: vegrt data audit DATA")
        except DataError as error:
            if file is not None:
                raise
            log.info("%s; continuing without this audit", error)
            continue
        log.info("audit: %s, of these photos", path)
        audits.append(audit)
    return audits
