"""vegrt report: a bundle's results as a page, Markdown, pictures or a model card."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vegrt.commands.options.audits import AUDIT, places
from vegrt.commands.options.recorded import recorded
from vegrt.commands.options.shared import JsonOption, ObjectiveName, ObjectiveOption, PublicKeyOption, show

if TYPE_CHECKING:
    from vegrt.report.write import ReportFiles

log = logging.getLogger(__name__)

_MARKDOWN = (".md", ".markdown")
_DEFAULT = Path("report.html")


class Language(str, Enum):
    """What --lang takes."""

    en = "en"
    ko = "ko"


def report(
    ctx: typer.Context,
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles with results.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help=f"The page, or with the ending .md Markdown; default: {_DEFAULT}."),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Markdown file, with links to the pictures.")] = None,
    png: Annotated[Path | None, typer.Option(help="Folder for every chart as PNG; no photos.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Folder for every chart as SVG; no photos.")] = None,
    card: Annotated[Path | None, typer.Option(help="Model card for the Hugging Face Hub; of one bundle.")] = None,
    card_license: Annotated[str, typer.Option(help="The model's licence, as the Hub calls it.")] = "unknown",
    card_dataset: Annotated[str, typer.Option(help="The data set's name on the Hub, for the card.")] = "",
    data: Annotated[Path | None, typer.Option("--data", help="For the photos whose answer changed.")] = None,
    bench: Annotated[
        list[Path] | None, typer.Option(help="bench.json from another device, of the same artifacts; may be repeated.")
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            help=f"audit.json of `vegrt data audit`; default: that of these photos in BUNDLE, in DATA, or {AUDIT}."
        ),
    ] = None,
    objective: ObjectiveOption = ObjectiveName.latency,
    lang: Annotated[Language, typer.Option(help="en or ko.")] = Language.en,
    public_key: PublicKeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what the results say.

    One offline HTML page, or Markdown, pictures, a model card, from the result files of evaluate, bench and calibrate;
    prints the comparison of all variants too.
    """
    from vegrt.bundle.signature import open_signed
    from vegrt.report.card.card import Claims, write_card
    from vegrt.report.summary import comparison, render
    from vegrt.report.write import Sources, write_report

    opened = [open_signed(bundle, public_key) for bundle in bundles]
    audits = _audits(audit, data, opened)
    sources = Sources(data, tuple(bench or ()), audits, objective.value, recorded(ctx))
    outputs = _outputs(out, markdown, png, svg, only_card=card is not None)
    written = write_report(opened, outputs, sources=sources, language=lang.value) if outputs is not None else []
    if card is not None:
        claims = Claims(card_license, card_dataset)
        written.append(write_card(opened, card, sources=sources, claims=claims, language=lang.value))
    rows = {str(bundle.path): comparison(bundle, benches=sources.benches) for bundle in opened}
    if as_json:
        names = {"report": str(written[0]), "written": [str(path) for path in written]}
        show(names | {"bundles": {name: [row.to_dict() for row in found] for name, found in rows.items()}}, True)
        return
    for name, found in rows.items():
        typer.echo(name)
        show(render(found), False)
    for path in written:
        typer.echo(f"report: {path}")


def _outputs(
    out: Path | None, markdown: Path | None, png: Path | None, svg: Path | None, *, only_card: bool
) -> ReportFiles | None:
    """Return what to write: by default the page; None where the card is all that was asked for."""
    from vegrt.report.write import ReportFiles

    if out is not None and out.suffix.lower() in _MARKDOWN:
        out, markdown = None, out if markdown is None else markdown
    nothing = (out, markdown, png, svg) == (None,) * 4
    if nothing and only_card:
        return None
    return ReportFiles(_DEFAULT if nothing else out, markdown, png, svg)


def _audits(audit: Path | None, data: Path | None, bundles: list[Any]) -> list[dict[str, Any]]:
    """Return the audit that was asked for, or those of the bundles' photos that lie in a bundle, beside the photos or here."""
    from vegrt.errors import DataError
    from vegrt.report.facts.data import fits, read_audit

    found = []
    for file in [audit] if audit else places(data, *(bundle.path for bundle in bundles)):
        try:
            one = read_audit(file)
            if not any(fits(one, bundle.manifest.data) for bundle in bundles):
                raise DataError(f"{file}: not of the photos of these bundles; run: vegrt data audit DATA")
        except DataError as error:
            if audit is not None:
                raise
            log.info("%s; going on without it", error)
            continue
        log.info("audit: %s, of these photos", file)
        found.append(one)
    return found
