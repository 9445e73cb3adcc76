"""vegrt.report: the results of bundles as an HTML page, Markdown, pictures or a model card."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vegrt.api.call import api_function, this_call
from vegrt.commands.options.audits import AUDIT, places
from vegrt.commands.options.shared import ObjectiveChoice, PublicKeyPath

if TYPE_CHECKING:
    from vegrt.api.outcomes import Reported
    from vegrt.bundle.bundle import Bundle
    from vegrt.report.write import ReportFiles
    from vegrt.train.data.audit_file import ReportedAudit

log = logging.getLogger(__name__)

_MARKDOWN = (".md", ".markdown")
_DEFAULT = Path("report.html")

BundlePaths = Annotated[
    str | Path | Sequence[str | Path], typer.Argument(metavar="BUNDLE...", help="Bundles with results.")
]
OutPath = Annotated[
    str | Path | None,
    typer.Option("--out", "-o", help=f"HTML file, or Markdown file if it ends in .md; default: {_DEFAULT}."),
]
MarkdownPath = Annotated[
    str | Path | None, typer.Option("--markdown", help="Markdown file that links to the pictures.")
]
PngPath = Annotated[
    str | Path | None, typer.Option("--png", help="Folder for the charts as PNG files, without photos.")
]
SvgPath = Annotated[
    str | Path | None, typer.Option("--svg", help="Folder for the charts as SVG files, without photos.")
]
CardPath = Annotated[
    str | Path | None, typer.Option("--card", help="Model card for the Hugging Face Hub; for one bundle only.")
]
CardLicenseOption = Annotated[
    str, typer.Option("--card-license", help="Licence of the model for the card, by its Hub identifier.")
]
CardDatasetOption = Annotated[str, typer.Option("--card-dataset", help="Data set for the card, by its Hub identifier.")]
PhotosPath = Annotated[
    str | Path | None,
    typer.Option("--data", help="Folder of the evaluated photos, to show those with changed answers."),
]
BenchPaths = Annotated[
    Sequence[str | Path] | None,
    typer.Option("--bench", help="bench.json of the same artifacts from another device; may be repeated."),
]
ReportAuditPath = Annotated[
    str | Path | None,
    typer.Option(
        "--audit",
        help=f"audit.json of `vegrt data audit`; default: the one for these photos in BUNDLE, in DATA, or {AUDIT}.",
    ),
]
LanguageOption = Annotated[Literal["en", "ko"], typer.Option("--lang", help="Language of the report.")]
MlflowOption = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="URI",
        help="Also log each bundle as a run to this MLflow server or store: settings, figures, report and model card.",
    ),
]


@api_function
def report(
    bundles: BundlePaths,
    *,
    out: OutPath = None,
    markdown: MarkdownPath = None,
    png: PngPath = None,
    svg: SvgPath = None,
    card: CardPath = None,
    card_license: CardLicenseOption = "unknown",
    card_dataset: CardDatasetOption = "",
    data: PhotosPath = None,
    bench: BenchPaths = None,
    audit: ReportAuditPath = None,
    objective: ObjectiveChoice = "latency",
    lang: LanguageOption = "en",
    public_key: PublicKeyPath = None,
    mlflow: MlflowOption = None,
    progress: bool | None = None,
) -> Reported:
    """Write a report on bundles from their result files alone, and return its files with the comparison of all candidates.

    bundles: one folder, or several. Without any of `out`, `markdown`, `png`, `svg` and `card`, writes report.html in the working
    folder.
    Raises VegrtError for a bundle without results, BundleError for one that cannot be opened, MissingExtraError without the
    `report` extra, which only Markdown and the card do not need.
    """
    from vegrt.api.outcomes import Reported
    from vegrt.bundle.signature import open_signed
    from vegrt.report.card.card import Claims, write_card
    from vegrt.report.facts.benches import read_bench_files
    from vegrt.report.tracking import log_to_mlflow
    from vegrt.report.write import Sources, load_all_facts, write_report

    paths = [Path(bundles)] if isinstance(bundles, str | Path) else [Path(bundle) for bundle in bundles]
    opened = [open_signed(path, _path(public_key)) for path in paths]
    audits = _audits(_path(audit), _path(data), opened)
    benches = read_bench_files([Path(file) for file in bench or ()])
    sources = Sources(_path(data), benches, audits, objective, this_call())
    outputs = _outputs(_path(out), _path(markdown), _path(png), _path(svg), only_card=card is not None)
    written = write_report(opened, outputs, sources=sources, language=lang) if outputs is not None else []
    claims = Claims(card_license, card_dataset)
    if card is not None:
        written.append(write_card(opened, Path(card), sources=sources, claims=claims, language=lang))
    facts = load_all_facts(opened, sources)
    runs = [] if mlflow is None else log_to_mlflow(mlflow, facts, written, claims=claims)
    return Reported(tuple(written), tuple(facts), tuple(runs))


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


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


def _audits(file: Path | None, data: Path | None, bundles: Sequence[Bundle]) -> list[ReportedAudit]:
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
