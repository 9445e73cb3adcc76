"""The pipeline of `vegrt infer` in this process, from files to CSV. Kind `process`: the whole command, with its start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from peer import Job, Peer, run_peer

from vegrt.infer.decode.item import Item
from vegrt.infer.outputs.files import OutputOptions, open_outputs
from vegrt.infer.outputs.rows import RowFormat
from vegrt.infer.predict import predict
from vegrt.infer.runtimes.open import LoadedModel, open_runner


class Vegrt(Peer):
    """A bundle that is opened. Its name says what runs."""

    name = "vegrt"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.opened = open_runner(job.bundle, job.variant or None, job.runtime or None)
        chosen = "" if job.variant else ", its choice"
        self.name = f"vegrt {self.opened.candidate}{chosen}"

    def files_to_csv(self, paths: Sequence[Path], size: int, out: Path) -> None:
        files_to_csv(self.opened, paths, size, out)

    def run(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.opened.runner.logits(batch)


class VegrtCommand(Peer):
    """The command with the paths of the photos on its stdin."""

    name = "vegrt infer, the whole command"
    loads_anew = True

    def files_to_csv(self, paths: Sequence[Path], size: int, out: Path) -> None:
        job = self.job
        words = ["infer", "-", "--null", "--bundle", str(job.bundle), "--batch", str(size), "--out", str(out)]
        words += ["--variant", job.variant] if job.variant else []
        words += ["--runtime", job.runtime] if job.runtime else []
        names = b"".join(bytes(path) + b"\0" for path in paths)
        subprocess.run([sys.executable, "-m", "vegrt.cli", "--quiet", *words], input=names, check=True)


def files_to_csv(opened: LoadedModel, paths: Sequence[Path], size: int, out: Path) -> None:
    """Classify the photos and write the CSV, like `vegrt infer` after loading the model."""
    row_format = RowFormat()
    outputs = open_outputs(OutputOptions(out, overwrite=True), row_format, len(opened.bundle.manifest.classes), 0)
    outputs.begin({})
    items: Iterator[Item] = (Item(str(path), path) for path in paths)
    for rows in predict(opened.bundle, opened.runner, items, row_format, batch=size):
        outputs.append(rows)
    outputs.finish()
    outputs.close()


if __name__ == "__main__":
    run_peer(pipeline=Vegrt, process=VegrtCommand)
