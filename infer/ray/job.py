"""`vegrt infer --engine ray`: the same pipeline on many machines, as a Ray Data job whose actors hold one runner each.

Bundle and photos must have the same paths on every machine, or the photos are URLs. The output is a folder of Parquet files, as
Ray, Spark and Dask write them: in the order of the file names, its rows are in the order of the sources.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vegrt.bundle.signature import open_signed
from vegrt.errors import DataError, VegrtError, require
from vegrt.files.atomic import creating
from vegrt.infer.predict import BATCH, Request
from vegrt.infer.ray.worker import RayJob, Worker, is_url, names_of, unshareable
from vegrt.infer.runtimes.choice import choose
from vegrt.infer.runtimes.open import open_runner
from vegrt.infer.runtimes.runner import Device
from vegrt.infer.sources.open import is_endless, is_packed, open_sources
from vegrt.machine import available_cores
from vegrt.terminal.interrupts import keeping_sigterm

log = logging.getLogger(__name__)

_CORES_EACH = 4  # cores per worker, unless --workers is given: more cores do not make a single photo faster
_ROWS_PER_FILE = 2048  # at most; also the work that is repeated when a machine is lost
_FOR_WRITING = 0.1  # share of a worker's cores that its actor leaves to the task that writes its answers
_STORE_BYTES = 256 << 20  # of a Ray that is started here: it holds names and answers, no pixels


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a job. errors: rows of unreadable images."""

    out: str
    images: int
    errors: int
    variant: str
    runtime: str
    device: str
    workers: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.out}: {self.images} images, {self.errors} unreadable, {self.workers} workers, {self.seconds:.1f} s"
        )


def run_ray(model: Path, request: Request, *, workers: int = 0) -> Summary:
    """Classify images on the Ray that is connected or that RAY_ADDRESS names, else on one started here for the job.

    request.output.out: the folder NAME.parquet to make, or to replace with --overwrite, here or at a URL. request.threads: of
    each worker; 0: its share of the cores. workers: 0 for one per GPU, or one per four cores of the cluster.
    Raises VegrtError for options that a job does not support, DataError when no image was readable.
    """
    require("pyarrow", "ray")
    out = output_location(request)
    names = names_of(item for item in open_sources(request.sources, request.reading) if item is not None)
    started = time.monotonic()
    with _connected() as ray, output_folder(out) as folder:
        resources = ray.cluster_resources()
        job, share, count = _plan(model, request, workers, resources)
        try:
            _infer(ray, names, job, share, count).write_parquet(
                folder, ray_remote_args={"num_cpus": _FOR_WRITING * share}
            )
        except Exception as error:
            raise vegrt_error_of(error) from error
    summary = _summarize(out, job, count, time.monotonic() - started)
    log.info("%s", summary)
    if summary.errors == summary.images:
        raise DataError(f"none of {summary.images} images is readable; the reasons are in {out}")
    return summary


def _plan(model: Path, request: Request, workers: int, resources: dict[str, float]) -> tuple[RayJob, float, int]:
    """Return the job, each worker's share of the cores, and how many workers there are."""
    cores, gpus = resources.get("CPU", 1.0), int(resources.get("GPU", 0))
    bundle = open_signed(model, request.public_key)
    request.row_format.check(bundle.manifest.classes)
    device: Device = request.device or ("cuda" if gpus else "cpu")
    if device == "cuda":  # the machine that starts the job may have no GPU; the workers load the model
        choice = choose(bundle, request.variant, request.runtime, device, objective=request.objective)
        candidate, count = choice.candidate, workers or max(1, gpus)
    else:
        opened = open_runner(bundle, request.variant, request.runtime, device, objective=request.objective)
        candidate, count = opened.candidate, workers or max(1, int(cores) // _CORES_EACH)
    share = cores / count
    threads = request.threads or max(1, int(share))
    place, batch = model.absolute(), request.batch or BATCH
    return RayJob(place, bundle.sha256(), candidate, device, threads, batch, request.row_format), share, count


def _infer(ray: Any, names: Any, job: RayJob, share: float, workers: int) -> Any:
    """Return the lazy dataset of answers, in the order of `names`."""
    rows = min(_ROWS_PER_FILE, -(-len(names) // (4 * workers)))
    rows = -(-rows // job.batch) * job.batch  # whole batches, as they are formed on one machine
    blocks = [names.slice(start, rows) for start in range(0, len(names), rows)]
    return ray.data.from_arrow(blocks).map_batches(
        Worker,
        fn_constructor_args=(job,),
        compute=ray.data.ActorPoolStrategy(size=workers),
        batch_size=rows,
        batch_format="pyarrow",
        num_cpus=(1 - _FOR_WRITING) * share,
        **({"num_gpus": 1} if job.device == "cuda" else {}),
    )


@contextmanager
def _connected() -> Iterator[Any]:
    """Yield the module ray, connected: as it was, or to RAY_ADDRESS, or to one started here that ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    warnings.filterwarnings("ignore", module=r"ray\b")  # it warns of its own options
    ray = require("ray", "ray")
    require("ray.data", "ray")
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.ERROR)
    with ExitStack() as ending:
        if not ray.is_initialized():
            logging.getLogger("ray").setLevel(logging.ERROR)
            ending.callback(ray.shutdown)
            here = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": available_cores(), "include_dashboard": False}
            if here:
                here["object_store_memory"] = _STORE_BYTES
            with keeping_sigterm():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **here)
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = sys.stderr.isatty()
        yield ray


def output_location(request: Request) -> str:
    """Return the folder or URL of the answers. Raises VegrtError for options that a job does not support."""
    out = request.output.out
    if out is None or out.suffix != ".parquet":
        raise VegrtError(f"--engine ray: writes a folder of Parquet files, not {out or 'nothing'}; add -o NAME.parquet")
    refused = {
        "--resume": request.output.resume,
        "--print": request.output.printed,
        "--embeddings": bool(request.output.embeddings),
        "--annotate and --sort-into": request.photo_outputs.any,
        "--follow": request.reading.follow,
        "--decode processes": request.decode == "processes",
        "--decode-workers": bool(request.decode_workers),
    }
    for option, given in refused.items():
        if given:
            raise VegrtError(f"{option}: not supported with --engine ray; leave one of them out")
    for word in request.sources:
        if is_endless([word], request.reading):
            raise VegrtError(
                f"{word}: never ends, but --engine ray distributes the files that exist at its start; leave one out"
            )
        if is_packed(word):
            raise unshareable(str(word))
    scheme = re.match(r"([a-z][a-z0-9+.-]+):/+", str(out))
    if not scheme:
        _check_replaceable(out, overwrite=request.output.overwrite)
        return str(out)
    if request.output.overwrite:
        raise VegrtError(f"--overwrite: only for a local folder, not for {out}; delete that, or choose another place")
    slashes = "///" if scheme[1] == "file" else "//"  # Path made one of them
    return f"{scheme[1]}:{slashes}{str(out)[scheme.end() :]}"


def _check_replaceable(out: Path, *, overwrite: bool) -> None:
    """Raise VegrtError for an existing `out` without --overwrite, or that is not a folder of Parquet files."""
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise VegrtError(f"{out}: exists; add --overwrite to replace it")
    if out.is_symlink() or not out.is_dir() or any(path.suffix != ".parquet" for path in out.iterdir()):
        raise VegrtError(
            f"{out}: not a folder of Parquet files only, so it is not replaced; choose another place, or delete it"
        )


@contextmanager
def output_folder(out: str) -> Iterator[str]:
    """Yield where to write: a folder that replaces `out` once complete, or the URL itself, which must be empty."""
    if not is_url(out):
        with _replacing(Path(out)) as folder:
            yield str(folder.absolute())
        return
    from pyarrow import fs

    try:
        system, path = fs.FileSystem.from_uri(out)
        existing = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    except (OSError, ValueError) as error:
        raise VegrtError(f"{out}: cannot be written ({error}); choose another place") from error
    if existing:
        raise VegrtError(f"{out}: is not empty; choose another place, or delete it")
    yield out


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`, which takes its place once it is complete."""
    if not target.is_dir() or not any(target.iterdir()):
        with creating(target) as folder:
            yield folder
        return
    replacement = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with creating(replacement) as folder:
        yield folder
    old = replacement.with_name(f"{replacement.name}.old")
    try:
        target.replace(old)
        replacement.replace(target)
    except OSError as error:
        raise VegrtError(
            f"{target}: cannot be replaced ({error.strerror}); the answers are in {replacement}"
        ) from error
    shutil.rmtree(old, ignore_errors=True)


def _summarize(out: str, job: RayJob, workers: int, seconds: float) -> Summary:
    from pyarrow import dataset

    written = dataset.dataset(out, format="parquet")
    errors = written.count_rows(filter=dataset.field("error") != "")
    candidate = job.candidate
    return Summary(
        out,
        written.count_rows(),
        errors,
        candidate.variant,
        candidate.runtime_name,
        job.device,
        workers,
        round(seconds, 2),
    )


def vegrt_error_of(error: BaseException) -> VegrtError:
    """Return the VegrtError that a worker raised, or one with the last line of Ray's message."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, VegrtError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return VegrtError(f"ray: the job failed ({lines[-1] if lines else type(error).__name__})")
