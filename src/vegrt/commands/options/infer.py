"""Options of `vegrt infer`: how images are read, and what becomes of the answers."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Scores(str, Enum):
    """What --scores takes."""

    probabilities = "probabilities"
    logits = "logits"


class Engine(str, Enum):
    """What --engine takes."""

    local = "local"
    ray = "ray"


SourceArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Images, folders, 'patterns/**/*.jpg', lists (.txt, or - for stdin), .zip and .tar, URLs, videos, camera:0.",
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write .csv, .jsonl or .parquet; nothing is printed then.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")]
PrintOption = Annotated[bool, typer.Option("--print", help="With --out: print the rows too.")]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Skip what --out holds already, of an interrupted or an earlier run.")
]
BatchSizeOption = Annotated[
    str, typer.Option("--batch", metavar="N|auto", help="Images at a time; auto: try for two seconds which is fastest.")
]
TopKOption = Annotated[int, typer.Option("--top-k", min=1, metavar="K", help="The K best classes of each image.")]
ScoresOption = Annotated[Scores, typer.Option("--scores", help="What stands beside a class.")]
MinProbabilityOption = Annotated[
    float, typer.Option("--min-probability", min=0, max=1, metavar="P", help="Below it the label is `unsure`.")
]
EmbeddingsOption = Annotated[
    str,
    typer.Option("--embeddings", metavar="FILE|column", help="The penultimate layer: .npy, .parquet, or in --out."),
]
AnnotateOption = Annotated[
    Path | None, typer.Option("--annotate", metavar="DIR", help="Copies with the answer drawn on them.")
]
SortIntoOption = Annotated[
    Path | None, typer.Option("--sort-into", metavar="DIR", help="A folder per class, with hard links or copies.")
]
FollowOption = Annotated[bool, typer.Option("--follow", help="Watch folders for new images until Ctrl-C.")]
EveryOption = Annotated[int, typer.Option("--every", min=1, metavar="N", help="Of a video every Nth frame.")]
NullOption = Annotated[bool, typer.Option("--null", "-0", help="Names in lists end with NUL, as from find -print0.")]
EngineOption = Annotated[
    Engine,
    typer.Option("--engine", help="ray: a Ray Data job (RAY_ADDRESS, or started here); -o is a folder of Parquet."),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, metavar="N", help="With --engine ray; 0: one per GPU or per four cores.")
]
