"""A Ray Data worker: takes a table of names and returns a table of answers, through the pipeline of one machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vegrt.bundle.bundle import open_bundle
from vegrt.errors import BundleError, DataError, VegrtError
from vegrt.infer.decode.item import Item
from vegrt.infer.outputs.codecs import schema_of
from vegrt.infer.outputs.rows import RowFormat, as_cells
from vegrt.infer.predict import predict
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.runner import Device
from vegrt.infer.sources.remote import open_remote


@dataclass(frozen=True, slots=True)
class RayJob:
    """The job of every worker. threads: of the runner, and the number of decode threads.

    bundle: a path that exists on every machine. sha256: of its manifest, to check that every machine has the same bundle.
    """

    bundle: Path
    sha256: str
    candidate: Candidate
    device: Device
    threads: int
    batch: int
    row_format: RowFormat


class Worker:
    """The actor: one runner, for as long as the job lasts."""

    def __init__(self, job: RayJob) -> None:
        self._job = job
        self._bundle = open_bundle(job.bundle)
        if self._bundle.sha256() != job.sha256:
            raise BundleError(
                f"{job.bundle}: not the bundle that the job was started with; copy that one to every machine"
            )
        self._runner = open_candidate(self._bundle, job.candidate, device=job.device, threads=job.threads)
        self._schema = schema_of(job.row_format, len(self._bundle.manifest.classes))

    def __call__(self, names: Any) -> Any:
        """Return the rows, a pyarrow.Table, of a table of names."""
        import pyarrow

        job, classes = self._job, len(self._bundle.manifest.classes)
        items = (item_of(*values) for values in zip(*(column.to_pylist() for column in names.columns), strict=True))
        rows = predict(self._bundle, self._runner, items, job.row_format, batch=job.batch, threads=job.threads)
        cells = (as_cells(row, job.row_format, classes) for part in rows for row in part)
        records = [dict(zip(self._schema.names, values, strict=True)) for values in cells]
        return pyarrow.Table.from_pylist(records, schema=self._schema)


def is_url(place: str) -> bool:
    """Return whether a source or an output is a URL."""
    return "://" in place


def unshareable(name: str) -> VegrtError:
    """Return the error for an image without a path or URL of its own."""
    return VegrtError(
        f"{name}: --engine ray distributes files and URLs only; unpack archives, split videos into frames"
    )


def names_of(items: Iterable[Item]) -> Any:
    """Return a pyarrow.Table from which workers find the items: name, absolute path as bytes or null for a URL, error.

    Raises VegrtError at the first item that cannot be distributed, and takes no more.
    """
    import pyarrow

    rows: list[tuple[str, bytes | None, str]] = []
    for item in items:
        if isinstance(item.content, Path):
            rows.append((item.name, os.fsencode(item.content.absolute()), ""))
        elif isinstance(item.content, DataError):
            rows.append((item.name, None, str(item.content)))
        elif is_url(item.name):
            rows.append((item.name, None, ""))
        else:
            raise unshareable(item.name)
    kinds = [("name", pyarrow.string()), ("path", pyarrow.binary()), ("error", pyarrow.string())]
    columns = [pyarrow.array([row[place] for row in rows], kind) for place, (_, kind) in enumerate(kinds)]
    return pyarrow.Table.from_arrays(columns, schema=pyarrow.schema(kinds))


def item_of(name: str, path: bytes | None, error: str) -> Item:
    """Return the item of one row of `names_of`; one that cannot be read holds its error."""
    if error:
        return Item(name, DataError(error))
    if path is not None:
        return Item(name, Path(os.fsdecode(path)))
    try:
        return Item(name, next(open_remote(name)).content)
    except VegrtError as problem:
        return Item(name, DataError(str(problem)))
