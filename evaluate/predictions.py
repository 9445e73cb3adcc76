"""Per-photo predictions of an evaluation, for the result file and for the Parquet table beside it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vegrt.evaluate.device.answers import AnswerSource
from vegrt.evaluate.figures import LabelledAnswers
from vegrt.files.atomic import replacing
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.results.evaluation import CandidateAnswers, Predictions
from vegrt.results.predictions import DECIMALS

log = logging.getLogger(__name__)


def collect_predictions(names: Sequence[str], answers: Mapping[AnswerSource, LabelledAnswers]) -> Predictions:
    """Return each readable photo's name and label, and every candidate's top-1, its probability and its margin."""
    by_key = {
        str(candidate): CandidateAnswers(
            tuple(columns.top1.tolist()), _decimals(columns.probability), _decimals(columns.margin)
        )
        for candidate, columns in answers.items()
    }
    labels = next(iter(answers.values())).labels
    return Predictions(tuple(names), tuple(labels.tolist()), by_key)


def _decimals(numbers: NDArray[np.float64] | None) -> tuple[float, ...] | None:
    return None if numbers is None else tuple(numbers.round(DECIMALS).tolist())


def write_table(
    path: Path,
    names: Sequence[str],
    answers: Mapping[AnswerSource, LabelledAnswers],
    logits: Mapping[Candidate, NDArray[np.float32]],
    classes: Sequence[str],
) -> bool:
    """Write one row per photo to a Parquet file, with every candidate's (N, K) logits; return False without pyarrow.

    Columns: `path`, `label`, and per candidate `<key>/top1`, `/probability`, `/margin`, `/logits`; labels are indices into the
    list of classes in the file's metadata.
    """
    if find_spec("pyarrow") is None:
        log.info("%s is not written: pyarrow is not installed; pip install 'vegrt[parquet]'", path.name)
        return False
    import pyarrow
    import pyarrow.parquet

    labels = next(iter(answers.values())).labels
    columns: dict[str, Any] = {"path": pyarrow.array(names, "string"), "label": pyarrow.array(labels, "int32")}
    for candidate, values in logits.items():
        own = answers[candidate]
        flat = pyarrow.array(np.ascontiguousarray(values, np.float32).ravel(), "float32")
        columns |= {
            f"{candidate}/top1": pyarrow.array(own.top1, "int32"),
            f"{candidate}/probability": pyarrow.array(own.probability, "float32"),
            f"{candidate}/margin": pyarrow.array(own.margin, "float32"),
            f"{candidate}/logits": pyarrow.ListArray.from_arrays(
                np.arange(len(values) + 1, dtype=np.int32) * values.shape[1], flat
            ),
        }
    table = pyarrow.table(columns).replace_schema_metadata({"vegrt.classes": json.dumps(list(classes))})
    with replacing(path) as temporary, temporary.open("wb") as file:
        pyarrow.parquet.write_table(table, file, compression="zstd")
    return True
