"""Downloads a data set of the Hugging Face Hub, which stores photos in Parquet files, and writes them into class folders.

The layout is that of `datasets.Dataset.push_to_hub`: data/<split>-*.parquet with a column `image` of structs {bytes, path} and a
column of integer labels. Names in those files are not used as paths: photos are numbered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vegrt.errors import DataError, VegrtError, require
from vegrt.files.atomic import creating
from vegrt.photo.formats import open_image
from vegrt.terminal.progress import track
from vegrt.train.data.public.sets import Counts, PublicSet

_ROWS_AT_ONCE = 128  # photos in memory
_ENDINGS = {"PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp"}


def fetch(out: Path, dataset: PublicSet) -> Counts:
    """Download a data set, write its photos to the new folder `out`, and return their counts. See `unpack`.

    Downloaded files stay in the Hub's cache; files that are complete there are not downloaded again. Raises VegrtError, with
    instructions, when the download fails.
    """
    require("pyarrow.parquet", "fetch")  # before the download
    hub = require("huggingface_hub", "fetch")
    patterns = [f"data/{split}-*.parquet" for split in dataset.expected.splits]
    try:
        snapshot = hub.snapshot_download(
            dataset.repository, repo_type="dataset", revision=dataset.revision, allow_patterns=patterns
        )
    except Exception as error:  # the client's, its HTTP library's and built-in exceptions have no common base
        cause = error.__cause__ or error
        reason = (str(cause).splitlines() or [""])[0].strip() or type(cause).__name__
        raise VegrtError(
            f"{dataset.repository}: download failed ({reason}); run the command again to resume, or, without a network, "
            f"run it on another machine and copy the folder {out}"
        ) from error
    return unpack(Path(snapshot), out, dataset)


def unpack(snapshot: Path, out: Path, dataset: PublicSet) -> Counts:
    """Write the photos of a snapshot to out/<split>/<class>/<number>.jpg|png|..., which appears complete or not at all.

    Raises DataError when the number of photos or classes is not the expected one, or a label has no class.
    """
    parquet = require("pyarrow.parquet", "fetch")
    files = {split: sorted(snapshot.glob(f"data/{split}-*.parquet")) for split in dataset.expected.splits}
    for split, photos in dataset.expected.photos.items():
        rows = sum(parquet.read_metadata(file).num_rows for file in files[split])
        if rows != photos:
            raise DataError(f"{snapshot}: {split} has {rows:,} photos, expected {photos:,}; {_remedy(snapshot)}")
    with creating(out, flushed=False) as folder:
        counts = {split: _write_split(folder / split, files[split], dataset) for split in files}
        for split, classes in counts.items():
            if missing := [name for name, count in classes.items() if not count]:
                raise DataError(
                    f"{snapshot}: {split} has no photos of class {missing[0]}, expected some of each of "
                    f"{dataset.expected.classes} classes; {_remedy(snapshot)}"
                )
    return counts


def _write_split(folder: Path, files: Sequence[Path], dataset: PublicSet) -> dict[str, int]:
    """Write the photos of one split, numbered in the order of the rows, and return their number by class."""
    for name in dataset.classes:
        (folder / name).mkdir(parents=True)
    counts: Counter[str] = Counter()
    for number, (content, label) in enumerate(_rows(files, dataset, f"writing {folder.name} photos")):
        if not 0 <= label < len(dataset.classes):
            raise DataError(
                f"{files[0].parent}: label {label} in {folder.name}, expected 0 to {len(dataset.classes) - 1}; "
                f"{_remedy(files[0].parents[1])}"
            )
        name = dataset.classes[label]
        (folder / name / f"{number:06d}{_ending(content)}").write_bytes(content)
        counts[name] += 1
    return {name: counts[name] for name in dataset.classes}


def _rows(files: Sequence[Path], dataset: PublicSet, task: str) -> Iterator[tuple[bytes, int]]:
    """Yield the encoded photo and the label of each row."""
    parquet = require("pyarrow.parquet", "fetch")
    for file in files:
        content = parquet.ParquetFile(file)
        columns = ["image", dataset.label_column]
        if missing := sorted({*columns} - {*content.schema_arrow.names}):
            raise DataError(
                f"{file}: no column {missing[0]}, expected {' and '.join(columns)}; {_remedy(file.parents[1])}"
            )
        batches = content.iter_batches(_ROWS_AT_ONCE, columns=columns)
        for batch in track(batches, task, total=-(-content.metadata.num_rows // _ROWS_AT_ONCE)):
            rows: list[dict[str, Any]] = batch.to_pylist()
            yield from ((row["image"]["bytes"], row[dataset.label_column]) for row in rows)


def _ending(content: bytes) -> str:
    """Return the ending for a file of this content; .jpg for damaged images too, which the audit lists."""
    try:
        with open_image(content, "photo") as image:
            return _ENDINGS.get(image.format or "", ".jpg")
    except Exception:  # Pillow's decoders do not document their exceptions
        return ".jpg"


def _remedy(snapshot: Path) -> str:
    return f"delete {snapshot} and fetch again"
