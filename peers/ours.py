"""The pipeline of `vegrt infer` in this process, from files to CSV. With --process: the whole command, with its start."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Iterator

START = time.perf_counter()

from peer import Job, read_job, report  # noqa: E402

from vegrt.infer.decode.item import Item  # noqa: E402
from vegrt.infer.outputs.files import OutputOptions, open_outputs  # noqa: E402
from vegrt.infer.outputs.rows import RowFormat  # noqa: E402
from vegrt.infer.predict import predict  # noqa: E402
from vegrt.infer.runtimes.open import LoadedModel, open_runner  # noqa: E402


def files_to_csv(job: Job, opened: LoadedModel) -> None:
    """Classify the photos and write the CSV, like `vegrt infer` after loading the model."""
    bundle, row_format = opened.bundle, RowFormat()
    outputs = open_outputs(OutputOptions(job.out, overwrite=True), row_format, len(bundle.manifest.classes), 0)
    outputs.begin({})
    items: Iterator[Item] = (Item(str(path), path) for path in job.photos)
    for rows in predict(bundle, opened.runner, items, row_format, batch=job.batch):
        outputs.append(rows)
    outputs.finish()
    outputs.close()


def by_process(job: Job) -> None:
    """Run the command with the paths of the photos on its stdin."""
    words = ["infer", "-", "--null", "--bundle", str(job.bundle), "--variant", job.variant, "--batch", str(job.batch)]
    names = b"".join(bytes(path) + b"\0" for path in job.photos)
    command = [sys.executable, "-m", "vegrt.cli", "--quiet", *words, "--out", str(job.out), "--overwrite"]
    subprocess.run(command, input=names, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    """Classify the photos."""
    process = "--process" in sys.argv
    if process:
        sys.argv.remove("--process")
    job = read_job(__doc__)
    if process:
        loaded = time.perf_counter()
        by_process(job)
    else:
        opened = open_runner(job.bundle, job.variant)
        loaded = time.perf_counter()
        files_to_csv(job, opened)
    seconds = time.perf_counter() - loaded
    with job.out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    name = f"vegrt {job.variant}" + (", the whole command" if process else "")
    load_s = 0.0 if process else loaded - START
    report(name, job, [row["path"] for row in rows], [row["label"] for row in rows], load_s=load_s, seconds=seconds)


if __name__ == "__main__":
    main()
