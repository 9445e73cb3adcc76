"""Options of `vegrt infer`: how images are read, and where answers are written."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.shared import ObjectiveName


class Scores(str, Enum):
    """The values of --scores."""

    probabilities = "probabilities"
    logits = "logits"


class Decode(str, Enum):
    """The values of --decode."""

    auto = "auto"
    threads = "threads"
    processes = "processes"


class InferEngine(str, Enum):
    """The values of --engine."""

    local = "local"
    ray = "ray"


SourceArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES...",
        help="Images, folders, 'patterns/**/*.jpg', lists (.txt, or - for stdin), .zip and .tar, URLs, videos, camera:0.",
    ),
]
ObjectiveOption = Annotated[
    ObjectiveName | None,
    typer.Option(
        "--objective",
        help="Choose the fastest by latency (one photo) or throughput (images/s at the best batch size); default: the "
        "shortest time for all photos, loading included, or latency if their number is not known.",
    ),
]
BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", metavar="BUNDLE", help="Bundle folder; default: the only one under models/."),
]
FormerBundleOption = Annotated[Path | None, typer.Option("--model", metavar="BUNDLE", hidden=True)]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Write rows to a .csv, .jsonl or .parquet file instead of printing them."),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace existing output files.")]
PrintOption = Annotated[bool, typer.Option("--print", help="With --out: also print the rows.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Resume the run in --out: skip images that it already contains.")
]
BatchSizeOption = Annotated[
    str,
    typer.Option(
        "--batch",
        metavar="N|auto",
        help="Images per call of the runtime; auto: the fastest size, measured for two seconds.",
    ),
]
DecodeOption = Annotated[
    Decode,
    typer.Option(
        "--decode",
        help="Decode photos in threads or in processes; auto: processes once threads are too slow for the model.",
    ),
]
DecodeWorkersOption = Annotated[
    int,
    typer.Option(
        "--decode-workers",
        min=0,
        max=1024,
        metavar="N",
        help="Threads or processes that decode; 0: as --threads, or one per core.",
    ),
]
TopKOption = Annotated[int, typer.Option("--top-k", min=1, metavar="K", help="Write the K best classes of each image.")]
ScoresOption = Annotated[Scores, typer.Option("--scores", help="Score shown for each class.")]
MinProbabilityOption = Annotated[
    float,
    typer.Option(
        "--min-probability", min=0, max=1, metavar="P", help="Label an image `unsure` below this probability; 0: never."
    ),
]
RejectOption = Annotated[
    bool,
    typer.Option(
        "--reject",
        help="Calibrate probabilities and decide for each answer: accept, unsure or foreign; needs vegrt trust.",
    ),
]
EmbeddingsOption = Annotated[
    str,
    typer.Option(
        "--embeddings",
        metavar="FILE|column",
        help="Write embeddings (penultimate layer) to a .npy or .parquet file, or to a column of --out.",
    ),
]
AnnotateOption = Annotated[
    Path | None,
    typer.Option("--annotate", metavar="DIR", help="Write copies with the answer drawn on them to DIR."),
]
SortIntoOption = Annotated[
    Path | None,
    typer.Option(
        "--sort-into", metavar="DIR", help="Sort images into one folder per class in DIR (hard links or copies)."
    ),
]
FollowOption = Annotated[bool, typer.Option("--follow", help="Watch folders for new images until Ctrl-C.")]
EveryOption = Annotated[int, typer.Option("--every", min=1, metavar="N", help="Take every Nth frame of a video.")]
NullOption = Annotated[
    bool, typer.Option("--null", "-0", help="Names in lists end with NUL, as written by find -print0.")
]
EngineOption = Annotated[
    InferEngine,
    typer.Option(
        "--engine",
        help="local, or ray: a Ray Data job (at RAY_ADDRESS, or on a new cluster here); --out is then a folder of Parquet files.",
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option("--workers", min=0, metavar="N", help="Workers of --engine ray; 0: one per GPU, or per four cores."),
]
